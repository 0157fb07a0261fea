"""Objects on S3.

What botocore tries again by itself (its standard mode: connections, throttling, 5xx) is tried again by whichever client asks; bodies that
break off and writes that collide are tried again here. Contracts: Amazon S3 API Reference (GetObject, PutObject, DeleteObjects), and the User
Guide's "Conditional writes" for 409 and 412.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gluon_lambda.archive_store.s3_errors import EMPTY, answered_error, error_code
from gluon_lambda.batch.buffers import buffer_of
from gluon_lambda.batch.objects import ATTEMPTS, Facts, Listed, Opened, Pieces, stored_metadata
from gluon_lambda.batch.s3_calls import Calls, Connection
from gluon_lambda.batch.s3_object_errors import Asked, conflict, is_passing, object_errors, refusal
from gluon_lambda.batch.s3_reading import PartReading, Reading, WholeReading
from gluon_lambda.batch.s3_uploads import Upload, begin_upload, parts_of, written
from gluon_lambda.batch_records import ObjectRef

_MOST_DELETED = 1000
# XML 1.0 cannot say these, or does not keep them: DeleteObjects names keys in XML.
_NOT_IN_XML = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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

    def open(self, reference: ObjectRef, length: int) -> Opened:
        """GetObject with Range; see ``ObjectStore.open``."""
        with object_errors(reading(reference)):
            first = WholeReading(pinned(reference), length)
            try:
                head = self._receive(first)
            except answered_error() as error:
                if error_code(error) not in EMPTY:
                    raise
                return Opened(facts_of(self._head(pinned(reference))), b"")
            return Opened(facts_of(first.answer), head)

    def read(self, reference: ObjectRef, start: int, length: int, into: memoryview | None = None) -> memoryview:
        """GetObject with Range; see ``ObjectStore.read``."""
        buffer = (buffer_of(length) if into is None else into)[:length]
        if not length:
            return buffer  # S3 has no range of nothing
        with object_errors(reading(reference)):
            return self._receive(PartReading(pinned(reference), start, buffer))

    def read_small(self, bucket: str, key: str) -> bytes | None:
        """GetObject; see ``ObjectStore.read_small``."""
        with object_errors(Asked("s3:GetObject", bucket, key)):
            try:
                return bytes(self._receive(WholeReading({"Bucket": bucket, "Key": key})))
            except answered_error() as error:
                if error_code(error) != "NoSuchKey":
                    raise
                return None

    def write_new(
        self, bucket: str, key: str, content: Pieces, *, content_type: str, metadata: Mapping[str, str]
    ) -> bool:
        """PutObject or a multipart upload with If-None-Match; see ``ObjectStore.write_new``. Holds one part at most."""
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

    def _receive(self, reading: Reading) -> memoryview:
        return self._calls.run(lambda ask: reading.run(ask, lambda: self._calls.seconds_left > 0))

    def _write(self, target: Mapping[str, str], described: Mapping[str, Any], content: Pieces) -> bool | None:
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

    def _put(self, request: Mapping[str, Any], part: memoryview) -> bool | None:
        """PutObject, again where it collides; None where it always does."""
        for attempt in range(ATTEMPTS):
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
    """HeadObject's or GetObject's answer."""
    encodings = [word.strip().lower() for word in str(answer.get("ContentEncoding", "")).split(",")]
    return Facts(
        size=int(str(answer.get("ContentRange", "")).rpartition("/")[2] or answer["ContentLength"]),
        etag=str(answer.get("ETag", "")).strip('"'),
        version=str(answer.get("VersionId") or ""),
        content_type=str(answer.get("ContentType", "")).partition(";")[0].strip().lower(),
        # how SDKs send, not how the object is; some stores keep it
        content_encoding=",".join(word for word in encodings if word != "aws-chunked"),
        metadata={name.lower(): value for name, value in answer.get("Metadata", {}).items()},
    )
