"""Writing objects to S3: content cut into parts, multipart uploads, and what a conditional write's answer means.

Contracts: Amazon S3 API Reference (UploadPart, CompleteMultipartUpload), and the User Guide's "Conditional writes" for 409 and 412.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from gluon_lambda.archive_store.s3_errors import CHANGED, answered_error, error_code
from gluon_lambda.batch.buffers import buffer_of
from gluon_lambda.batch.objects import PART_BYTES, Pieces
from gluon_lambda.batch.s3_calls import Calls
from gluon_lambda.batch.s3_object_errors import CONFLICT


class Upload:
    """A multipart upload, part by part."""

    def __init__(self, calls: Calls, request: Mapping[str, str]) -> None:
        """Begun.

        Args:
            calls: To S3.
            request: What all its requests name: bucket, key and the upload's id.
        """
        self._calls = calls
        self._request = request
        self._sent: list[dict[str, Any]] = []

    def send(self, part: memoryview) -> None:
        """Send a part."""
        number = len(self._sent) + 1
        answer = self._calls.ask("upload_part", **self._request, PartNumber=number, Body=part)
        sums = {name: answer[name] for name in answer if name.startswith("Checksum") and name != "ChecksumType"}
        self._sent.append({"PartNumber": number, "ETag": answer["ETag"], **sums})

    def complete(self) -> bool | None:
        """Make an object of the parts, unless there is one; None where another write collides with this one."""
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
        self._calls.tell("abort_multipart_upload", **self._request)


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


class Filled(NamedTuple):
    """A part of what is written.

    Attributes:
        content: Valid until the next one is asked for: all of them lie in one buffer, so that memory stays flat.
        is_last: Whether nothing comes after it.
    """

    content: memoryview
    is_last: bool


def parts_of(content: Pieces) -> Iterator[Filled]:
    """Content in parts of PART_BYTES; only the last one may be shorter, and only the only one empty."""
    buffer, filled = buffer_of(PART_BYTES), 0
    for piece in content:
        rest = memoryview(piece)
        while rest:
            if filled == PART_BYTES:
                yield Filled(buffer, is_last=False)
                filled = 0
            taken = rest[: PART_BYTES - filled]
            buffer[filled : filled + len(taken)] = taken
            filled += len(taken)
            rest = rest[len(taken) :]
    yield Filled(buffer[:filled], is_last=True)
