"""What holds for every format: reading may begin at any row, in any pieces, and no more than a row is held."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gluon_lambda.batch.formats.opening import open_rows
from gluon_lambda.batch.formats.rows import Limits
from gluon_lambda.batch_records import Row
from gluon_lambda.errors import ObjectRefused, ObjectUnavailable, PayloadTooLarge
from tests.format_samples import (
    EVERY_SAMPLE,
    GZIPS,
    SAMPLES,
    Repeated,
    Sample,
    ShortReads,
    image,
    npy,
    read,
    tarred,
    told,
    zipped,
)

every_sample = pytest.mark.parametrize("sample", EVERY_SAMPLE, ids=lambda sample: sample.key)
# Formats in which a row's place in the object is known.
WITH_OFFSETS = [
    "lines.jsonl",
    "lines.json",
    "array.json",
    "table.csv",
    "table.tsv",
    "numbers.csv",
    "rows.npy",
    "images.tar",
]


@every_sample
def test_rows_are_numbered_from_0_on_and_none_is_left_out(sample: Sample) -> None:
    rows = read(sample.content, sample.key)

    assert [row.number for row in rows] == list(range(sample.rows))
    assert all((row.payload is None) == (row.error is not None) for row in rows)
    assert any(row.payload is not None for row in rows)


@every_sample
def test_reading_on_after_any_row_gives_the_rows_that_reading_through_gives(sample: Sample) -> None:
    whole = read(sample.content, sample.key)

    for done in range(len(whole) + 1):
        offset = whole[done - 1].offset if done else 0
        rest = read(sample.content, sample.key, start=(done, offset))
        assert [(*told(row), row.offset) for row in rest] == [(*told(row), row.offset) for row in whole[done:]]
        assert list(map(told, read(sample.content, sample.key, start=(done, 0)))) == list(map(told, whole[done:]))


@pytest.mark.parametrize("key", WITH_OFFSETS)
def test_a_row_tells_where_the_next_one_begins_so_that_what_is_before_is_not_read_again(key: str) -> None:
    (sample,) = [each for each in SAMPLES if each.key == key]
    whole = read(sample.content, key)

    for row, following in pairwise(whole):
        assert 0 < row.offset < following.offset <= len(sample.content)


@pytest.mark.parametrize("sample", GZIPS, ids=lambda sample: sample.key)
def test_in_a_gzip_no_place_is_known(sample: Sample) -> None:
    assert {row.offset for row in read(sample.content, sample.key)} == {0}


@every_sample
@pytest.mark.parametrize("most", [1, 2, 7, 61])
def test_pieces_of_any_size_give_the_same_rows(sample: Sample, most: int) -> None:
    in_pieces = read(ShortReads(sample.content, most), sample.key)

    assert list(map(told, in_pieces)) == list(map(told, read(sample.content, sample.key)))


def test_a_store_that_fails_in_the_middle_is_heard_as_it_is() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 600:
                raise ObjectUnavailable("503")
            return super().read(min(size or 1, 100))

    for sample in EVERY_SAMPLE:
        padded = Failing(sample.content)
        if len(sample.content) > 700:
            with pytest.raises(ObjectUnavailable):
                read(padded, sample.key)


def peak(rows: Iterator[Row]) -> int:
    """The most bytes that Python held while the rows were read, and none of them kept."""
    tracemalloc.start()
    try:
        for _ in rows:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def of_size(suffix: str, size: int) -> Any:
    """An object of the format with rows of 100 to 1,000 bytes, ``size`` bytes together."""
    if suffix == "npy":
        array = npy(np.broadcast_to(np.float32(0), (size // 256, 64)))
        return Repeated(bytes(256), size // 256, first=array[: len(array) - size // 256 * 256])
    units = {
        "jsonl": b'{"data": [' + b"1, " * 90 + b"2]}\n",
        "json": b'{"a": "' + b"b" * 200 + b'"},\n',
        "csv": b'1,"two' + b"2" * 200 + b'",3\n',
        "tar": tarred({"a.png": image()})[:1024],
    }
    first = {"json": b"[", "csv": b"a,b,c\n"}.get(suffix, b"")
    last = {"json": b"1]", "tar": bytes(1024)}.get(suffix, b"")
    return Repeated(units[suffix], size // len(units[suffix]), first=first, last=last)


@pytest.mark.slow  # tracemalloc
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "npy", "tar"])
def test_memory_does_not_grow_with_the_number_of_rows(suffix: str) -> None:
    peak(open_rows(of_size(suffix, 100_000), key=f"a.{suffix}"))  # imports
    small, large = (peak(open_rows(of_size(suffix, size), key=f"a.{suffix}")) for size in (1_500_000, 6_000_000))

    assert large < small + 50_000


@pytest.mark.slow  # tracemalloc
def test_a_zips_members_are_not_listed_in_memory() -> None:
    objects = (zipped({f"{at:0200}.png": b"x" for at in range(count)}) for count in (8_000, 16_000))
    small, large = (peak(open_rows(io.BytesIO(content), key="a.zip")) for content in objects)

    # The second piece of the directory is read while the first is still there; a list would take megabytes more.
    assert large < small + 1_000_000


def test_a_member_that_says_it_is_empty_is_not_unpacked_to_be_refused() -> None:
    content = bytearray(zipped({"bomb.png": bytes(30 << 20)}))
    directory = content.index(b"PK\x01\x02")
    content[22:26] = content[directory + 24 : directory + 28] = bytes(4)
    rows: list[Row] = []

    held = peak(kept(open_rows(io.BytesIO(bytes(content)), key="a.zip"), rows))

    assert held < 3_000_000
    assert rows[0].error is not None


def kept(rows: Iterator[Row], into: list[Row]) -> Iterator[Row]:
    for row in rows:
        into.append(row)
        yield row


@pytest.mark.parametrize(
    ("key", "first", "last"),
    [("a.jsonl", b"", b'\n{"a": 1}\n'), ("a.json", b"[0, ", b', {"a": 1}]'), ("a.csv", b"a,b\n", b"\n1,2\n")],
)
def test_a_row_that_is_too_long_is_read_over_and_not_held(key: str, first: bytes, last: bytes) -> None:
    limits = Limits(row_bytes=100_000)
    stream = Repeated(b"x" * 1000, 50_000, first=first, last=last)
    rows: list[Row] = []

    held = peak(kept(open_rows(stream, key=key, limits=limits), rows))

    assert held < 4_000_000
    assert isinstance(rows[-2].error, PayloadTooLarge)
    assert "100,000 bytes" in str(rows[-2].error)
    assert rows[-1].payload is not None


@every_sample
def test_an_object_that_is_cut_anywhere_gives_rows_and_then_an_end_or_a_refusal_but_never_another_error(
    sample: Sample,
) -> None:
    whole = list(map(told, read(sample.content, sample.key)))

    for cut in range(0, len(sample.content), max(1, len(sample.content) // 60)):
        rows: list[tuple[Any, ...]] = []
        with suppress(ObjectRefused):
            rows.extend(map(told, open_rows(io.BytesIO(sample.content[:cut]), key=sample.key)))
        # The cut may have shortened the last one: a record of CSV that goes on in a second line is then two rows.
        settled = rows[: -2 if sample.key.startswith("table") else -1]
        assert settled == whole[: len(settled)]


def test_a_row_at_fault_holds_nothing_of_what_was_read() -> None:
    row = read(b'{"a": ' + b"1" * 1000, "a.jsonl")[0]

    assert row.error is not None
    assert (row.error.__traceback__, row.error.__cause__, row.error.__context__) == (None, None, None)
