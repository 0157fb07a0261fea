"""Into which parts an object is cut."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from gluon_lambda.archive_store.s3_transfer import (
    CONNECTIONS,
    PART_BYTES,
    SMALLEST_PART_BYTES,
    Opening,
    Transfer,
    spans,
)


@pytest.mark.parametrize("size", [SMALLEST_PART_BYTES + 1, 5_000_000, 17_000_000, 45_000_000, 244_000_000, 3 << 30])
def test_parts_cover_the_rest_of_an_object_once(size: int) -> None:
    parts = spans(SMALLEST_PART_BYTES, size)
    assert (parts[0][0], parts[-1][1]) == (SMALLEST_PART_BYTES, size)
    assert [end for _, end in parts[:-1]] == [start for start, _ in parts[1:]]
    assert all(0 < end - start <= PART_BYTES for start, end in parts)


def test_an_object_of_one_part_has_no_others() -> None:
    assert spans(1000, 1000) == spans(SMALLEST_PART_BYTES, SMALLEST_PART_BYTES) == []


def test_an_object_of_17_mb_keeps_every_connection_busy() -> None:
    assert len(spans(SMALLEST_PART_BYTES, 18_000_000)) == CONNECTIONS


class SlowBody:
    """A body that comes when the connection has been let go on."""

    def __init__(self) -> None:
        self.may_come = threading.Event()
        self.has_come = False

    def readinto(self, buffer: memoryview) -> int:
        assert self.may_come.wait(60)
        buffer[:] = bytes(len(buffer))
        self.has_come = True
        return len(buffer)


def test_where_the_digest_cannot_be_taken_nothing_writes_to_the_file_afterwards(tmp_path: Path) -> None:
    body = SlowBody()
    answer: dict[str, Any] = {"Body": body, "ContentLength": 100}
    sink = os.open(tmp_path / "archive", os.O_WRONLY | os.O_CREAT)
    transfer = Transfer(NoClient(), Opening({}, "", 100, answer), sink)
    transfer._parts[0].is_settled.set()  # so that the digest is begun, and fails: the file cannot be read
    threading.Timer(0.2, body.may_come.set).start()
    with pytest.raises(OSError, match="descriptor"):
        transfer.run(with_digest=True)
    assert body.has_come
    os.close(sink)


class NoClient:
    """Is asked nothing: the object comes in one part."""

    def get_object(self, **_request: Any) -> dict[str, Any]:
        raise AssertionError

    list_objects_v2 = get_object

    def close(self) -> None:
        raise AssertionError
