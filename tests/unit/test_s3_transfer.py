"""Into which parts an object is cut."""

from __future__ import annotations

import pytest

from gluon_lambda.archive_store.s3_transfer import CONNECTIONS, PART_BYTES, SMALLEST_PART_BYTES, spans


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
