"""What the benchmark makes of its measurements."""

from __future__ import annotations

import pytest

from benchmarks.figures import median_phases, median_ratio, percentile, summarize


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        (list(range(1, 101)), 99, 99),
        (list(range(1, 101)), 50, 50),
        (list(range(100, 0, -1)), 99, 99),
        (list(range(1, 11)), 99, 10),
        ([7.0], 1, 7.0),
        ([1.0, 2.0], 100, 2.0),
    ],
)
def test_a_percentile_is_the_smallest_measured_value_that_so_many_do_not_exceed(
    values: list[float], percent: float, expected: float
) -> None:
    assert percentile(values, percent) == expected


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_a_percentile_that_does_not_exist_is_refused(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, percent)


def test_a_summary_tells_median_mean_and_tail_apart() -> None:
    summary = summarize([1.0] * 98 + [51.0, 101.0])
    assert summary == (1.0, 2.5, 51.0)


def test_a_ratio_is_median_over_median() -> None:
    assert median_ratio([1.0, 2.0, 90.0], [4.0, 8.0, 9.0]).value == 2.0 / 8.0


def test_series_that_keep_their_ratio_have_no_width_of_interval_however_much_the_machine_varied() -> None:
    theirs = [10.0, 20.0, 30.0, 40.0, 50.0]
    assert median_ratio([value / 2 for value in theirs], theirs) == (0.5, 0.5, 0.5)


def test_the_interval_holds_the_ratio_and_widens_with_the_spread() -> None:
    theirs = [100.0] * 20
    narrow = median_ratio([50.0 + step * 0.1 for step in range(20)], theirs)
    wide = median_ratio([30.0 + step * 2 for step in range(20)], theirs)
    assert narrow.low < narrow.value < narrow.high
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


def test_the_same_seed_gives_the_same_interval() -> None:
    mine, theirs = [1.0, 5.0, 3.0, 8.0], [2.0, 2.0, 9.0, 4.0]
    assert median_ratio(mine, theirs, seed=3) == median_ratio(mine, theirs, seed=3)


@pytest.mark.parametrize(("mine", "theirs"), [([1.0], [1.0, 2.0]), ([], [])])
def test_series_that_were_not_measured_in_the_same_rounds_are_refused(mine: list[float], theirs: list[float]) -> None:
    with pytest.raises(ValueError, match="cannot pair"):
        median_ratio(mine, theirs)


def test_phases_keep_their_order_and_a_phase_that_was_not_reported_counts_nothing() -> None:
    runs = [{"numpy": 60.0, "load": 30.0}, {"numpy": 50.0}, {"numpy": 70.0, "load": 40.0, "late": 9.0}]
    phases = median_phases(runs)
    assert phases == {"numpy": 60.0, "load": 30.0, "late": 0.0}
    assert list(phases) == ["numpy", "load", "late"]
