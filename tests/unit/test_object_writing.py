"""How content is cut into parts, and how much of it is held while they are sent."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from gluon_lambda.batch.objects import PART_BYTES, stored_metadata
from gluon_lambda.batch.s3_calls import Connection
from gluon_lambda.batch.s3_objects import S3Objects
from gluon_lambda.batch.s3_uploads import parts_of

CONTENT = random.Random(1).randbytes(2 * PART_BYTES + 7)


@pytest.mark.parametrize("piece", [1_000_003, PART_BYTES, len(CONTENT)])
@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, len(CONTENT)])
def test_content_is_cut_into_parts_whatever_its_pieces_are(size: int, piece: int) -> None:
    pieces = [CONTENT[start : min(size, start + piece)] for start in range(0, size, piece)]
    parts = [(bytes(part), is_last) for part, is_last in parts_of([b"", *pieces, b""])]
    assert b"".join(part for part, _ in parts) == CONTENT[:size]
    assert [len(part) for part, _ in parts[:-1]] == [PART_BYTES] * (len(parts) - 1)
    assert [is_last for _, is_last in parts] == [False] * (len(parts) - 1) + [True]
    assert len(parts) == max(1, -(-size // PART_BYTES))


def test_metadata_are_stored_as_headers_can_carry_them() -> None:
    said = {"Gluon-Key": "in/zéro 1+1 ~100%\n", "empty": ""}
    assert stored_metadata(said) == {"gluon-key": "in/z%C3%A9ro 1+1 ~100%25%0A", "empty": ""}


class Discarding(Connection):
    """A connection to an S3 that takes everything and keeps nothing."""

    def __init__(self) -> None:
        super().__init__({})
        self.sent: list[Any] = []

    def ask_lean(self, seconds_left: Callable[[], float] | None, operation: str, **request: Any) -> Any:
        if operation == "upload_part":
            self.sent.append((id(request["Body"].obj), len(request["Body"])))
        return {"UploadId": "1", "ETag": '"1"'}


def test_all_parts_of_a_long_object_lie_in_one_buffer() -> None:
    connection = Discarding()
    pieces = (bytes(1 << 20) for _ in range(52))
    tracemalloc.start()
    assert S3Objects(connection, lambda: 60_000).write_new("b", "out", pieces, content_type="a/b", metadata={})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [length for _, length in connection.sent] == [PART_BYTES] * 10 + [2 << 20]
    assert len({buffer for buffer, _ in connection.sent}) == 1
    assert peak <= 3 << 20  # two pieces, and what is not theirs
