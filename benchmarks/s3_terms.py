"""What an archive on S3 may cost at most: max(fetch, imports) + load, each term measured in the same round.

``disk`` is the cold start with the same archive on disk, ``fetch`` one bare GET of it. ``imports`` reaches from process
start to where the main thread has imported all that it does, with the archive on disk; the S3 client comes on top, imported
and made alone in a process of its own, where no other thread slows it down. ``load`` is the rest of the cold start from
disk, so that imports without the client and load make up the whole of it.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contenders import ALEXNET, MOBILENET
from benchmarks.figures import median_ratio
from benchmarks.measure import Measured
from benchmarks.sandbox import ColdStart
from benchmarks.timeline import MAIN

# The phases of the main thread that need no archive.
IMPORTS = ("settings", "imports", "numpy", "service imports")
# By workload: who has the archive on S3, and who has it on disk.
PAIRS = {MOBILENET: ("ours-s3", "ours"), ALEXNET: ("alexnet-s3", "alexnet")}
CLIENT_PROBE = "s3 client"

# What INIT has loaded anyway by then is no part of the client.
_MAKE_CLIENT = """
import time, awslambdaric.bootstrap, gluon_lambda.bootstrap
started = time.perf_counter()
from gluon_lambda.archive_store import fetching
fetching.make_s3_client()
print(1000 * (time.perf_counter() - started))
"""


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


def fetch_probe(workload: str) -> str:
    """The name of the probe that fetches a workload's archive."""
    return f"fetch {workload}"


def client_ms(python: Path, folder: Path, environ: Mapping[str, str]) -> float:
    """How long the handler's S3 client takes to be imported and made, in a process of its own.

    Args:
        python: The handler's interpreter.
        folder: The handler's.
        environ: The function's, with its endpoint and credentials.
    """
    command = [str(python), "-c", _MAKE_CLIENT]
    done = subprocess.run(command, cwd=folder, env=dict(environ), check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def terms_of(on_disk: ColdStart, fetch: float, client: float) -> Terms:
    """The terms of one round."""
    ends = (span.end_ms for span in on_disk.spans if span.thread == MAIN and span.phase in IMPORTS)
    imports = min(max(ends, default=0.0), on_disk.total_ms)
    return Terms(fetch, client, imports + client, on_disk.total_ms - imports)


def s3_result(measured: Measured) -> dict[str, Any]:
    """By workload: the median of each term, and how the cold start from S3 compares with their bound."""
    result = {}
    series, clients = measured.series, measured.probes.get(CLIENT_PROBE)
    for workload, (on_s3, on_disk) in PAIRS.items():
        fetches = measured.probes.get(fetch_probe(workload))
        if on_s3 in series and on_disk in series and fetches and clients:
            rounds = [terms_of(*each) for each in zip(series[on_disk].cold, fetches, clients, strict=True)]
            result[workload] = result_of(rounds, [start.total_ms for start in series[on_s3].cold])
    return result


def result_of(rounds: list[Terms], cold: list[float]) -> dict[str, Any]:
    """Medians, and the ratio of the cold starts to the bounds."""
    medians = {
        f"{name}_ms": round(statistics.median(getattr(terms, name) for terms in rounds), 3)
        for name in (*Terms._fields, "bound")
    }
    ratio = median_ratio(cold, [terms.bound for terms in rounds])
    return {**medians, "cold_ms": round(statistics.median(cold), 3), "ratio": ratio._asdict()}
