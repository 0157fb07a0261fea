"""Measures what the simulation draws from: real ``awslambdaric`` processes, asked in batches, under the CPU quota of a memory size.

Each sandbox is a process of its own in a cgroup with memory / 1,769 MB CPUs, from its first instruction on: INIT, too, which on Lambda may use
more. Its events are SQS's, each message with an S3 notification. The S3 that it reads and writes is a server in this process, which counts the
requests and takes as long to answer each as it is told; what that server computes is not under the quota, but on the same machine.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from benchmarks.batch_durations import Measured
from benchmarks.bucket_server import Buckets, Request, read_requests
from benchmarks.contenders import ROOT, Contender
from benchmarks.cpu_quota import Quota, QuotaGroup, open_group
from benchmarks.s3_server import LOOPBACK, Pace, send
from benchmarks.sandbox import Sandbox

MB_A_CPU = 1769
# Lambda's, as others take it to be from inside.
PERIOD_MS = 20
INPUTS, OUTPUTS = "inputs", "outputs"
QUEUE_ARN = "arn:aws:sqs:us-east-1:123456789012:objects"


class Asked(NamedTuple):
    """A model and what it is asked.

    Attributes:
        name: The model's.
        archive: Its archive.
        content: The object, of which every one that is uploaded is a copy.
        suffix: Of the keys.
        content_type: Of the objects.
    """

    name: str
    archive: Path
    content: bytes
    suffix: str
    content_type: str


class Setting(NamedTuple):
    """What is measured of each model.

    Attributes:
        memory_mb: The sandbox's memory.
        latency_ms: How long S3 takes for each request.
        sizes: The batches' sizes; the first invocations of sandboxes get the second.
        starts: How many sandboxes.
        rounds: How many batches of each size, over all sandboxes.
    """

    memory_mb: int
    latency_ms: float
    sizes: Sequence[int] = (1, 10, 50)
    starts: int = 4
    rounds: int = 12

    @property
    def first_size(self) -> int:
        """How many objects a sandbox's first invocation gets."""
        return self.sizes[min(1, len(self.sizes) - 1)]


class CountingStore:
    """An S3 in this process that counts what it is asked; use it as a context manager."""

    def __init__(self, latency_ms: float) -> None:
        """Answer each request after so many milliseconds."""
        self.asked: Counter[str] = Counter()
        self.buckets = Buckets()
        self._pace = Pace(latency_s=latency_ms / 1000)
        self._listener = socket.create_server((LOOPBACK, 0), backlog=64)
        self._counting = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    @property
    def url(self) -> str:
        """For ``AWS_ENDPOINT_URL_S3``."""
        return f"http://{LOOPBACK}:{self._listener.getsockname()[1]}"

    def put(self, key: str, asked: Asked) -> None:
        """Upload an input, uncounted."""
        headers = {"authorization": "ours", "content-type": asked.content_type}
        self.buckets.answer(Request("PUT", INPUTS, key, {}, headers, asked.content))

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError), connection, connection.makefile("rb") as stream:
            for request in read_requests(connection, stream):
                with self._counting:
                    self.asked[kind_of(request)] += 1
                send(connection, self.buckets.answer(request), self._pace, with_body=request.method != "HEAD")


def kind_of(request: Request) -> str:
    """As S3's price list tells requests apart: the method, or ``LIST``."""
    return "LIST" if "list-type" in request.query else request.method


def sqs_event(keys: Sequence[str]) -> bytes:
    """The event in which Lambda's poller hands over a message for each of the objects."""
    return json.dumps({"Records": [sqs_record(number, key) for number, key in enumerate(keys)]}).encode()


def sqs_record(number: int, key: str) -> dict[str, Any]:
    """One message: S3's notification of one object."""
    placed = {"bucket": {"name": INPUTS}, "object": {"key": key, "sequencer": "0055AED6DCD90281E5"}}
    told = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": placed}
    return {
        "messageId": f"00000000-0000-4000-8000-{number:012d}",
        "receiptHandle": "handle",
        "body": json.dumps({"Records": [told]}),
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE_ARN,
        "awsRegion": "us-east-1",
    }


class Times:
    """What has been measured of one model in one setting, in milliseconds."""

    def __init__(self) -> None:
        self.init: list[float] = []
        self.first: list[float] = []
        self.new: dict[int, list[float]] = {}
        self.done: dict[int, list[float]] = {}
        self.requests: dict[str, Counter[str]] = {"new": Counter(), "done": Counter()}
        self.objects: Counter[str] = Counter()

    def each(self, kind: str) -> dict[str, float]:
        """Requests for an object, by method."""
        return {method: count / self.objects[kind] for method, count in sorted(self.requests[kind].items())}


class Bench:
    """One model, one setting: asks sandbox after sandbox."""

    def __init__(self, asked: Asked, setting: Setting, store: CountingStore, group: QuotaGroup | None) -> None:
        self._asked = asked
        self._setting = setting
        self._store = store
        self._group = group
        self._uploaded = 0
        self.times = Times()

    def start(self, *, library_path: str, log: Path, python: Path) -> None:
        """One sandbox from start to end: its first batch, then batches of each size, each once new and once more when it is done."""
        contender = self._contender(python)
        with Sandbox(contender, library_path=library_path, log=log) as sandbox, self._limited(sandbox):
            keys = self._upload(self._setting.first_size)
            cold = sandbox.first_answer(sqs_event(keys))
            require_done(cold.answer)
            self.times.init.append(cold.init_ms)
            self.times.first.append(cold.total_ms - cold.init_ms)
            for _ in range(max(1, self._setting.rounds // self._setting.starts)):
                for size in self._setting.sizes:
                    self._round(sandbox, size)

    def _round(self, sandbox: Sandbox, size: int) -> None:
        keys = self._upload(size)
        self._note("new", size, sandbox, keys)
        self._note("done", size, sandbox, keys)

    def _note(self, kind: str, size: int, sandbox: Sandbox, keys: list[str]) -> None:
        before = self._store.asked.copy()
        warm = sandbox.invoke(sqs_event(keys))
        require_done(warm.answer)
        self.times.requests[kind].update(self._store.asked - before)
        self.times.objects[kind] += size
        series = self.times.new if kind == "new" else self.times.done
        series.setdefault(size, []).append(warm.duration_ms)

    def _upload(self, count: int) -> list[str]:
        keys = [f"in/{self._uploaded + number:06d}{self._asked.suffix}" for number in range(count)]
        self._uploaded += count
        for key in keys:
            self._store.put(key, self._asked)
        return keys

    def _contender(self, python: Path) -> Contender:
        environ = (
            ("GLUON_MODELS", f"{self._asked.name}={self._asked.archive}"),
            ("GLUON_OUTPUT", f"s3://{OUTPUTS}/predictions/"),
            ("AWS_ENDPOINT_URL_S3", self._store.url),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(self._setting.memory_mb)),
        )
        return Contender(self._asked.name, python, ROOT / "handler", "lambda_function.lambda_handler", environ)

    @contextmanager
    def _limited(self, sandbox: Sandbox) -> Iterator[None]:
        if self._group is None:
            yield
            return
        self._group.limit(Quota(self._setting.memory_mb / MB_A_CPU, PERIOD_MS))
        self._group.admit(sandbox.pid)
        try:
            yield
        finally:
            self._group.release(sandbox.pid)


class NotDone(Exception):
    """Raised when a batch is not answered in full; shows the answer."""


def require_done(answer: bytes) -> None:
    """Make sure that no message comes again.

    Raises:
        NotDone: One does.
    """
    if json.loads(answer) != {"batchItemFailures": []}:
        raise NotDone(f"the batch was not done: {answer[:500].decode(errors='replace')}")


def measure(
    asked: Asked, setting: Setting, *, group: QuotaGroup | None, library_path: str, python: Path, logs: Path
) -> Measured:
    """Measure one model in one setting.

    Args:
        asked: The model and its objects.
        setting: What is measured.
        group: Where sandboxes get their quota; None for all of the machine.
        library_path: ``LD_LIBRARY_PATH`` for the sandboxes.
        python: Their interpreter.
        logs: A folder for what they write.

    Raises:
        NotDone: The handler did not answer every object.
        SandboxFailed: It failed.
    """
    with CountingStore(setting.latency_ms) as store:
        bench = Bench(asked, setting, store, group)
        for start in range(setting.starts):
            log = logs / f"batch-{asked.name}-{setting.memory_mb}-{start}.log"
            bench.start(library_path=library_path, log=log, python=python)
    return measured_of(asked, setting, bench.times)


def measured_of(asked: Asked, setting: Setting, times: Times) -> Measured:
    """The record of what was measured."""
    return Measured(
        asked.name,
        setting.memory_mb,
        setting.latency_ms,
        tuple(times.init),
        tuple(times.first),
        setting.first_size,
        as_tuples(times.new),
        as_tuples(times.done),
        times.each("new"),
        times.each("done"),
    )


def as_tuples(series: Mapping[int, Sequence[float]]) -> dict[int, tuple[float, ...]]:
    """Series that are not changed any more, to a hundredth of a millisecond."""
    return {size: tuple(round(time, 2) for time in times) for size, times in series.items()}


def quota_group(stack: ExitStack) -> QuotaGroup:
    """A group that ``stack`` removes.

    Raises:
        QuotaUnavailable: No quota can be set here.
    """
    return stack.enter_context(open_group())
