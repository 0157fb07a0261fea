"""From the measured series to one result as JSON holds it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.contenders import ALEXNET, CHAR_CNN, MOBILENET, Contender
from benchmarks.figures import Ratio, median_ratio, summarize
from benchmarks.measure import Measured, Series
from benchmarks.s3_terms import s3_result
from benchmarks.sandbox import ColdStart
from benchmarks.timeline import MAIN, Span, critical_path, durations, median_spans

SCHEMA = 2
# More of the CPU time than this in other hands, and the figures say little.
BUSY = 0.05

# Against whom the others of a workload are compared, where they take part.
YARDSTICKS = {
    MOBILENET: ("naive", "floor"),
    CHAR_CNN: ("char_cnn-stock", "char_cnn-stock-1.23"),
    ALEXNET: ("alexnet-stock", "alexnet-stock-1.23"),
}


def busy_warning(share: float) -> str:
    """What to think of figures from a machine that had other work; empty where it had none."""
    if share <= BUSY:
        return ""
    return (
        f"NOT TO BE RELIED ON: {share:.0%} of this machine's CPU time went to other work. Run it again when idle.\n\n"
    )


def values_of(series: Series) -> dict[str, list[float]]:
    """Every quantity of one contender, one value a round."""
    return {
        "cold_ms": [start.total_ms for start in series.cold],
        "init_ms": [start.init_ms for start in series.cold],
        "warm_ms": series.warm_ms,
        "peak_mib": [start.peak_kib / 1024 for start in series.cold],
    }


def contender_result(contender: Contender, measured: Mapping[str, Series]) -> dict[str, Any]:
    """One contender's part of the JSON: its values, summaries, ratios and timeline."""
    series = measured[contender.name]
    result: dict[str, Any] = {"workload": contender.workload}
    yardsticks = [name for name in YARDSTICKS[contender.workload] if name in measured]
    for key, values in values_of(series).items():
        ratios = {to: ratio._asdict() for to, ratio in ratios_of(key, values, measured, yardsticks)}
        result[key] = {**distribution(values), "ratios": ratios}
    result["warm_peak_mib"] = series.warm_peak_kib / 1024
    path, threads = cold_timeline(series.cold)
    result["phases_ms"] = {phase: round(duration, 3) for phase, duration in durations(path).items()}
    result["timeline"] = [rounded(span) for span in (*path, *threads)]
    return result


def distribution(values: Sequence[float]) -> dict[str, Any]:
    """Median, mean and 99th percentile, and every value."""
    return {**summarize(values)._asdict(), "values": [round(value, 3) for value in values]}


def ratios_of(
    key: str, values: Sequence[float], measured: Mapping[str, Series], yardsticks: Sequence[str]
) -> Iterator[tuple[str, Ratio]]:
    """One quantity compared with each yardstick's."""
    for to in yardsticks:
        yield to, median_ratio(values, values_of(measured[to])[key])


def cold_timeline(starts: Sequence[ColdStart]) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Where the median cold start goes: the critical path, and what other threads do beside it."""
    spans = median_spans([start.spans for start in starts])
    init = statistics.median(start.init_ms for start in starts)
    total = statistics.median(start.total_ms for start in starts)
    path = critical_path(spans, init_ms=init, total_ms=max(init, total))
    return path, tuple(span for span in spans if span.thread != MAIN)


def rounded(span: Span) -> dict[str, Any]:
    """A phase as the JSON has it."""
    return span._replace(start_ms=round(span.start_ms, 3), end_ms=round(span.end_ms, 3))._asdict()


def to_result(measured: Measured, field: Sequence[Contender], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The whole result as JSON holds it; ``facts`` are machine, versions, settings and what was measured beside."""
    contenders = {each.name: contender_result(each, measured.series) for each in field}
    probes = {name: distribution(values) for name, values in measured.probes.items()}
    return {
        "schema": SCHEMA,
        **facts,
        "contenders": contenders,
        "probes_ms": probes,
        "s3": s3_result(measured),
    }
