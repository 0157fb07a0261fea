"""Objects on S3 through boto3.

What botocore tries again by itself (its standard mode: connections, throttling, 5xx) is left to it; bodies that break off and writes that
collide are tried again here. Contracts: Amazon S3 API Reference (GetObject, PutObject, CompleteMultipartUpload, DeleteObjects), and the User
Guide's "Conditional writes" for 409 and 412.
"""

from __future__ import annotations

import io
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from gluon_lambda.archive_store.s3 import make_full_client
from gluon_lambda.archive_store.s3_errors import CHANGED, answered_error, error_code, unanswered_error
from gluon_lambda.archive_store.s3_transfer import broken_off
from gluon_lambda.batch.objects import ATTEMPTS, PART_BYTES, Facts, Listed, stored_metadata
from gluon_lambda.batch.s3_object_errors import CONFLICT, Asked, conflict, is_passing, object_errors, refusal
from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.pending import Pending, begin

# One for each thread that reads ahead, decodes, or sends a part.
CONNECTIONS = 80
# What is taken of a body at a time.
_CHUNK_BYTES = 256 << 10
_MOST_DELETED = 1000
# XML 1.0 cannot say these, or does not keep them: DeleteObjects names keys in XML.
_NOT_IN_XML = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Connection:
    """boto3's client, made when S3 is first asked (140 to 240 ms), and kept for as long as the sandbox lives."""

    def __init__(self, environ: Mapping[str, str] = os.environ, *, connections: int = CONNECTIONS) -> None:
        self._environ = environ
        self._connections = connections
        self._making = threading.Lock()
        self._client: Any = None

    def client(self) -> Any:
        """The client; botocore's may be used by any number of threads at a time."""
        with self._making:
            if self._client is None:
                self._client = make_full_client(self._environ, connections=self._connections)
            return self._client


class Calls:
    """Calls to S3, none of which is waited for when the time is up."""

    def __init__(self, connection: Connection, remaining_ms: Callable[[], int]) -> None:
        self._connection = connection
        self._remaining_ms = remaining_ms

    @property
    def seconds_left(self) -> float:
        """How long may still be waited."""
        return max(0.0, self._remaining_ms() / 1000)

    def begin(self, operation: str, **request: Any) -> Pending[Any]:
        """Begin a call of the client's."""
        return begin(operation, lambda: getattr(self._connection.client(), operation)(**request))

    def ask(self, operation: str, **request: Any) -> Any:
        """Make a call of the client's; raises botocore's errors, and TimeoutError."""
        return self.run(lambda client: getattr(client, operation)(**request))

    def run(self, call: Callable[[Any], Any]) -> Any:
        """Make a call that is given the client."""
        if not self.seconds_left:
            raise TimeoutError
        return self.wait(begin("s3", lambda: call(self._connection.client())))

    def wait(self, pending: Pending[Any]) -> Any:
        """What a call returned or raised.

        In a thread of its own, because a socket's timeout counts from one byte to the next: an answer that drips never meets it. One that is
        given up goes on dripping until botocore or S3 ends it.
        """
        if not pending.wait(self.seconds_left):
            raise TimeoutError
        return pending.result()

    def pause(self, attempt: int) -> None:
        """Wait before the next attempt, twice as long each time."""
        time.sleep(min(0.05 * 2**attempt, self.seconds_left))


class S3Objects:
    """An ``ObjectStore`` on S3: one for each invocation, whose time it keeps to, over the sandbox's one connection."""

    def __init__(self, connection: Connection, remaining_ms: Callable[[], int]) -> None:
        """Nothing is asked yet.

        Args:
            connection: The sandbox's.
            remaining_ms: Milliseconds that S3 may still be waited for, asked anew at each call. When there are none left, every call ends
                with an ObjectUnavailable, whatever S3 does.
        """
        self._calls = Calls(connection, remaining_ms)

    def facts(self, reference: ObjectRef) -> Facts:
        """HeadObject; see ``ObjectStore.facts``."""
        with object_errors(reading(reference)):
            return facts_of(self._head(pinned(reference)))

    def read(self, reference: ObjectRef, start: int, length: int) -> bytes:
        """GetObject with Range; see ``ObjectStore.read``."""
        if not length:
            return b""  # S3 has no range of nothing
        with object_errors(reading(reference)):
            return self._receive(Reading(pinned(reference), start, length))

    def read_small(self, bucket: str, key: str) -> bytes | None:
        """GetObject; see ``ObjectStore.read_small``."""
        request = {"Bucket": bucket, "Key": key}
        with object_errors(Asked("s3:GetObject", bucket, key)):
            try:
                return self._receive(Reading(request))
            except answered_error() as error:
                if error_code(error) != "NoSuchKey":
                    raise
                return None

    def write_new(
        self, bucket: str, key: str, content: Iterable[bytes], *, content_type: str, metadata: Mapping[str, str]
    ) -> bool:
        """PutObject or a multipart upload with If-None-Match; see ``ObjectStore.write_new``. Holds two parts at most."""
        asked = Asked("s3:PutObject", bucket, key)
        described = {"ContentType": content_type, "Metadata": stored_metadata(metadata)}
        with object_errors(asked):
            for attempt in range(ATTEMPTS):
                is_written = self._write({"Bucket": bucket, "Key": key}, described, content)
                if is_written is not None:
                    return is_written
                if iter(content) is content:
                    break
                self._calls.pause(attempt)
        raise conflict(asked)

    def list(self, bucket: str, prefix: str) -> list[Listed]:
        """ListObjectsV2; see ``ObjectStore.list``."""
        request = {"Bucket": bucket, "Prefix": prefix}
        found: list[Listed] = []
        with object_errors(Asked("s3:ListBucket", bucket, prefix)):
            while True:
                answer = self._calls.ask("list_objects_v2", **request)
                found += [Listed(entry["Key"], int(entry["Size"])) for entry in answer.get("Contents", [])]
                if not answer.get("IsTruncated"):
                    return sorted(found, key=lambda listed: listed.key.encode())  # directory buckets have no order
                request["ContinuationToken"] = answer["NextContinuationToken"]

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        """DeleteObjects; see ``ObjectStore.delete``. In a bucket with versions the object's older ones stay."""
        plain = [key for key in keys if not _NOT_IN_XML.search(key)]
        for start in range(0, len(plain), _MOST_DELETED):
            self._delete(bucket, plain[start : start + _MOST_DELETED])
        for key in keys:
            if _NOT_IN_XML.search(key):
                with object_errors(Asked("s3:DeleteObject", bucket, key)):
                    self._calls.ask("delete_object", Bucket=bucket, Key=key)

    def _head(self, request: Mapping[str, Any]) -> Any:
        """HeadObject. Its errors have no body, and so no name: GetObject says what is meant."""
        try:
            return self._calls.ask("head_object", **request)
        except answered_error() as error:
            if error_code(error) in ("400", "403", "404"):
                self._calls.ask("get_object", **request, Range="bytes=0-0")["Body"].close()
            raise

    def _receive(self, reading: Reading) -> bytes:
        content: bytes = self._calls.run(lambda client: reading.run(client, lambda: self._calls.seconds_left > 0))
        return content

    def _write(self, target: Mapping[str, str], described: Mapping[str, Any], content: Iterable[bytes]) -> bool | None:
        """Write an object once; None where another write collides with it, and it has to be sent anew."""
        upload: Upload | None = None
        is_written: bool | None = False
        try:
            for part, is_last in parts_of(content):
                if is_last and upload is None:
                    return self._put({**target, **described}, part)
                upload = upload or begin_upload(self._calls, target, described)
                upload.send(part)
            is_written = upload.complete() if upload else False
        finally:
            if upload and not is_written:
                upload.abandon()
        return is_written

    def _put(self, request: Mapping[str, Any], part: io.BytesIO) -> bool | None:
        """PutObject, again where it collides; None where it always does."""
        for attempt in range(ATTEMPTS):
            part.seek(0)
            is_written = written(lambda: self._calls.ask("put_object", **request, Body=part, IfNoneMatch="*"))
            if is_written is not None:
                return is_written
            self._calls.pause(attempt)
        return None

    def _delete(self, bucket: str, keys: Sequence[str]) -> None:
        """DeleteObjects; the ones that fail for a while again."""
        for attempt in range(ATTEMPTS):
            with object_errors(Asked("s3:DeleteObject", bucket, keys[0])):
                named = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
                failed = self._calls.ask("delete_objects", Bucket=bucket, Delete=named).get("Errors", [])
            lasting = [entry for entry in failed if not is_passing(str(entry.get("Code")))]
            if not failed:
                return
            if lasting or attempt == ATTEMPTS - 1:
                first = (lasting or failed)[0]
                asked = Asked("s3:DeleteObject", bucket, str(first["Key"]))
                raise refusal(asked, str(first.get("Code")), None, str(first.get("Message")))
            keys = [entry["Key"] for entry in failed]
            self._calls.pause(attempt)


class Reading:
    """One read of an object, or of a part of it: what has come so far, and how the rest is asked for."""

    def __init__(self, request: Mapping[str, Any], start: int = 0, length: int | None = None) -> None:
        """Ready to go.

        Args:
            request: GetObject's: bucket, key, and what pins the state, where something does.
            start: The first byte that is read.
            length: How many are; None for all of them.
        """
        self._request = dict(request)
        self._start = start
        self._length = length
        self._sink = io.BytesIO()

    def run(self, client: Any, may_go_on: Callable[[], bool]) -> bytes:
        """Read; a body that breaks off goes on where it broke off, in the same state of the object.

        Raises:
            ClientError: S3 answered with an error: ``PreconditionFailed`` where the object was replaced.
            BotoCoreError: It did not answer, or never sent all of it.
        """
        attempt = 0
        while True:
            answer = client.get_object(**self._request, **self._rest())
            attempt += 1
            try:
                with closing(answer["Body"]):
                    self._copy(answer)
                return self._sink.getvalue()
            except (unanswered_error(), _broken_stream()):
                if attempt == ATTEMPTS or not may_go_on():
                    raise
                self._go_back(answer)

    def _rest(self) -> dict[str, str]:
        """What is still missing, as GetObject takes it."""
        if self._length is None:
            return {}
        return {"Range": f"bytes={self._start + self._sink.tell()}-{self._start + self._length - 1}"}

    def _go_back(self, answer: Mapping[str, Any]) -> None:
        """To where the next attempt begins: at the start, where the length is not known, or all has come and was not what it should be."""
        if self._length is None or self._sink.tell() >= self._length:
            self._sink = io.BytesIO()
        if answer.get("ETag"):
            self._request["IfMatch"] = answer["ETag"]

    def _copy(self, answer: Mapping[str, Any]) -> None:
        missing = self._check(answer)
        while missing:
            chunk = answer["Body"].read(min(_CHUNK_BYTES, missing))
            if not chunk:
                raise broken_off(f"{missing} bytes are missing")
            self._sink.write(chunk)
            missing -= len(chunk)
        answer["Body"].read(1)  # the end: botocore compares lengths and checksums there

    def _check(self, answer: Mapping[str, Any]) -> int:
        """How long the body has to be, once what S3 says of it fits what was asked for."""
        sent, said = int(answer["ContentLength"]), answer.get("ContentRange")
        if self._length is None:
            return sent
        position, end = self._start + self._sink.tell(), self._start + self._length
        is_whole = said is None and position == 0
        if sent != end - position or not (is_whole or str(said).startswith(f"bytes {position}-{end - 1}/")):
            raise broken_off(f"asked for bytes {position}-{end - 1}, got {sent} bytes, {said}")
        return sent


class Upload:
    """A multipart upload: while one part is being sent, the next one is filled."""

    def __init__(self, calls: Calls, request: Mapping[str, str]) -> None:
        """Begun.

        Args:
            calls: To S3.
            request: What all its requests name: bucket, key and the upload's id.
        """
        self._calls = calls
        self._request = request
        self._sent: list[dict[str, Any]] = []
        self._sending: Pending[Any] | None = None

    def send(self, part: io.BytesIO) -> None:
        """Begin to send a part, once the one before it has been sent."""
        self._settle()
        part.seek(0)
        number = len(self._sent) + 1
        self._sending = self._calls.begin("upload_part", **self._request, PartNumber=number, Body=part)

    def complete(self) -> bool | None:
        """Make an object of the parts, unless there is one; None where another write collides with this one."""
        self._settle()
        parts = {"Parts": self._sent}
        return written(
            lambda: self._calls.ask(
                "complete_multipart_upload", **self._request, MultipartUpload=parts, IfNoneMatch="*"
            ),
            # after an answer that got lost: S3 has completed the upload, or somebody has given it up. Whoever writes anew will see.
            also=("NoSuchUpload",),
        )

    def abandon(self) -> None:
        """Give the parts up, which are paid for otherwise. Said even where there is no time to hear the answer, and whatever it is."""
        if self._sending:
            self._sending.wait(self._calls.seconds_left)
        self._calls.begin("abort_multipart_upload", **self._request).wait(self._calls.seconds_left)

    def _settle(self) -> None:
        sending, self._sending = self._sending, None
        if sending:
            answer = self._calls.wait(sending)
            sums = {name: answer[name] for name in answer if name.startswith("Checksum") and name != "ChecksumType"}
            self._sent.append({"PartNumber": len(self._sent) + 1, "ETag": answer["ETag"], **sums})


def begin_upload(calls: Calls, target: Mapping[str, str], described: Mapping[str, Any]) -> Upload:
    """Begin a multipart upload."""
    answer = calls.ask("create_multipart_upload", **target, **described)
    return Upload(calls, {**target, "UploadId": answer["UploadId"]})


def written(write: Callable[[], Any], also: tuple[str, ...] = ()) -> bool | None:
    """Whether a conditional write wrote; None where it collided with another one.

    412 after an answer that got lost may mean our own success; to whoever asks it is all the same: the object is there.
    """
    try:
        write()
        return True
    except answered_error() as error:
        code = error_code(error)
        if code in CHANGED:
            return False
        if code in CONFLICT or code in also:
            return None
        raise


class _Filled(NamedTuple):
    part: io.BytesIO
    is_last: bool


def parts_of(content: Iterable[bytes]) -> Iterator[_Filled]:
    """Content in parts of PART_BYTES; only the last one may be shorter, and only the only one empty."""
    part = io.BytesIO()
    for piece in content:
        rest = memoryview(piece)
        while rest:
            if part.tell() == PART_BYTES:
                yield _Filled(part, is_last=False)
                part = io.BytesIO()
            room = PART_BYTES - part.tell()
            part.write(rest[:room])
            rest = rest[room:]
    yield _Filled(part, is_last=True)


def reading(reference: ObjectRef) -> Asked:
    """What reading an object needs, for messages."""
    return Asked("s3:GetObject", reference.bucket, reference.key, reference.version)


def pinned(reference: ObjectRef) -> dict[str, str]:
    """GetObject's and HeadObject's parameters for the one state that a reference names."""
    request = {"Bucket": reference.bucket, "Key": reference.key}
    tag = reference.etag.strip('"')
    if reference.version:
        request["VersionId"] = reference.version
    # What a bucket without versions holds is its version "null", and is replaced under this name.
    if tag and reference.version in ("", "null"):
        request["IfMatch"] = f'"{tag}"'
    return request


def facts_of(answer: Mapping[str, Any]) -> Facts:
    """HeadObject's answer."""
    encodings = [word.strip().lower() for word in str(answer.get("ContentEncoding", "")).split(",")]
    return Facts(
        size=int(answer["ContentLength"]),
        etag=str(answer.get("ETag", "")).strip('"'),
        version=str(answer.get("VersionId") or ""),
        content_type=str(answer.get("ContentType", "")).partition(";")[0].strip().lower(),
        # how SDKs send, not how the object is; some stores keep it
        content_encoding=",".join(word for word in encodings if word != "aws-chunked"),
        metadata={name.lower(): value for name, value in answer.get("Metadata", {}).items()},
    )


def _broken_stream() -> type[Exception]:
    """What urllib3 raises of a body and botocore does not translate: TLS that goes wrong within it."""
    from urllib3.exceptions import HTTPError  # lazy: comes with boto3

    found: type[Exception] = HTTPError
    return found
