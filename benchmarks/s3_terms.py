"""What an archive on S3 may cost at most: max(fetch, imports) + load, each term measured in the same round.

``disk`` is the cold start with the same archive on disk, ``fetch`` one bare GET of it. ``imports`` is what the disk's cold
start spends, on the path that the caller waits for, on what does not need the archive, and the import of the S3 client
on top. ``load`` is the rest of the disk's cold start, so that imports without the client and load make up the whole of it.
"""

from __future__ import annotations

import statistics
from typing import Any, NamedTuple

from benchmarks.contenders import ALEXNET, MOBILENET
from benchmarks.figures import median_ratio
from benchmarks.measure import Measured
from benchmarks.sandbox import ColdStart
from benchmarks.timeline import BEFORE, critical_path, durations

# The phases of INIT that need no archive. ``engine`` and ``libmxnet`` are dlopen under other names.
WITHOUT_ARCHIVE = (BEFORE, "imports", "settings", "numpy", "codecs", "dlopen", "engine", "libmxnet")
CLIENT = "s3 client"
# By workload: who has the archive on S3, and who has it on disk.
PAIRS = {MOBILENET: ("ours-s3", "ours"), ALEXNET: ("alexnet-s3", "alexnet")}


class Terms(NamedTuple):
    """The terms of one round, in milliseconds."""

    fetch: float
    client: float
    imports: float
    load: float

    @property
    def bound(self) -> float:
        """What the cold start would take if fetch and imports overlapped wholly."""
        return max(self.fetch, self.imports) + self.load


def terms_of(on_s3: ColdStart, on_disk: ColdStart, fetch: float) -> Terms:
    """The terms of one round."""
    client = sum(taken for phase, taken in durations(on_s3.spans).items() if phase.startswith(CLIENT))
    path = critical_path(on_disk.spans, init_ms=on_disk.init_ms, total_ms=on_disk.total_ms)
    without_archive = sum(durations(path).get(phase, 0.0) for phase in WITHOUT_ARCHIVE)
    return Terms(fetch, client, without_archive + client, on_disk.total_ms - without_archive)


def s3_result(measured: Measured) -> dict[str, Any]:
    """By workload: the median of each term, and how the cold start from S3 compares with their bound."""
    result = {}
    for workload, (on_s3, on_disk) in PAIRS.items():
        if on_s3 in measured.series and on_disk in measured.series and workload in measured.probes:
            pairs = zip(
                measured.series[on_s3].cold, measured.series[on_disk].cold, measured.probes[workload], strict=True
            )
            rounds = [terms_of(*each) for each in pairs]
            cold = [start.total_ms for start in measured.series[on_s3].cold]
            result[workload] = result_of(rounds, cold)
    return result


def result_of(rounds: list[Terms], cold: list[float]) -> dict[str, Any]:
    """Medians, and the ratio of the cold starts to the bounds."""
    medians = {
        f"{name}_ms": round(statistics.median(getattr(terms, name) for terms in rounds), 3)
        for name in (*Terms._fields, "bound")
    }
    ratio = median_ratio(cold, [terms.bound for terms in rounds])
    return {**medians, "cold_ms": round(statistics.median(cold), 3), "ratio": ratio._asdict()}
