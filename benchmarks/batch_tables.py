"""What is to be reached of batches, and the whole result as text."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.figures import median_ratio
from benchmarks.targets import Target, target_table
from benchmarks.warm_overhead import busy_warning

# As ``benchmarks.batch`` names them in the JSON.
ZIP, KEYS, ALONE = "zip", "objects", "one by one"
TITLES = {ZIP: "a zip of images", KEYS: "objects of one image each, in one event"}
# Of the bare loop's images per second, and of those with an invocation for each.
LEAST_OF_BARE, LEAST_OF_ALONE = 0.9, 1.5
# A function that has read 10 rows has not yet had what any long object takes: three blocks of the input, a mebibyte of lines, and in the end,
# when the input's are gone, a part of the results (5 MiB, S3's least) with the block that it is filled from, and the code that lists parts.
MOST_HELD_MIB = 12.0
# Beyond that nothing may grow.
MOST_GROWN_MIB = 2.0


def targets_of(result: Mapping[str, Any]) -> list[Target]:
    """Every row, out of a result as the JSON holds it."""
    return [
        *image_targets(result["images"]["rates"]),
        *memory_targets(result["memory"]["peak_mib"]),
        *row_targets(result["rows"]["rates"]),
    ]


def image_targets(rates: Mapping[str, Sequence[float]]) -> Iterator[Target]:
    """Both forms of a batch against the better bare loop, and against one invocation for each image."""
    bare = best_bare(rates)
    for name, title in TITLES.items():
        for rival, least in ((bare, LEAST_OF_BARE), (ALONE, LEAST_OF_ALONE)):
            ratio = median_ratio(rates[name], rates[rival])
            yield Target(f"{title} / {rival}", ratio.value, None, ratio.low, ratio.high, least=least)


def best_bare(rates: Mapping[str, Sequence[float]]) -> str:
    """The way of the bare loop that has the highest median: it is the rival."""
    return max((name for name in rates if name.startswith("bare")), key=lambda name: statistics.median(rates[name]))


def memory_targets(peaks: Mapping[str, float]) -> Iterator[Target]:
    """By how much the peak of many rows exceeds that of the fewest, and that of the most the one before it."""
    counts = sorted(peaks, key=int)
    for less, more, limit in ((counts[0], counts[-2], MOST_HELD_MIB), (counts[-2], counts[-1], MOST_GROWN_MIB)):
        title = f"peak memory, {int(more):,} rows less {int(less):,}"
        yield Target(title, peaks[more] - peaks[less], limit, unit="MiB")


def row_targets(rates: Mapping[str, Sequence[float]]) -> Iterator[Target]:
    """Rows per second, which are stated only."""
    for title, values in rates.items():
        yield Target(f"JSON Lines on char_cnn, {title}, rows per second", statistics.median(values), None)


def table(result: Mapping[str, Any]) -> str:
    """The whole result."""
    return "\n\n".join([heading(result), target_table(targets_of(result)), "\n".join(detail_lines(result))])


def heading(result: Mapping[str, Any]) -> str:
    """What was measured, and where."""
    machine, settings = result["machine"], result["settings"]
    return busy_warning(machine["cpu_share_of_other_work"]) + (
        f"batches of mobilenet1.0 and 38 kB JPEGs through awslambdaric, {settings['memory_mb']:,} MB\n"
        f"{machine['processor']}, {machine['cpus']} CPUs; {settings['rounds']} rounds of {settings['images']} images "
        f"({settings['alone']} one by one); other work: {machine['cpu_share_of_other_work']:.1%} of the CPU time"
    )


def detail_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Every series: its median and its extremes, and the batch size where it has one."""
    yield f"{'per second':<40}{'median':>10}{'lowest':>10}{'highest':>10}{'batch of':>10}"
    for part in ("images", "rows"):
        for name, values in result[part]["rates"].items():
            size = result[part]["sizes"].get(name, "")
            yield f"  {name:<38}{statistics.median(values):>10.1f}{min(values):>10.1f}{max(values):>10.1f}{size:>10}"
    yield f"\n{'rows':<40}{'peak memory (VmHWM), MiB':>30}"
    for rows, peak in result["memory"]["peak_mib"].items():
        yield f"  {int(rows):<38,}{peak:>30.1f}"
