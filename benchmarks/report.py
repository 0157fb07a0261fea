"""From the measured series to what is read: one result as JSON, and its table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.figures import Ratio, Summary, median_phases, median_ratio, summarize
from benchmarks.measure import Series

# Against whom the others are compared, where they take part.
YARDSTICKS = ("naive", "floor")
SCHEMA = 1
# More of the CPU time than this in other hands, and the figures say little.
BUSY = 0.05


class Quantity(NamedTuple):
    """One thing that is measured.

    Attributes:
        key: In the JSON.
        title: In the table.
        digits: Behind the decimal point in the table.
    """

    key: str
    title: str
    digits: int


QUANTITIES = (
    Quantity("cold_ms", "cold start to first answer, ms", 0),
    Quantity("init_ms", "of it INIT (process start to first poll), ms", 0),
    Quantity("warm_ms", "warm invocation, ms", 2),
    Quantity("peak_mib", "peak memory (VmHWM) after first answer, MiB", 1),
)


def values_of(series: Series) -> dict[str, list[float]]:
    """Every quantity of one contender, one value a round."""
    return {
        "cold_ms": [start.total_ms for start in series.cold],
        "init_ms": [start.init_ms for start in series.cold],
        "warm_ms": series.warm_ms,
        "peak_mib": [start.peak_kib / 1024 for start in series.cold],
    }


def contender_result(name: str, measured: Mapping[str, Series]) -> dict[str, Any]:
    """One contender's part of the JSON: its values, summaries, ratios and phases."""
    result: dict[str, Any] = {}
    for key, values in values_of(measured[name]).items():
        result[key] = {
            **summarize(values)._asdict(),
            "values": [round(value, 3) for value in values],
            "ratios": {to: ratio._asdict() for to, ratio in ratios_of(key, values, measured)},
        }
    result["warm_peak_mib"] = measured[name].warm_peak_kib / 1024
    result["phases_ms"] = cold_phases(measured[name])
    return result


def ratios_of(key: str, values: Sequence[float], measured: Mapping[str, Series]) -> Iterator[tuple[str, Ratio]]:
    """One quantity compared with each yardstick's."""
    for to in YARDSTICKS:
        if to in measured:
            yield to, median_ratio(values, values_of(measured[to])[key])


def cold_phases(series: Series) -> dict[str, float]:
    """Where the median cold start goes, in ms: what the handler reported, around it what only the driver can see.

    ``python and runtime`` is INIT without the reported phases: the interpreter, awslambdaric and what no one reported.
    Where phases overlap their sum exceeds INIT; then nothing is left for it.
    """
    reported = median_phases([start.phases for start in series.cold])
    init = statistics.median(start.init_ms for start in series.cold)
    first = statistics.median(start.total_ms - start.init_ms for start in series.cold)
    return {"python and runtime": max(0.0, init - sum(reported.values())), **reported, "first invocation": first}


def to_result(measured: Mapping[str, Series], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The whole result as JSON holds it; ``facts`` are machine, versions and settings."""
    return {"schema": SCHEMA, **facts, "contenders": {name: contender_result(name, measured) for name in measured}}


def table(result: Mapping[str, Any]) -> str:
    """The result as text: for each quantity one block, one line a contender."""
    blocks = [heading(result)]
    blocks += ["\n".join(block_lines(quantity, result["contenders"])) for quantity in QUANTITIES]
    return "\n\n".join(blocks)


def heading(result: Mapping[str, Any]) -> str:
    """What was measured, and where."""
    machine, settings = result["machine"], result["settings"]
    return busy_warning(machine["cpu_share_of_other_work"]) + (
        f"mobilenet1.0 (seeded weights), 38 kB JPEG, HTTP API event, through awslambdaric; bytecode compiled for all\n"
        f"{machine['processor']}, {machine['cpus']} CPUs; cold {settings['cold']} rounds, warm {settings['warm']} rounds\n"
        f"ratios: median over median, in brackets where it lies with 95 %"
    )


def busy_warning(share: float) -> str:
    """What to think of figures from a machine that had other work; empty where it had none."""
    if share <= BUSY:
        return ""
    return (
        f"NOT TO BE RELIED ON: {share:.0%} of this machine's CPU time went to other work. Run it again when idle.\n\n"
    )


def block_lines(quantity: Quantity, contenders: Mapping[str, Any]) -> Iterator[str]:
    """One quantity's lines."""
    yardsticks = [name for name in YARDSTICKS if name in contenders]
    columns = "".join(f"{'/ ' + name:>20}" for name in yardsticks)
    yield f"{quantity.title:<46}{'median':>9}{'mean':>9}{'p99':>9}{columns}"
    for name, result in contenders.items():
        entry = result[quantity.key]
        summary = Summary(entry["median"], entry["mean"], entry["p99"])
        numbers = "".join(f"{value:>9.{quantity.digits}f}" for value in summary)
        ratios = "".join(f"{ratio_text(Ratio(**entry['ratios'][to])):>20}" for to in yardsticks)
        yield f"  {name:<44}{numbers}{ratios}"


def ratio_text(ratio: Ratio) -> str:
    """A ratio and its interval."""
    return f"{ratio.value:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"
