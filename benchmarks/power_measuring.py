"""Measures nets at memory sizes: real ``awslambdaric`` processes in a cgroup with memory / 1,769 MB CPUs, one at a time.

A warm invocation comes after a pause, as requests do, with the quota of a new period: a short one is done before the quota is used up. A cold
start is measured twice. Once INIT has two CPUs and the first invocation the size's own: that more than the size's own is there in INIT is what
others have measured, and AWS does not promise. Once INIT, too, has only the size's own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks.batch_measuring import MB_A_CPU, PERIOD_MS, CountingStore
from benchmarks.bucket_server import Request
from benchmarks.contenders import ROOT, Contender
from benchmarks.cpu_quota import Quota, QuotaGroup
from benchmarks.measure import SETTLING, turns
from benchmarks.power_sizes import Net, Samples, measured_size, vcpus
from benchmarks.sandbox import Sandbox

INIT_VCPUS = 2.0
MODELS = "models"


class Asked(NamedTuple):
    """A net and what it is asked.

    Attributes:
        name: The model's.
        title: For people.
        archive: Its archive.
        event: An event, as JSON.
        request_bytes: The length of its body, before base64.
    """

    name: str
    title: str
    archive: Path
    event: bytes
    request_bytes: int


class Often(NamedTuple):
    """How often: cold starts of each kind at each size, and warm invocations at each size."""

    cold: int
    warm: int


class Place(NamedTuple):
    """Where sandboxes run.

    Attributes:
        group: What gives them their quota.
        python: Their interpreter.
        library_path: ``LD_LIBRARY_PATH``.
        logs: A folder for what they write.
    """

    group: QuotaGroup
    python: Path
    library_path: str
    logs: Path

    def start(self, asked: Asked, memory_mb: int, *more: tuple[str, str]) -> Sandbox:
        """A sandbox of this size, with all of the machine's CPUs until it is admitted."""
        own = (
            ("GLUON_MODELS", f"{asked.name}={asked.archive}"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(memory_mb)),
        )
        contender = Contender(
            asked.name, self.python, ROOT / "handler", "lambda_function.lambda_handler", (*own, *more)
        )
        return Sandbox(contender, library_path=self.library_path, log=self.log(asked, memory_mb))

    def log(self, asked: Asked, memory_mb: int) -> Path:
        """Where the last sandbox of this size writes."""
        return self.logs / f"power-{asked.name}-{memory_mb}.log"


def quota_of(memory_mb: int, *, in_init: bool = False) -> Quota:
    """The quota of a size; in INIT at least two CPUs."""
    own = vcpus(memory_mb)
    return Quota(max(own, INIT_VCPUS) if in_init else own, PERIOD_MS)


def measure(asked: Asked, memories: Sequence[int], often: Often, place: Place) -> Net:
    """Measure a net at every size.

    Raises:
        SandboxFailed: The handler does not answer.
    """
    warm, facts = measure_warm(asked, memories, often.warm, place)
    cold: dict[int, tuple[list[float], list[float]]] = {memory: ([], []) for memory in memories}
    for order in turns(list(memories), often.cold):
        for memory in order:
            for into, in_init in zip(cold[memory], (True, False), strict=True):
                into.append(cold_start(asked, memory, place, in_init=in_init))
    sizes = (measured_size(Samples(memory, warm[memory], *cold[memory])) for memory in memories)
    gets, stored = gets_of(asked, place), asked.archive.stat().st_size
    return Net(asked.title, *facts, asked.request_bytes, gets, stored, tuple(sizes))


def cold_start(asked: Asked, memory_mb: int, place: Place, *, in_init: bool) -> float:
    """The first answer of a fresh process, in ms. ``in_init``: INIT has two CPUs."""
    place.group.limit(quota_of(memory_mb, in_init=in_init))
    with place.start(asked, memory_mb) as sandbox:
        place.group.admit(sandbox.pid)
        try:
            return sandbox.first_answer(asked.event, after_init=lambda: place.group.limit(quota_of(memory_mb))).total_ms
        finally:
            place.group.release(sandbox.pid)


class Facts(NamedTuple):
    """What is seen of warm sandboxes beside their times, as in ``Net``."""

    peak_mib: float
    log_bytes: float
    metrics: int
    answer_bytes: int


def measure_warm(
    asked: Asked, memories: Sequence[int], rounds: int, place: Place
) -> tuple[Mapping[int, list[float]], Facts]:
    """Keep a sandbox of every size, and invoke each once a round, in turns."""
    times: dict[int, list[float]] = {memory: [] for memory in memories}
    with ExitStack() as stack:
        sandboxes = {memory: stack.enter_context(place.start(asked, memory)) for memory in memories}
        answers = [settled(sandbox, asked.event) for sandbox in sandboxes.values()]
        log = place.log(asked, memories[0])
        before = log.stat().st_size
        for order in turns(list(memories), rounds):
            for memory in order:
                times[memory].append(one_by_one(sandboxes[memory], asked.event, quota_of(memory), place.group))
        written = (log.stat().st_size - before) / rounds
        peak = max(sandbox.peak_kib() for sandbox in sandboxes.values()) / 1024
        metrics = len(metrics_in(log.read_text(encoding="utf-8", errors="replace").splitlines()))
    return times, Facts(peak, written, metrics, len(json.loads(answers[0])["body"].encode()))


def metrics_in(lines: Iterable[str]) -> set[tuple[str, ...]]:
    """The metrics that CloudWatch makes of a log, each with the values of its dimensions: every one is paid for.

    Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format".
    """
    records = (json.loads(line) for line in lines if line.startswith('{"_aws"'))
    return {
        (told["Namespace"], metric["Name"], *(str(record[name]) for name in dimensions))
        for record in records
        for told in record["_aws"]["CloudWatchMetrics"]
        for metric in told["Metrics"]
        for dimensions in told["Dimensions"]
    }


def settled(sandbox: Sandbox, event: bytes) -> bytes:
    """The first answer, after which some uncounted ones have followed."""
    first = sandbox.first_answer(event)
    for _ in range(SETTLING):
        sandbox.invoke(event)
    return first.answer


def one_by_one(sandbox: Sandbox, event: bytes, quota: Quota, group: QuotaGroup) -> float:
    """One warm invocation under the quota of a new period, in ms."""
    group.limit(quota)
    group.admit(sandbox.pid)
    try:
        time.sleep(2 * quota.period_ms / 1000)
        return sandbox.invoke(event).duration_ms
    finally:
        group.release(sandbox.pid)


def gets_of(asked: Asked, place: Place) -> int:
    """How often S3 is asked by a cold start that has its archive there."""
    with CountingStore(latency_ms=0) as store:
        headers = {"authorization": "ours", "content-type": "application/zip"}
        store.buckets.answer(Request("PUT", MODELS, asked.archive.name, {}, headers, asked.archive.read_bytes()))
        there = ("GLUON_MODELS", f"{asked.name}=s3://{MODELS}/{asked.archive.name}")
        with place.start(asked, MB_A_CPU, there, ("AWS_ENDPOINT_URL_S3", store.url)) as sandbox:
            sandbox.first_answer(asked.event)
        return store.asked.total()
