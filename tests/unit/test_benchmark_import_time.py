"""The benchmark of ``import mxnet``: both sides are what they are said to be, and a failing import is no measurement."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.figures import median_ratio
from benchmarks.import_time import LIMIT, ImportFailed, Pair, measured, table, targets, timed

HERE = Pair("restored", Path(sys.executable), has_numpy=True)
RESULT = {
    "pairs": [{"title": HERE.title, "rival": "restored", "ours_ms": [100.0, 120.0], "rival_ms": [500.0, 600.0]}],
    "versions": {"restored": {"python": "3.11.7", "numpy": "1.26.4", "mxnet": "1.9.1"}},
}


@pytest.mark.slow
def test_both_sides_are_imported_as_often_and_the_first_does_not_count() -> None:
    values = measured([HERE], 1)[HERE]
    assert {key: len(each) for key, each in values.items()} == {"ours_ms": 1, "rival_ms": 1}
    assert min(values["ours_ms"] + values["rival_ms"]) > 1


def test_an_import_that_fails_is_no_measurement() -> None:
    with pytest.raises(ImportFailed, match=r"stock import in restored's interpreter failed"):
        timed(HERE, "stock")  # no names put back: it does not work with this NumPy


def test_the_ratio_is_of_medians_and_held_against_the_limit() -> None:
    (row,) = targets(RESULT)
    ratio = median_ratio([100.0, 120.0], [500.0, 600.0])
    assert (row["measured"], row["limit"], row["low"]) == (ratio.value, LIMIT, ratio.low)
    assert "0.20 (" in table(RESULT)
    assert "NumPy 1.26.4" in table(RESULT)
