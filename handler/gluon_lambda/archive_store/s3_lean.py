"""S3's requests with botocore's signer and botocore's retries, over connections of our own; here, GetObject.

What is used of botocore is loaded when it is needed: its signer's file always, its parser and its rules of when and how long to wait only
after a request has failed. Whatever asks for more than signing and retrying (another region, a skewed clock) is left to boto3's client.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from threading import Lock
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from gluon_lambda.archive_store.http_connection import Connection, Head, tls_context
from gluon_lambda.archive_store.s3_settings import Address, S3Settings, address_of
from gluon_lambda.archive_store.s3_signing import Request, make_signer
from gluon_lambda.pending import begin

if TYPE_CHECKING:
    from ssl import SSLContext

    from gluon_lambda.archive_store.s3 import S3Client

# GetObject's parameters that are headers (Amazon S3 API Reference, GetObject, Request Syntax).
HEADERS = {"Range": "Range", "IfMatch": "If-Match", "IfNoneMatch": "If-None-Match"}
# The bucket is elsewhere: boto3's client follows, now and from now on. What HeadObject answers has no body, and says the bare status.
ELSEWHERE = frozenset(
    {
        "301",
        "307",
        "308",
        "PermanentRedirect",
        "TemporaryRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    }
)
# The clock is wrong, which boto3's client corrects; or HeadObject does not say what is, which it finds out.
UNCLEAR = frozenset({"RequestTimeTooSkewed", "RequestExpired", "400"})
# Statuses of what is no mishap, and of what S3 says with them where it says nothing.
USUAL = {304: "304", 404: "404", 412: "PreconditionFailed"}
NO_SUCH_KEY = b"<Code>NoSuchKey</Code>"
# What begins to be answered before it is done (CompleteMultipartUpload) may say so under a 200.
ERROR = re.compile(rb"\s*(<\?xml[^>]*>\s*)?<Error>")


class Failure(NamedTuple):
    """A request that failed, in botocore's terms.

    Attributes:
        parsed: What S3 answered, as botocore parses it; None where it did not.
        http: Status and headers of that.
        error: What was raised, where there is no answer.
    """

    parsed: dict[str, Any] | None
    http: SimpleNamespace | None
    error: Exception | None

    @property
    def code(self) -> str:
        """S3's name of the error."""
        return str(self.parsed["Error"].get("Code", "")) if self.parsed else ""


class Call(NamedTuple):
    """A request, as often as it has to be sent.

    Attributes:
        operation: The name that S3 and botocore have for it.
        method: HTTP's.
        key: The object's; ``""`` where the bucket is asked.
        query: Encoded, with its ``?``; ``""`` for none.
        headers: Beside those of every request.
        body: What is sent.
        streams: Whether the answer is handed on before its body has been read.
    """

    operation: str
    method: str
    key: str
    query: str = ""
    headers: Mapping[str, str] = {}
    body: bytes | bytearray | memoryview = b""
    streams: bool = False


class Answer(NamedTuple):
    """What S3 answered, where it did what it was asked for.

    Attributes:
        head: Status and headers.
        body: What is left to be read; None where all has been.
        text: What has been read.
    """

    head: Head
    body: LeanBody | None
    text: bytes


class LeanClient:
    """An S3 client for GetObject; may be used from several threads. Lists are left to the full client."""

    def __init__(
        self, settings: S3Settings, make_full: Callable[[], S3Client], *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """A client that has not connected yet.

        Args:
            settings: How S3 is reached.
            make_full: Makes the client for what this one leaves alone.
            sleep: Waits between two attempts.
        """
        self._settings = settings
        self._make_full = make_full
        self._sleep = sleep
        self._signer = make_signer(settings.credentials, settings.region)
        self._idle: list[Connection] = []
        self._making_tls = Lock()
        self._tls: SSLContext | None = None
        self._elsewhere: set[str] = set()

    def get_object(self, **request: Any) -> dict[str, Any]:
        """GetObject, tried as often as botocore's standard mode would.

        Args:
            request: Bucket and Key; VersionId, Range, IfMatch and IfNoneMatch where they count.

        Returns:
            boto3's answer, as far as it is used: Body, ContentLength, ContentRange, ETag.

        Raises:
            ClientError: S3 answered with an error.
            BotoCoreError: It did not answer.
        """
        answer = self.send(request["Bucket"], get_call(request))
        return self._make_full().get_object(**request) if answer is None else answer_of(answer)

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        """ListObjectsV2, by the full client."""
        return self._make_full().list_objects_v2(**request)

    def close(self) -> None:
        """End the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    def send(self, bucket: str, call: Call, seconds_left: Callable[[], float] | None = None) -> Answer | None:
        """Make a request of a bucket, tried as often as botocore's standard mode would; None where it is the full client's to make.

        Args:
            bucket: The bucket.
            call: The request.
            seconds_left: How long the answer may still be waited for, body included; None for as long as something comes.

        Raises:
            ClientError: S3 answered with an error.
            BotoCoreError: It did not answer.
            TimeoutError: The time is up.
        """
        address = None if bucket in self._elsewhere else address_of(bucket, self._settings)
        attempt = 1
        while address:
            answer = self._attempt(address, call, seconds_left)
            if not isinstance(answer, Failure):
                return answer
            if seconds_left and answer.error and seconds_left() <= 0:
                raise TimeoutError
            if answer.code in ELSEWHERE:
                self._elsewhere.add(bucket)
            if answer.code in ELSEWHERE or answer.code in UNCLEAR:
                return None
            self._wait_or_raise(answer, attempt, call.operation, seconds_left)
            attempt += 1
        return None

    def _attempt(self, address: Address, call: Call, seconds_left: Callable[[], float] | None) -> Answer | Failure:
        target = target_of(address, call)
        headers = {"Host": address.authority, "User-Agent": "gluon-lambda", **call.headers}
        if call.body or call.method in ("PUT", "POST"):
            headers["Content-Length"] = str(len(call.body))
        signed = Request(f"{address.scheme}://{address.authority}{target}", headers, method=call.method, body=call.body)
        self._signer.add_auth(signed)
        try:
            connection = self._take_idle() or self._connect_in_time(address, seconds_left)
            head = connection.ask(call.method, target, dict(signed.headers.items()), call.body, seconds_left)
            if head.status in (200, 206) and call.streams:
                return Answer(head, LeanBody(connection, self._idle), b"")
            text = connection.read_text()
        except OSError as error:
            return Failure(None, None, as_botocore(error, address))
        self._keep(connection)
        is_done = head.status < 300 and not ERROR.match(text)
        return Answer(head, None, text) if is_done else failure_of(head, text)

    def _take_idle(self) -> Connection | None:
        """A connection that is there and not in use; the server ends those that have not been used for some seconds."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:  # to look first would not do: another thread may take the last one meanwhile
                return None
            if not connection.is_dropped():
                return connection
            connection.close()

    def _keep(self, connection: Connection) -> None:
        if connection.is_reusable and connection.is_read():
            self._idle.append(connection)
        else:
            connection.close()

    def _connect_in_time(self, address: Address, seconds_left: Callable[[], float] | None) -> Connection:
        """A new connection; in a thread of its own where time is short, since nobody else ends the look-up of a name."""
        if seconds_left is None:
            return self._connect(address)
        connecting = begin("connect", self._connect, address)
        if not connecting.wait(max(0.0, seconds_left())):
            raise TimeoutError("the time was up before there was a connection")
        return connecting.result()

    def _connect(self, address: Address) -> Connection:
        return Connection(address, self._tls_context() if address.scheme == "https" else None)

    def _tls_context(self) -> SSLContext:
        """TLS's settings, made once: many threads may ask at a time, and to read the certificates takes 20 ms."""
        with self._making_tls:
            if self._tls is None:
                self._tls = tls_context(self._settings.ca_bundle)
            return self._tls

    def _wait_or_raise(
        self, failure: Failure, attempt: int, operation: str, seconds_left: Callable[[], float] | None
    ) -> None:
        """Wait before the next attempt, or raise where there is none."""
        if failure.http and failure.http.status_code in USUAL:  # they need no look at the rules
            raise as_error(failure, operation)
        # lazy: botocore's rules load most of botocore, and there is time for that before the next attempt
        from botocore.retries.standard import ExponentialBackoff, RetryContext, StandardRetryConditions

        context = RetryContext(attempt, model_of(operation), failure.parsed, failure.http, failure.error)
        if not StandardRetryConditions(self._settings.attempts).is_retryable(context):
            raise as_error(failure, operation)
        from botocore.retries.standard import RetryEventAdapter, ThrottlingErrorDetector

        throttling = ThrottlingErrorDetector(RetryEventAdapter())
        delay = ExponentialBackoff(service_name="s3", throttling_detector=throttling).delay_amount(context)
        if seconds_left and seconds_left() <= delay:
            raise as_error(failure, operation)  # which tells more than that the time is up
        self._sleep(delay)


class LeanBody:
    """An answer's body; at its end its connection goes back to the client, and is no longer this body's."""

    def __init__(self, connection: Connection, idle: list[Connection]) -> None:
        """The body that comes next on ``connection``."""
        self._connection: Connection | None = connection
        self._idle = idle

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill ``buffer``; returns how many bytes came, 0 at the end.

        Raises:
            ResponseStreamingError: The connection broke off.
        """
        connection = self._connection
        if connection is None:
            return 0
        try:
            received = connection.readinto(buffer)
        except OSError as error:
            connection.close()
            from botocore.exceptions import ResponseStreamingError  # lazy: seldom

            raise ResponseStreamingError(error=error) from error
        if connection.is_read():
            self._give_back(connection)
        return received

    def close(self) -> None:
        """Give up a body that is not wanted."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _give_back(self, connection: Connection) -> None:
        self._connection = None
        if connection.is_reusable:
            self._idle.append(connection)
        else:
            connection.close()


def target_of(address: Address, call: Call) -> str:
    """Path and query of a request, encoded as botocore does (botocore.serialize: percent_encode, SAFE_CHARS)."""
    path = address.prefix + quote(call.key, safe="/-._~") if call.key else address.prefix.rstrip("/") or "/"
    return path + call.query


def query_of(**parameters: str) -> str:
    """Parameters that have a value as a query, in the order that signing wants."""
    pairs = (f"{name}={quote(value, safe='-._~')}" for name, value in sorted(parameters.items()) if value)
    return "?" * any(parameters.values()) + "&".join(pairs)


def get_call(request: Mapping[str, Any]) -> Call:
    """A GetObject."""
    headers = {header: request[name] for name, header in HEADERS.items() if name in request}
    query = query_of(versionId=request.get("VersionId", ""))
    return Call("GetObject", "GET", request["Key"], query, headers, streams=True)


def answer_of(answer: Answer) -> dict[str, Any]:
    """GetObject's answer in boto3's form."""
    headers = answer.head.headers
    length = int(headers.get("content-length", 0))
    said = {"Body": answer.body, "ContentLength": length, "ETag": headers.get("etag", "")}
    if "content-range" in headers:
        said["ContentRange"] = headers["content-range"]
    return said


def failure_of(head: Head, text: bytes) -> Failure:
    """An error that S3 answered."""
    # botocore's name for the status of an error that comes under another one
    status = head.status if head.status >= 300 else 500
    return Failure(parse_error(head, text, status), SimpleNamespace(status_code=status, headers=head.headers), None)


def parse_error(head: Head, text: bytes, status: int) -> dict[str, Any]:
    """An error that S3 answered, as botocore parses it."""
    code = "NoSuchKey" if NO_SUCH_KEY in text else "" if text and status == 404 else USUAL.get(status)
    if code:  # no mishap, and what it says is known
        return {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    from botocore.parsers import RestXMLParser  # lazy: loads most of botocore

    answer = {"status_code": status, "headers": head.headers, "body": text}
    parsed: dict[str, Any] = RestXMLParser().parse(answer, None)
    parsed.setdefault("Error", {"Code": str(status), "Message": ""})
    return parsed


def model_of(operation: str) -> SimpleNamespace:
    """What botocore's rules want to know of an operation; ours model no error that may be tried again."""
    return SimpleNamespace(name=operation, error_shapes=[], service_model=SimpleNamespace(service_name="s3"))


def as_error(failure: Failure, operation: str) -> Exception:
    """A failure as what botocore would raise."""
    from botocore.exceptions import ClientError  # lazy: seldom

    return failure.error or ClientError(failure.parsed or {}, operation)


def as_botocore(error: OSError, address: Address) -> Exception:
    """A connection's failure as what botocore would raise (botocore/httpsession.py: URLLib3Session.send)."""
    from botocore import exceptions  # lazy: seldom

    url = f"{address.scheme}://{address.authority}"
    raised: Exception
    if type(error).__name__.startswith("SSL"):  # by name, since ssl may not be loaded
        raised = exceptions.SSLError(endpoint_url=url, error=error)
    elif isinstance(error, TimeoutError):
        raised = exceptions.ReadTimeoutError(endpoint_url=url, error=error)
    elif isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        raised = exceptions.ConnectionClosedError(endpoint_url=url, error=error)
    else:
        raised = exceptions.EndpointConnectionError(endpoint_url=url, error=error)
    raised.__cause__ = error
    return raised
