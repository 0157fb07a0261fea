"""GetObject with botocore's signer and botocore's retries, over connections of our own.

What is used of botocore is loaded when it is needed: its signer's file always, its parser and its rules of when and how long to wait only
after a request has failed. Whatever asks for more than signing and retrying (another region, a skewed clock) is left to boto3's client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from gluon_lambda.archive_store.http_connection import Connection, Head, tls_context
from gluon_lambda.archive_store.s3_settings import Address, S3Settings, address_of
from gluon_lambda.archive_store.s3_signing import Request, make_signer

if TYPE_CHECKING:
    from ssl import SSLContext

    from gluon_lambda.archive_store.s3 import S3Client

# GetObject's parameters that are headers (Amazon S3 API Reference, GetObject, Request Syntax).
HEADERS = {"Range": "Range", "IfMatch": "If-Match", "IfNoneMatch": "If-None-Match"}
# The bucket is elsewhere, or the clock is wrong: boto3's client follows and corrects.
FOR_THE_FULL_CLIENT = frozenset(
    {
        "301",
        "307",
        "308",
        "PermanentRedirect",
        "TemporaryRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "RequestTimeTooSkewed",
        "RequestExpired",
    }
)
# botocore's parser wants a model of the operation to look an error up in; GetObject models none that may be tried again.
OPERATION = SimpleNamespace(name="GetObject", error_shapes=[], service_model=SimpleNamespace(service_name="s3"))


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
        self._tls: SSLContext | None = None

    def get_object(self, **request: Any) -> dict[str, Any]:
        """GetObject, tried as often as botocore's standard mode would.

        Args:
            request: Bucket and Key; VersionId, Range, IfMatch and IfNoneMatch where they count.

        Returns:
            boto3's answer, as far as it is used: Body, ContentLength, ContentRange, ETag, VersionId.

        Raises:
            ClientError: S3 answered with an error.
            BotoCoreError: It did not answer.
        """
        address = address_of(request["Bucket"], self._settings)
        if address is None:
            return self._make_full().get_object(**request)
        attempt = 1
        while True:
            answer = self._attempt(address, request)
            if not isinstance(answer, Failure):
                return answer
            if answer.code in FOR_THE_FULL_CLIENT:
                return self._make_full().get_object(**request)
            self._wait_or_raise(answer, attempt)
            attempt += 1

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        """ListObjectsV2, by the full client."""
        return self._make_full().list_objects_v2(**request)

    def close(self) -> None:
        """End the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    def _attempt(self, address: Address, request: Mapping[str, Any]) -> dict[str, Any] | Failure:
        target = target_of(address, request)
        signed = Request(f"{address.scheme}://{address.authority}{target}", headers_of(address, request))
        self._signer.add_auth(signed)
        try:
            connection = self._take_idle() or self._connect(address)
            head = connection.get(target, dict(signed.headers.items()))
            if head.status in (200, 206):
                return answer_of(head, LeanBody(connection, self._idle))
            text = connection.read_text(head)
        except OSError as error:
            return Failure(None, None, as_botocore(error, address))
        connection.close()
        return Failure(parse_error(head, text), SimpleNamespace(status_code=head.status, headers=head.headers), None)

    def _take_idle(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:  # to look first would not do: another thread may take the last one meanwhile
            return None

    def _connect(self, address: Address) -> Connection:
        if address.scheme == "https" and self._tls is None:
            self._tls = tls_context(self._settings.ca_bundle)
        return Connection(address, self._tls)

    def _wait_or_raise(self, failure: Failure, attempt: int) -> None:
        """Wait before the next attempt, or raise where there is none."""
        if failure.http and failure.http.status_code in (304, 404, 412):  # the usual ones need no look at the rules
            raise as_error(failure)
        # lazy: botocore's rules load most of botocore, and there is time for that before the next attempt
        from botocore.retries.standard import ExponentialBackoff, RetryContext, StandardRetryConditions

        context = RetryContext(attempt, OPERATION, failure.parsed, failure.http, failure.error)
        if not StandardRetryConditions(self._settings.attempts).is_retryable(context):
            raise as_error(failure)
        from botocore.retries.standard import RetryEventAdapter, ThrottlingErrorDetector

        throttling = ThrottlingErrorDetector(RetryEventAdapter())
        self._sleep(ExponentialBackoff(service_name="s3", throttling_detector=throttling).delay_amount(context))


class LeanBody:
    """An answer's body; its connection goes back to the client at its end."""

    def __init__(self, connection: Connection, idle: list[Connection]) -> None:
        """The body that comes next on ``connection``."""
        self._connection = connection
        self._idle = idle

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill ``buffer``; returns how many bytes came, 0 at the end.

        Raises:
            ResponseStreamingError: The connection broke off.
        """
        try:
            received = self._connection.readinto(buffer)
        except OSError as error:
            self._connection.close()
            from botocore.exceptions import ResponseStreamingError  # lazy: seldom

            raise ResponseStreamingError(error=error) from error
        if self._connection.is_read() and self._connection.is_reusable:
            self._connection.is_reusable = False  # once
            self._idle.append(self._connection)
        return received

    def close(self) -> None:
        """Give up a body that is not wanted."""
        if not self._connection.is_read():
            self._connection.close()


def target_of(address: Address, request: Mapping[str, Any]) -> str:
    """Path and query of a request, encoded as botocore does (botocore.serialize: percent_encode, SAFE_CHARS)."""
    query = f"?versionId={quote(request['VersionId'], safe='-._~')}" if "VersionId" in request else ""
    return f"{address.prefix}{quote(request['Key'], safe='/-._~')}{query}"


def headers_of(address: Address, request: Mapping[str, Any]) -> dict[str, str]:
    """A request's headers, without those of its signature."""
    asked = {header: request[name] for name, header in HEADERS.items() if name in request}
    return {"Host": address.authority, "User-Agent": "gluon-lambda", **asked}


def answer_of(head: Head, body: LeanBody) -> dict[str, Any]:
    """An answer in boto3's form."""
    headers = head.headers
    answer = {"Body": body, "ContentLength": int(headers.get("content-length", 0)), "ETag": headers.get("etag", "")}
    if "content-range" in headers:
        answer["ContentRange"] = headers["content-range"]
    return answer


def parse_error(head: Head, text: bytes) -> dict[str, Any]:
    """An error that S3 answered, as botocore parses it."""
    code = {304: "304", 412: "PreconditionFailed"}.get(head.status)
    if code:  # these two are no mishaps, and what they say is known
        return {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": head.status}}
    from botocore.parsers import RestXMLParser  # lazy: loads most of botocore

    answer = {"status_code": head.status, "headers": head.headers, "body": text}
    parsed: dict[str, Any] = RestXMLParser().parse(answer, None)
    parsed.setdefault("Error", {"Code": str(head.status), "Message": ""})
    return parsed


def as_error(failure: Failure) -> Exception:
    """A failure as what botocore would raise."""
    from botocore.exceptions import ClientError  # lazy: seldom

    return failure.error or ClientError(failure.parsed or {}, "GetObject")


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
