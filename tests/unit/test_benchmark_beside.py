"""What is measured beside the cold starts comes into the same table, with the limits of the matrix."""

from __future__ import annotations

from typing import Any

from benchmarks import import_time, warm_overhead
from benchmarks.beside import OVERHEAD_LIMITS_MS, OVERHEAD_ROUNDS, overhead_targets
from benchmarks.tables import BESIDE
from benchmarks.targets import target_table, targets_of


def overhead(median: float) -> dict[str, Any]:
    """One run of ``benchmarks.warm_overhead`` with one picture, as it sums it up."""
    less = {"bare": {"median": median, "low": median - 0.01, "high": median + 0.01}}
    return {
        "predictors": {
            kind: {"38 kB": {"handler_minus_ms": less}} for kind in (warm_overhead.INSTANT, warm_overhead.NET)
        }
    }


def test_the_overhead_with_a_predictor_that_returns_at_once_is_judged_and_that_with_the_net_is_stated() -> None:
    instant, net = overhead_targets(overhead(0.31))
    assert (instant.limit, instant.reached, instant.unit) == (0.3, False, "ms")
    assert (net.limit, net.reached) == (None, None)


def test_each_script_s_rows_stand_in_the_table_of_what_is_to_be_reached() -> None:
    pair = {"title": "import mxnet, ours / stock", "ours_ms": [100.0, 110.0], "rival_ms": [400.0, 440.0]}
    result = {
        "contenders": {},
        "s3": {},
        "import_time": {"targets": list(import_time.targets({"pairs": [pair]}))},
        "warm_overhead": {"targets": [row._asdict() for row in overhead_targets(overhead(0.2))]},
    }
    lines = [" ".join(line.split()) for line in target_table(targets_of(result)).splitlines()[1:]]
    assert lines[0] == "import mxnet, ours / stock 0.25 (0.25–0.25) ≤ 0.30 yes"
    assert lines[1].endswith("0.200 ms (0.190–0.210) ≤ 0.30 yes")
    assert set(BESIDE) == {"import_time", "warm_overhead"}


def test_the_small_picture_is_measured_a_thousand_times_and_every_picture_is() -> None:
    assert set(OVERHEAD_ROUNDS) == set(warm_overhead.PICTURES)
    assert all(OVERHEAD_ROUNDS[picture] >= 1000 for _, picture in OVERHEAD_LIMITS_MS)
