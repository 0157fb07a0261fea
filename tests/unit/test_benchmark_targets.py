"""What is to be reached is judged by what was measured, and a row without figures is not made up."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.contenders import MOBILENET
from benchmarks.measure import Measured, Series
from benchmarks.s3_terms import CLIENT_PROBE, fetch_probe, s3_result, terms_of
from benchmarks.sandbox import ColdStart
from benchmarks.targets import Target, target_line, targets_of
from benchmarks.timeline import Span


def start(total: float, *spans: Span, init: float | None = None) -> ColdStart:
    """A cold start."""
    return ColdStart(total, total if init is None else init, spans, 1024, b"")


def quantity(*values: float, ratio: float = 1.0) -> dict[str, Any]:
    """One quantity as the JSON has it."""
    middle = sorted(values)[len(values) // 2]
    ratios = {"naive": {"value": ratio, "low": ratio, "high": ratio}}
    return {"median": middle, "mean": middle, "p99": max(values), "values": list(values), "ratios": ratios}


def result(**contenders: dict[str, Any]) -> dict[str, Any]:
    """A result without S3."""
    return {"contenders": contenders, "s3": {}}


def contender(cold: float, warm: float = 1.0, peak: float = 1.0) -> dict[str, Any]:
    """A contender that takes the same each round."""
    return {"cold_ms": quantity(cold, cold), "warm_ms": quantity(warm, warm), "peak_mib": quantity(peak, peak)}


def test_each_limit_is_a_row_of_its_own_and_is_reached_or_not() -> None:
    rows = targets_of(result(ours=contender(95.0), floor=contender(100.0)))
    cold = [(row.limit, row.reached) for row in rows if row.what.startswith("cold start, exported net")]
    assert cold == [(1.1, True), (0.9, False)]


def test_the_absence_of_bytecode_is_told_in_milliseconds_of_the_same_rounds() -> None:
    without, with_it = contender(0.0), contender(0.0)
    without["cold_ms"], with_it["cold_ms"] = quantity(900.0, 1000.0, 5000.0), quantity(300.0, 500.0, 400.0)
    rows = targets_of(result(**{"no-bytecode": without, "ours": with_it}))
    assert [(row.measured, row.unit, row.reached) for row in rows if row.unit] == [(600.0, "ms", None)]


def test_what_did_not_take_part_has_no_row() -> None:
    assert targets_of(result(ours=contender(95.0))) == []


def test_warm_invocations_are_held_by_median_mean_and_99th_percentile() -> None:
    rows = targets_of(result(ours=contender(1.0, warm=5.0), naive=contender(9.0, warm=10.0)))
    warm = [(row.what.rsplit(" ", 1)[1], row.measured, row.limit) for row in rows if row.what.startswith("warm")]
    assert warm == [("median", 0.5, 0.6), ("mean", 0.5, 0.6), ("p99", 0.5, 1.0)]


def test_what_was_measured_beside_brings_its_own_rows() -> None:
    row = {"what": "import mxnet / stock", "measured": 0.25, "limit": 0.3, "low": 0.2, "high": 0.31}
    (target,) = targets_of({**result(), "import_time": {"targets": [row]}})
    assert target.reached


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (Target("cold", 1.04, 1.1, 1.0, 1.2), "1.04 (1.00–1.20)    ≤ 1.10  yes"),
        (Target("cold", 1.14, 1.1), "1.14    ≤ 1.10  NO"),
        (Target("cold", 2.5, None), "(stated)"),
        (Target("overhead", 0.21, 0.3, unit="ms"), "0.210 ms    ≤ 0.30  yes"),
    ],
)
def test_a_row_shows_value_limit_and_verdict(target: Target, shown: str) -> None:
    assert target_line(target).endswith(shown)


def test_imports_and_load_make_up_the_cold_start_from_disk_and_the_client_comes_on_top() -> None:
    disk = start(
        300.0, Span("imports", 40, 100), Span("waiting", 100, 120), Span("numpy", 120, 160), Span("waiting", 160, 250),
        Span("numpy", 50, 290, "engine"), init=250,
    )  # fmt: skip
    terms = terms_of(disk, fetch=30.0, client=25.0)
    assert (terms.imports, terms.load) == (185.0, 140.0)
    assert terms.imports - terms.client + terms.load == disk.total_ms
    assert terms.bound == 185.0 + 140.0
    assert terms_of(disk, fetch=500.0, client=25.0).bound == 500.0 + 140.0


def test_the_bound_is_that_of_the_same_round() -> None:
    disk = [start(100.0, Span("imports", 0, 60)), start(200.0, Span("imports", 0, 120))]
    on_s3 = [start(132.0), start(242.0)]
    series = {"ours": Series(disk, [1.0], 1), "ours-s3": Series(on_s3, [1.0], 1)}
    probes = {fetch_probe(MOBILENET): [10.0, 10.0], CLIENT_PROBE: [20.0, 20.0]}
    terms = s3_result(Measured(series, probes))[MOBILENET]
    assert terms["ratio"] == {"value": 1.1, "low": 1.1, "high": 1.1}


def test_without_the_disks_cold_start_there_is_no_bound() -> None:
    probes = {fetch_probe(MOBILENET): [1.0], CLIENT_PROBE: [1.0]}
    assert s3_result(Measured({"ours-s3": Series([start(1.0)], [1.0], 1)}, probes)) == {}
