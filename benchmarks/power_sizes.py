"""What a net takes at each memory size of Lambda: measured sizes, larger ones computed from these, what each costs, and which is best.

A size has memory / 1,769 MB CPUs, and the handler takes as many threads as these are whole ones. Below one CPU a size is a share of a core, and is
measured. From one CPU on more memory helps by more threads: the computed sizes lie on Amdahl's line ``serial + parallel / threads`` through the
measured ones, by least squares. That is the best that further cores can do; that they do nothing at all is the worst.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.batch_costs import MILLION, Prices, Usage, bill, billed_ms
from benchmarks.batch_measuring import MB_A_CPU
from benchmarks.figures import summarize

# Of two sizes that differ by less the smaller one is as good.
AS_GOOD = 1.03


class Samples(NamedTuple):
    """What was measured of a net at one size.

    Attributes:
        memory_mb: The size.
        warm_ms: Warm invocations, one by one.
        cold: Cold starts, to the first answer, whose INIT had two CPUs; the first invocation had the size's own.
        held_back: Cold starts that had the size's own CPUs from the beginning.
    """

    memory_mb: int
    warm_ms: Sequence[float]
    cold: Sequence[float]
    held_back: Sequence[float]


class Size(NamedTuple):
    """A net at a size of Lambda. Times in milliseconds.

    Attributes:
        memory_mb: The size.
        threads: How many the handler takes.
        warm_ms: Median of a warm invocation.
        warm_p99_ms: 99th percentile (nearest rank); 0 where it is computed.
        billed_ms: What a warm invocation is billed on average.
        cold_ms: Median of the first answer of a new sandbox, with two CPUs in INIT.
        held_back_ms: The same, with the size's own CPUs in INIT, too.
        cold_billed_ms: What it is billed on average, INIT included, with two CPUs there.
        is_measured: Whether all of it is measured; otherwise it is computed.
    """

    memory_mb: int
    threads: int
    warm_ms: float
    warm_p99_ms: float
    billed_ms: float
    cold_ms: float
    held_back_ms: float
    cold_billed_ms: float
    is_measured: bool = True


class Net(NamedTuple):
    """A net at all sizes.

    Attributes:
        title: What it is and what it is asked.
        peak_mib: The most memory that its sandbox took.
        log_bytes: What the handler writes for a warm invocation.
        metrics: How many metrics it has CloudWatch make of what it writes.
        answer_bytes: The answer's body.
        request_bytes: The question's body.
        gets: How often a cold start asks S3 for the archive.
        archive_bytes: The archive.
        sizes: Ascending.
    """

    title: str
    peak_mib: float
    log_bytes: float
    metrics: int
    answer_bytes: int
    request_bytes: int
    gets: int
    archive_bytes: int
    sizes: tuple[Size, ...]

    @property
    def possible(self) -> tuple[Size, ...]:
        """The sizes whose memory suffices."""
        return tuple(size for size in self.sizes if size.memory_mb > self.peak_mib)


def vcpus(memory_mb: int) -> float:
    """AWS Lambda Developer Guide, "Configure Lambda function memory": a vCPU for 1,769 MB."""
    return memory_mb / MB_A_CPU


def threads_at(memory_mb: int) -> int:
    """As the handler counts them (``gluon_lambda.runtime.engine_environment.usable_threads``)."""
    return max(1, int(vcpus(memory_mb)))


def measured_size(samples: Samples) -> Size:
    """A size as it was measured."""
    warm = summarize(samples.warm_ms)
    return Size(
        samples.memory_mb,
        threads_at(samples.memory_mb),
        warm.median,
        warm.p99,
        billed_ms(tuple(samples.warm_ms)),
        statistics.median(samples.cold),
        statistics.median(samples.held_back),
        billed_ms(tuple(samples.cold)),
    )


class Amdahl(NamedTuple):
    """``serial + parallel / threads``, in milliseconds."""

    serial: float
    parallel: float

    def at(self, threads: int) -> float:
        """Milliseconds with so many threads."""
        return self.serial + self.parallel / threads


def amdahl(points: Iterable[tuple[int, float]]) -> Amdahl:
    """The line nearest to these points of threads and milliseconds, by least squares; neither part is less than nothing.

    Raises:
        ValueError: All points have the same number of threads, and nothing tells what more are worth.
    """
    given = list(points)
    shares, times = [1 / threads for threads, _ in given], [time for _, time in given]
    if len(set(shares)) < 2:
        raise ValueError("sizes with at least two numbers of threads have to be measured")
    parallel, serial = statistics.linear_regression(shares, times)
    if parallel < 0:
        return Amdahl(statistics.fmean(times), 0.0)
    # A line that begins below nothing: through it, all of the work is shared.
    return Amdahl(serial, parallel) if serial >= 0 else Amdahl(0.0, through_nothing(shares, times))


def through_nothing(shares: Sequence[float], times: Sequence[float]) -> float:
    """The slope of the line through nothing that is nearest."""
    return sum(map(math.prod, zip(shares, times, strict=True))) / sum(share * share for share in shares)


def computed_sizes(measured: Sequence[Size], memories: Iterable[int]) -> tuple[Size, ...]:
    """Sizes that this machine has not the cores for. Cold starts are taken to be as the largest measured one's, since INIT hardly keeps more
    than two CPUs busy.

    Raises:
        ValueError: Too little was measured.
    """
    whole = [size for size in measured if vcpus(size.memory_mb) >= 1]
    warm = amdahl((size.threads, size.warm_ms) for size in whole)
    billed = amdahl((size.threads, size.billed_ms) for size in whole)
    largest = max(measured)
    return tuple(
        largest._replace(
            memory_mb=memory,
            threads=threads_at(memory),
            warm_ms=warm.at(threads_at(memory)),
            warm_p99_ms=0.0,
            billed_ms=billed.at(threads_at(memory)),
            is_measured=False,
        )
        for memory in memories
    )


def dollars(memory_mb: int, milliseconds: float, prices: Prices, invocations: float = 1.0) -> float:
    """What so many invocations of this size cost that are billed so long each."""
    gb_seconds = invocations * milliseconds / 1000 * memory_mb / 1024
    return bill(Usage(gb_seconds, invocations, {}), prices).total


def per_million(size: Size, prices: Prices) -> float:
    """Dollars for a million warm invocations."""
    return dollars(size.memory_mb, size.billed_ms, prices, MILLION)


def cheapest(net: Net, prices: Prices, *, measured_only: bool = False) -> Size:
    """The size at which a warm invocation costs least; computed ones count, unless said otherwise."""
    return min(_of(net, measured_only=measured_only), key=lambda size: per_million(size, prices))


def fastest(net: Net, *, measured_only: bool = False) -> Size:
    """The smallest of those sizes at which a warm invocation takes least."""
    sizes = _of(net, measured_only=measured_only)
    least = min(size.warm_ms for size in sizes)
    return next(size for size in sizes if size.warm_ms <= AS_GOOD * least)


def _of(net: Net, *, measured_only: bool) -> list[Size]:
    return [size for size in net.possible if size.is_measured or not measured_only]


def to_json(net: Net) -> dict[str, Any]:
    """As it is stored, to a hundredth."""
    return net._asdict() | {"sizes": [_rounded(size._asdict()) for size in net.sizes]}


def _rounded(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in fields.items()}


def from_json(stored: Mapping[str, Any]) -> Net:
    """The reverse of ``to_json``."""
    return Net(**{**stored, "sizes": tuple(Size(**size) for size in stored["sizes"])})


HEAD = "| net | MB | vCPU | threads | warm, ms | p99 | billed ms | US$ a million | cold start, ms | … CPU held back | US$ a million | |"


def table(nets: Mapping[str, Net], prices: Prices) -> str:
    """Every size of every net, as Markdown; what is computed is in italics."""
    rows = [_row(name, net, size, prices) for name, net in nets.items() for size in net.sizes]
    return "\n".join([HEAD, "|" + "---|" * (HEAD.count("|") - 1), *rows]) + "\n"


def _row(name: str, net: Net, size: Size, prices: Prices) -> str:
    start = [name, f"{size.memory_mb:,}", f"{vcpus(size.memory_mb):.2f}", str(size.threads)]
    if size not in net.possible:
        return f"| {' | '.join(start)} | too little memory |" + " |" * 7
    cold = f"{dollars(size.memory_mb, size.cold_billed_ms, prices, MILLION):.2f}"
    warm = [f"{size.warm_ms:.1f}", f"{size.billed_ms:.1f}", f"{per_million(size, prices):.2f}"]
    if not size.is_measured:
        warm = [f"*{value}*" for value in warm]
        return f"| {' | '.join([*start, warm[0], '', *warm[1:]])} | | | | {_remark(net, size, prices)} |"
    times = [f"{size.cold_ms:.0f}", f"{size.held_back_ms:.0f}"]
    cells = [*start, warm[0], f"{size.warm_p99_ms:.1f}", *warm[1:], *times, cold]
    return f"| {' | '.join(cells)} | {_remark(net, size, prices)} |"


def _remark(net: Net, size: Size, prices: Prices) -> str:
    said = {
        "cheapest": cheapest(net, prices) == size,
        "fastest measured": fastest(net, measured_only=True) == size,
        "fastest computed": fastest(net) == size and not size.is_measured,
    }
    return ", ".join(name for name, is_so in said.items() if is_so)
