"""One contender in one process: the real ``python -m awslambdaric``, driven through a Runtime API of its own."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from benchmarks.contenders import MEMORY_MB, Contender
from benchmarks.runtime_api import NEXT, Call, Delivery, RuntimeApi
from benchmarks.timeline import Span, read_spans
from gluon_lambda.runtime.engine_environment import kernel_environment

# How long one answer may take: far above anything measured, so that only a hang reaches it.
PATIENCE_S = 60.0


class SandboxFailed(Exception):
    """Raised when a contender does not answer; carries what it wrote and what it reported.

    Attributes:
        reported: The error as the runtime reported it; empty where it reported none.
        in_init: Whether it was INIT's.
    """

    def __init__(self, message: str, call: Call | None = None) -> None:
        """Explain with ``message``; ``call`` is the unexpected one."""
        super().__init__(message)
        self.reported = reported_error(call.body) if call else {}
        self.in_init = call is not None and call.path.endswith("/init/error")


def reported_error(body: bytes) -> dict[str, Any]:
    """The JSON object that a runtime posts about an error, or an empty one."""
    try:
        error = json.loads(body)
    except ValueError:
        return {}
    return error if isinstance(error, dict) else {}


class ColdStart(NamedTuple):
    """One cold start.

    Attributes:
        total_ms: Process start to the first answer.
        init_ms: Process start to the runtime's first ``next``: Lambda's INIT.
        spans: What the handler reported of its INIT.
        peak_kib: Peak resident memory (VmHWM) after the first answer.
        answer: The first answer, as posted.
    """

    total_ms: float
    init_ms: float
    spans: tuple[Span, ...]
    peak_kib: int
    answer: bytes


class Warm(NamedTuple):
    """One invocation of a process that has answered before.

    Attributes:
        duration_ms: Event handed over to answer read.
        answer: As posted.
    """

    duration_ms: float
    answer: bytes


def lambda_environ(contender: Contender, *, address: str, library_path: str, scratch: str) -> dict[str, str]:
    """The environment that Lambda would give, and nothing of this machine's but PATH and the library folder.

    And the kernels that our handler chooses for OpenBLAS, so that all contenders compute with the same ones; a contender may name others.

    Source: AWS, "Using Lambda environment variables", defined runtime variables.
    """
    fixed = {
        "AWS_LAMBDA_RUNTIME_API": address,
        "AWS_LAMBDA_FUNCTION_NAME": "benchmark",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "LAMBDA_TASK_ROOT": str(contender.folder),
        "_HANDLER": contender.handler,
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LD_LIBRARY_PATH": library_path,
        # As a new sandbox's /tmp: nothing is in it yet.
        "GLUON_CACHE_DIR": scratch,
    }
    return fixed | kernel_environment() | dict(contender.environ)


def reported_init(log: Iterable[str]) -> dict[str, Any]:
    """The first JSON line of a handler's log that has an ``init``; empty where there is none."""
    return next((record for line in log if (record := init_record(line))), {})


def init_record(line: str) -> dict[str, Any]:
    """The record of one line, empty where it is none or has no ``init``."""
    if not line.startswith("{"):
        return {}
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    init = record.get("init")
    return record if isinstance(init, dict) and init else {}


def peak_memory_kib(status: str) -> int:
    """VmHWM out of the text of ``/proc/PID/status``, in KiB."""
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


class Sandbox:
    """A contender's process. Use it as a context manager: the process ends with it."""

    def __init__(self, contender: Contender, *, library_path: str, log: Path) -> None:
        """Start the process.

        Args:
            contender: Whom to start.
            library_path: ``LD_LIBRARY_PATH``, with libgomp and libquadmath.
            log: Where stdout and stderr go.
        """
        self._name, self._log, self._count = contender.name, log, 0
        self._api = RuntimeApi()
        self._scratch = tempfile.mkdtemp(prefix="scratch-", dir=log.parent)
        environ = lambda_environ(contender, address=self._api.address, library_path=library_path, scratch=self._scratch)
        command = [str(contender.python), *contender.options, "-m", "awslambdaric", contender.handler]
        with log.open("wb") as sink:
            self._started_at = time.monotonic()
            self._process = subprocess.Popen(
                command, cwd=contender.folder, env=environ, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def first_answer(self, event: bytes, *, after_init: Callable[[], None] | None = None) -> ColdStart:
        """Hand over the first event and wait for its answer.

        Args:
            event: The event. It is waiting when INIT ends.
            after_init: Done when INIT has ended; the event is handed over only then.

        Raises:
            SandboxFailed: INIT or the handler failed, or the process ended.
        """
        if after_init is None:
            self._deliver(event)
        asked = self._expect(NEXT)
        if after_init is not None:
            after_init()
            self._deliver(event)
        answered = self._expect("/response")
        # The runtime asks for more when it has done all that belongs to the first answer.
        self._expect(NEXT)
        init_ms = 1000 * (asked.at - self._started_at)
        return ColdStart(
            total_ms=1000 * (answered.at - self._started_at),
            init_ms=init_ms,
            spans=read_spans(reported_init(self.log_lines()), process_started=self._started_at, init_ms=init_ms),
            peak_kib=self.peak_kib(),
            answer=answered.body,
        )

    def invoke(self, event: bytes) -> Warm:
        """Hand over one more event and wait for its answer.

        Raises:
            SandboxFailed: The handler failed, or the process ended.
        """
        self._deliver(event)
        answered = self._expect("/response")
        delivered_at = self._api.delivered_at
        self._expect(NEXT)
        return Warm(1000 * (answered.at - delivered_at), answered.body)

    def peak_kib(self) -> int:
        """The process's peak resident memory until now, in KiB."""
        return peak_memory_kib(Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii"))

    def log_lines(self) -> list[str]:
        """What the process has written until now."""
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()

    def stop(self) -> None:
        """End the process and its Runtime API; what it left in its scratch folder goes with it."""
        self._process.kill()
        self._process.wait()
        self._api.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _deliver(self, event: bytes) -> None:
        """Give the event an id of Lambda's form and hand it over."""
        self._count += 1
        self._api.deliver(Delivery(f"00000000-0000-4000-8000-{self._count:012d}", event))

    def _expect(self, suffix: str) -> Call:
        """The runtime's next call, which has to be the one that is expected."""
        call = self._next_call()
        if not call.path.endswith(suffix):
            body = call.body.decode(errors="replace")
            raise SandboxFailed(f"{self._name} called {call.path}: {body}\n{self._tail()}", call)
        return call

    def _next_call(self) -> Call:
        """The runtime's next call; looks now and then whether the process is still there."""
        patient_until = time.monotonic() + PATIENCE_S
        while time.monotonic() < patient_until:
            try:
                return self._api.calls.get(timeout=0.5)
            except queue.Empty:
                if self._process.poll() is not None:
                    break
        raise SandboxFailed(f"{self._name} did not answer (exit code {self._process.poll()})\n{self._tail()}")

    def _tail(self) -> str:
        """The end of what the process wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
