"""Memory sizes: what is computed beyond the cores that are there, what sizes and traffic cost, and that the page says what was measured."""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path

import pytest

from benchmarks.batch_costs import Prices
from benchmarks.deploy_costs import (
    ALARMS,
    PAGE,
    PATTERNS,
    RECORD,
    Month,
    MorePrices,
    Traffic,
    arrivals,
    blocks,
    lines_of,
    simulated,
    start_modes,
    with_blocks,
)
from benchmarks.power import MEMORIES, main, nets_of, parse_arguments, split
from benchmarks.power_measuring import metrics_in, quota_of
from benchmarks.power_sizes import (
    Amdahl,
    Net,
    Samples,
    Size,
    amdahl,
    cheapest,
    computed_sizes,
    fastest,
    from_json,
    measured_size,
    per_million,
    table,
    threads_at,
    to_json,
)
from gluon_lambda.runtime.engine_environment import usable_threads
from tests.template.stack import stack

PRICES, MORE = Prices(), MorePrices()


def size(memory_mb: int, warm_ms: float, **changed: object) -> Size:
    """A measured size; a cold start takes a second."""
    made = Size(memory_mb, threads_at(memory_mb), warm_ms, 2 * warm_ms, warm_ms, 1000.0, 2000.0, 1000.0)
    return made._replace(**changed)  # type: ignore[arg-type]


def net(*sizes: Size, peak_mib: float = 200) -> Net:
    return Net("a net", peak_mib, 700.0, 6, 500, 38_000, 4, 17_000_000, sizes)


def test_threads_are_counted_as_the_handler_counts_them() -> None:
    here = usable_threads(None)
    assert [min(here, threads_at(memory)) for memory in MEMORIES] == [usable_threads(memory) for memory in MEMORIES]
    assert [threads_at(memory) for memory in (512, 1769, 3537, 3538, 10240)] == [1, 1, 1, 2, 5]


def test_two_numbers_of_threads_make_amdahls_line() -> None:
    line = amdahl([(1, 100.0), (2, 60.0)])
    assert line == pytest.approx((20, 80))
    assert line.at(4) == pytest.approx(40)


def test_more_than_two_are_fitted() -> None:
    exact = Amdahl(20, 80)
    noisy = [(threads, exact.at(threads) + error) for threads, error in ((1, 1), (1, -1), (2, 1), (2, -1), (4, 0))]
    assert amdahl(noisy).at(6) == pytest.approx(exact.at(6))


@pytest.mark.parametrize(
    ("points", "expected"),
    [([(1, 10.0), (2, 12.0)], Amdahl(11, 0)), ([(1, 100.0), (2, 40.0)], Amdahl(0, 96))],
)
def test_neither_part_is_less_than_nothing(points: list[tuple[int, float]], expected: Amdahl) -> None:
    assert amdahl(points) == pytest.approx(expected)


def test_one_number_of_threads_tells_nothing_of_more() -> None:
    with pytest.raises(ValueError, match="at least two numbers of threads"):
        amdahl([(1, 10.0), (1, 12.0)])


def test_larger_sizes_come_from_those_with_whole_cpus_and_keep_the_largest_ones_cold_start() -> None:
    small = size(512, 400.0)
    found = computed_sizes((small, size(1769, 100.0), size(3538, 60.0, cold_ms=700.0)), [7076, 10240])
    assert [each.warm_ms for each in found] == [pytest.approx(40), pytest.approx(36)]
    assert [each.threads for each in found] == [4, 5]
    assert {(each.cold_ms, each.is_measured) for each in found} == {(700.0, False)}


def test_sizes_are_measured_as_far_as_the_cpus_go() -> None:
    assert split([3538, 512, 5307], 2) == ([512, 3538], [5307])


def test_sizes_that_are_all_too_large_to_be_measured_are_refused() -> None:
    with pytest.raises(SystemExit, match="on 2 CPUs, which show up to 3,538 MB"):
        split([5307, 10240], 2)


@pytest.mark.parametrize("size", ["0", "127", "10241"])
def test_sizes_that_lambda_has_not_are_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--memories", size])
    assert "Lambda has 128 to 10,240 MB" in capsys.readouterr().err


def test_pages_without_a_result_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no .*/power.json .*make bench-power"):
        main(["--pages", "--out", str(tmp_path)])


def test_init_has_two_cpus_and_larger_sizes_their_own() -> None:
    assert quota_of(1769).vcpus == 1
    assert quota_of(1769, in_init=True).vcpus == 2
    assert quota_of(7076, in_init=True).vcpus == 4


def test_each_invocation_is_billed_in_whole_milliseconds() -> None:
    found = measured_size(Samples(1769, [10.2, 10.9, 11.0], [500.1], [900.0]))
    assert (found.billed_ms, found.cold_billed_ms) == (11, 501)
    assert (found.warm_ms, found.warm_p99_ms) == (10.9, 11.0)


def test_a_million_invocations_cost_what_the_price_list_says() -> None:
    # 1,024 MB for 100 ms a million times are 100,000 GB-seconds.
    assert per_million(size(1024, 100.0), PRICES) == pytest.approx(100_000 * 0.0000166667 + 0.20)


def test_cheapest_and_fastest_are_among_the_sizes_whose_memory_suffices() -> None:
    sizes = (size(512, 10.0), size(1024, 30.0), size(1769, 20.0), size(3538, 19.8), size(7076, 5.0, is_measured=False))
    found = net(*sizes, peak_mib=600)
    assert cheapest(found, PRICES).memory_mb == 1024
    assert fastest(found).memory_mb == 7076
    # A hundredth faster is as good, and the smaller one is taken.
    assert fastest(found, measured_only=True).memory_mb == 1769


def test_the_table_tells_what_is_computed_and_what_does_not_fit() -> None:
    sizes = (size(512, 10.0), size(1769, 20.0), size(7076, 5.0, is_measured=False))
    small, measured, computed = table({"net": net(*sizes, peak_mib=600)}, PRICES).splitlines()[2:]
    assert "too little memory" in small
    assert "| 20.0 | 40.0 |" in measured
    assert "*5.0*" in computed
    assert "fastest computed" in computed
    assert len({line.count("|") for line in (small, measured, computed)}) == 1


def test_a_net_is_stored_and_read_again() -> None:
    stored = net(size(1769, 20.0))
    assert from_json(json.loads(json.dumps(to_json(stored)))) == stored


def test_a_metric_is_counted_once_for_each_of_its_dimensions_values() -> None:
    told = {"Namespace": "n", "Dimensions": [["Model"]], "Metrics": [{"Name": "Time"}, {"Name": "Count"}]}
    lines = [json.dumps({"_aws": {"CloudWatchMetrics": [told]}, "Model": model}) for model in ("a", "b", "a")]
    assert len(metrics_in([*lines, "a line", '{"init": {}}'])) == 4


def test_requests_come_as_often_as_the_pattern_says() -> None:
    for traffic, per_day in zip(PATTERNS[:2], (100, 2 * 9 * 3600), strict=True):
        days = 20 if per_day == 100 else 1
        assert sum(1 for _ in arrivals(traffic, days, random.Random(1))) == pytest.approx(days * per_day, rel=0.05)
    night = list(itertools.takewhile(lambda at: at < 3600, arrivals(PATTERNS[2], 1, random.Random(1))))
    # 0 at midnight: in the first hour some 820 of 1,728,000.
    assert 600 < len(night) < 1100


def test_a_request_is_cold_where_nobody_asked_for_ten_minutes_or_all_are_busy() -> None:
    seldom = simulated(Traffic("", lambda _: 1 / 7200, 1 / 7200), 0.01, 1.0, simulated_days=30)
    # Of random gaps of two hours on average 92 % are longer than ten minutes.
    assert seldom.cold / seldom.requests == pytest.approx(0.92, abs=0.05)
    steady = simulated(Traffic("", lambda _: 2.0, 2.0), 0.01, 0.3, simulated_days=1)
    assert 0 < steady.cold / steady.requests < 0.001


def test_days_that_are_simulated_stand_for_the_month() -> None:
    traffic = Traffic("", lambda at: 0.5 if at < 3600 else 0.0, 0.5, days=22)
    month = simulated(traffic, 0.01, 1.0, simulated_days=2)
    assert month.requests == pytest.approx(22 * 1800, rel=0.1)
    assert month.hours == 22


def test_a_months_bill_adds_up_by_hand() -> None:
    month = Month(requests=1_000_000, cold=1000, traces=50_000, hours=720)
    found = lines_of(month, net(size(1024, 100.0)), size(1024, 100.0), PRICES, MORE)
    assert found == {
        "Lambda: warm requests": pytest.approx(999_000 * (0.1 * 0.0000166667 + 0.20e-6)),
        "Lambda: cold starts": pytest.approx(1000 * (1.0 * 0.0000166667 + 0.20e-6)),
        "HTTP API": pytest.approx(1.00),
        "logs": pytest.approx((700 + 900 + 104) * 1e6 / 1e9 * 0.50),
        "X-Ray": pytest.approx(0.25),
        "S3: fetching and keeping the archive": pytest.approx(4000 * 0.0004 / 1000 + 0.017 * 0.023),
        "answers, out of AWS": pytest.approx(800 * 1e6 / 1e9 * 0.09),
        "metrics": pytest.approx(1.80),
        "alarms and dashboard": pytest.approx(3.60),
    }


def test_being_ready_costs_by_the_second() -> None:
    ready, snapshot, restores = start_modes(size(1024, 1.0), MORE).values()
    assert ready == pytest.approx(30 * 86400 * 0.0000041667)
    assert snapshot == pytest.approx(30 * 86400 * 0.0000015046)
    assert restores == pytest.approx(0.1397998)


def test_the_template_has_the_alarms_that_are_paid_for() -> None:
    assert len(stack(Batches="Disabled").of_type("AWS::CloudWatch::Alarm")) == ALARMS


def test_the_pages_tables_are_what_the_record_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_blocks(page, blocks(json.loads(RECORD.read_text(encoding="utf-8")))) == page


def test_the_picture_is_drawn_from_the_record(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is the benchmarks' own: benchmarks/requirements.txt")
    from benchmarks.power_picture import draw

    draw(nets_of(json.loads(RECORD.read_text(encoding="utf-8"))), PRICES, [tmp_path / "power.svg"])
    drawn = (tmp_path / "power.svg").read_text(encoding="utf-8")
    assert "stroke-dasharray" in drawn
    assert "computed (Amdahl)" in drawn
    texts = [re.findall(r">([^<>]+)</text>", each) for each in (drawn, (PAGE.parent / "power.svg").read_text("utf-8"))]
    assert texts[0] == texts[1]


def test_a_net_that_fits_into_no_measured_size_is_left_out_of_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is the benchmarks' own: benchmarks/requirements.txt")
    from benchmarks.power_picture import draw

    nets = {"large": net(size(512, 10.0), peak_mib=600), "small": net(size(512, 10.0))}
    for name, drawn in {"one": nets, "none": {"large": nets["large"]}}.items():
        draw(drawn, PRICES, [tmp_path / f"{name}.svg"])
    assert "small: a net" in (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert "large: a net" not in (tmp_path / "one.svg").read_text(encoding="utf-8")


def test_prices_that_the_page_names_are_those_that_are_counted_with() -> None:
    _, _, section = PAGE.read_text(encoding="utf-8").partition("## What it costs a month")
    prices = {f"{price * scale:.10f}".rstrip("0") for price in (*PRICES, *MORE) for scale in (1, 1000, 1e6)}
    named = re.findall(r"(\d\.\d+) (?:a|an) (?:GB|million|metric|alarm|dashboard|thousand)", section)
    assert len(named) > 10
    assert {price.rstrip("0") for price in named} <= prices


def test_a_mark_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="0 places for power"):
        with_blocks("nothing", {"power": ""})
