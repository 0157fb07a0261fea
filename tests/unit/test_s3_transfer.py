"""Into which parts an object is cut, and where they go."""

from __future__ import annotations

import hashlib
import io
import os
import random
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from gluon_lambda.archive_store.checksums import Piece, joined
from gluon_lambda.archive_store.s3_transfer import (
    CONNECTIONS,
    PART_BYTES,
    SMALLEST_PART_BYTES,
    Opening,
    Part,
    Place,
    Transfer,
    parts_of,
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
        self.is_wanted, self.may_come = threading.Event(), threading.Event()
        self.has_come = False

    def readinto(self, buffer: memoryview) -> int:
        self.is_wanted.set()
        assert self.may_come.wait(60)
        buffer[:] = bytes(len(buffer))
        self.has_come = True
        return len(buffer)


def test_where_the_digest_cannot_be_taken_nothing_writes_to_the_file_afterwards(tmp_path: Path) -> None:
    body = SlowBody()
    answer: dict[str, Any] = {"Body": body, "ContentLength": 100}
    sink = os.open(tmp_path / "archive", os.O_WRONLY | os.O_CREAT)
    opening = Opening({}, "", 100, answer)
    transfer = Transfer(NoClient(), opening, parts_of(opening))
    transfer._parts[
        0
    ].is_settled = body.is_wanted  # so that the digest is begun too early, and fails: the file cannot be read
    threading.Timer(0.2, body.may_come.set).start()
    with transfer, pytest.raises(OSError, match="descriptor"):
        transfer.run([Place(0, 100, sink)], with_digest=True)
    assert body.has_come
    os.close(sink)


def test_what_comes_goes_to_the_place_of_its_span_and_is_checked_there(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3000)
    opening = Opening({}, "", 3000, {"Body": io.BytesIO(content[:1000]), "ContentLength": 1000})
    sinks = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("rest", "one", "two")]
    places = [
        Place(0, 500, sinks[0]),
        Place(500, 1700, sinks[1], 500, is_checked=True),
        Place(1700, 2500, sinks[2], 1700, is_checked=True),
        Place(2500, 3000, sinks[0]),
    ]
    parts = [*parts_of(opening)[:1], Part(1000, 2000), Part(2000, 3000)]
    with Transfer(Ranges(content), opening, parts) as transfer:
        digest = transfer.run(places, with_digest=True)
    assert digest == hashlib.sha256(content).hexdigest()
    assert [transfer.checksum(place) for place in places[1:3]] == [
        zlib.crc32(content[500:1700]),
        zlib.crc32(content[1700:2500]),
    ]
    assert (tmp_path / "one").read_bytes() == content[500:1700]
    assert (tmp_path / "two").read_bytes() == content[1700:2500]
    assert (tmp_path / "rest").read_bytes() == content[:500] + bytes(2000) + content[2500:]


def test_a_transfer_whose_places_are_never_told_ends_with_nothing_written() -> None:
    body = SlowBody()
    opening = Opening({}, "", 100, {"Body": body, "ContentLength": 100})
    with pytest.raises(LookupError), Transfer(NoClient(), opening, parts_of(opening)):
        raise LookupError
    assert not body.is_wanted.is_set()


def test_a_body_that_breaks_off_is_checked_as_the_whole_that_comes_of_it(tmp_path: Path) -> None:
    content = random.Random(2).randbytes(3000)
    opening = Opening({}, "", 3000, {"Body": io.BytesIO(content[:700]), "ContentLength": 1000})
    place = Place(0, 3000, os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT), is_checked=True)
    with Transfer(Ranges(content), opening, [*parts_of(opening)[:1], Part(1000, 3000)]) as transfer:
        transfer.run([place], with_digest=False)
    assert transfer.checksum(place) == zlib.crc32(content)


@pytest.mark.parametrize("seed", range(5))
def test_the_checksum_of_pieces_is_that_of_their_whole(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [chance.randbytes(chance.choice([0, 1, 7, 1000, 65_536])) for _ in range(20)]
    assert joined(Piece(zlib.crc32(piece), len(piece)) for piece in pieces) == zlib.crc32(b"".join(pieces))
    assert joined([]) == 0


class Ranges:
    """Answers well."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def get_object(self, **request: Any) -> dict[str, Any]:
        start, last = map(int, request["Range"].removeprefix("bytes=").split("-"))
        span = f"bytes {start}-{last}/{len(self._content)}"
        part = self._content[start : last + 1]
        return {"Body": io.BytesIO(part), "ContentLength": len(part), "ContentRange": span}

    def list_objects_v2(self, **_request: Any) -> dict[str, Any]:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


class NoClient:
    """Is asked nothing: the object comes in one part."""

    def get_object(self, **_request: Any) -> dict[str, Any]:
        raise AssertionError

    list_objects_v2 = get_object

    def close(self) -> None:
        raise AssertionError
