"""What is to be reached: each row of the matrix, what was measured for it, and whether that is enough."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.contenders import ALEXNET, MOBILENET
from benchmarks.figures import median_ratio


class Target(NamedTuple):
    """One row.

    Attributes:
        what: What is compared with what.
        measured: The value.
        limit: The most that it may be; None where it is only stated.
        low: Lower end of its 95 % interval; None where it has none.
        high: Upper end of it.
        unit: Of the value; a ratio has none.
        least: The least that it may be, in the place of ``limit``.
    """

    what: str
    measured: float
    limit: float | None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    least: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the value is within the limit; None where there is no limit."""
        if self.least is not None:
            return self.measured >= self.least
        return None if self.limit is None else self.measured <= self.limit


class Comparison(NamedTuple):
    """A quantity of one contender over another's, median over median, and the limits that it has to meet."""

    what: str
    key: str
    mine: str
    theirs: str
    limits: tuple[float | None, ...]


COLD = (
    Comparison("cold start, exported net (17 MB) / floor", "cold_ms", "ours", "floor", (1.1, 0.9)),
    Comparison("cold start, exported net (17 MB) / naive", "cold_ms", "ours", "naive", (0.22, 0.18)),
    Comparison("cold start without bytecode / with it", "cold_ms", "no-bytecode", "ours", (None,)),
    Comparison("cold start, MMS char_cnn (45 MB) / stock import", "cold_ms", "char_cnn", "char_cnn-stock", (0.5,)),
    Comparison("  the same / stock import, NumPy 1.23.5", "cold_ms", "char_cnn", "char_cnn-stock-1.23", (None,)),
    Comparison("cold start, MMS alexnet (244 MB) / stock import", "cold_ms", "alexnet", "alexnet-stock", (0.65,)),
    Comparison("  the same / stock import, NumPy 1.23.5", "cold_ms", "alexnet", "alexnet-stock-1.23", (None,)),
)
MEMORY = (Comparison("peak memory, exported net / floor", "peak_mib", "ours", "floor", (1.15,)),)
# Median, mean and 99th percentile of the warm invocations, over the naive handler's.
WARM_LIMITS = {"median": 0.6, "mean": 0.6, "p99": 1.0}
S3_LIMIT = 1.15
S3_TITLES = {MOBILENET: "17 MB", ALEXNET: "244 MB"}


def targets_of(result: Mapping[str, Any]) -> list[Target]:
    """Every row that a run has measured, out of its result as the JSON holds it."""
    contenders = result["contenders"]
    return [
        *compared(COLD, contenders),
        *bytecode_cost(contenders),
        *s3_targets(result["s3"]),
        *beside_targets(result, "import_time"),
        *warm_targets(contenders),
        *beside_targets(result, "warm_overhead"),
        *compared(MEMORY, contenders),
    ]


def compared(comparisons: tuple[Comparison, ...], contenders: Mapping[str, Any]) -> Iterator[Target]:
    """The rows of those comparisons whose contenders took part, one for each limit."""
    for what, key, mine, theirs, limits in comparisons:
        if {mine, theirs} <= contenders.keys():
            ratio = median_ratio(contenders[mine][key]["values"], contenders[theirs][key]["values"])
            for limit in limits:
                yield Target(what, ratio.value, limit, ratio.low, ratio.high)


def bytecode_cost(contenders: Mapping[str, Any]) -> Iterator[Target]:
    """What a package without bytecode pays at each cold start, in milliseconds."""
    if {"no-bytecode", "ours"} <= contenders.keys():
        without, with_it = (contenders[name]["cold_ms"]["values"] for name in ("no-bytecode", "ours"))
        cost = statistics.median(one - other for one, other in zip(without, with_it, strict=True))
        yield Target("what the absence of bytecode costs a cold start", cost, None, unit="ms")


def s3_targets(s3: Mapping[str, Any]) -> Iterator[Target]:
    """Cold starts from S3 over their bound."""
    for workload, terms in s3.items():
        ratio, what = terms["ratio"], f"cold start from S3 ({S3_TITLES[workload]}) / (max(fetch, imports) + load)"
        yield Target(what, ratio["value"], S3_LIMIT, ratio["low"], ratio["high"])


def warm_targets(contenders: Mapping[str, Any]) -> Iterator[Target]:
    """Warm invocations over the naive handler's."""
    if {"ours", "naive"} <= contenders.keys():
        ours, naive = contenders["ours"]["warm_ms"], contenders["naive"]["warm_ms"]
        for key, limit in WARM_LIMITS.items():
            interval = ours["ratios"]["naive"] if key == "median" else {}
            what = f"warm invocation, exported net / naive, {key}"
            yield Target(what, ours[key] / naive[key], limit, interval.get("low"), interval.get("high"))


def beside_targets(result: Mapping[str, Any], name: str) -> Iterator[Target]:
    """The rows of a measurement that was made beside the cold starts."""
    for row in result.get(name, {}).get("targets", ()):
        yield Target(**row)


def target_table(targets: list[Target]) -> str:
    """The rows as text."""
    heading = f"{'what is to be reached':<68}{'measured':>26}{'target':>10}  reached"
    return "\n".join([heading, *map(target_line, targets)])


def target_line(target: Target) -> str:
    """One row's line."""
    digits = 3 if target.unit else 2
    known = target.low is not None and target.high is not None
    interval = f" ({target.low:.{digits}f}–{target.high:.{digits}f})" if known else ""
    measured = f"{target.measured:.{digits}f}{target.unit and ' '}{target.unit}{interval}"
    limit = "" if target.limit is None else f"≤ {target.limit:.2f}"
    limit = limit if target.least is None else f"≥ {target.least:.2f}"
    reached = {None: "(stated)", True: "yes", False: "NO"}[target.reached]
    return f"  {target.what:<66}{measured:>26}{limit:>10}  {reached}"
