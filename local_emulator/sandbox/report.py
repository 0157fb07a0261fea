"""The lines that Lambda itself writes into a function's log, in its form: tabs, two decimals, REPORT's own order of fields."""

from __future__ import annotations

import math
import platform
import time
from typing import NamedTuple


class Usage(NamedTuple):
    """What an invocation used.

    Attributes:
        duration_ms: The invoke phase.
        init_ms: The INIT phase, where this is the sandbox's first invocation.
        memory_mb: Configured.
        peak_mb: Used at most.
        status: ``timeout``, ``error`` or ``""``.
        error_type: ``Runtime.ExitError`` and the like, or ``""``.
    """

    duration_ms: float
    init_ms: float | None
    memory_mb: int
    peak_mb: int
    status: str = ""
    error_type: str = ""


def init_start() -> str:
    """The line before a runtime starts."""
    return f"INIT_START Runtime Version: python:{platform.python_version()}.local"


def init_report(init_ms: float, *, phase: str, status: str, error_type: str = "") -> str:
    """The line after an INIT that failed."""
    tail = f"\tError Type: {error_type}" if error_type else ""
    return f"INIT_REPORT Init Duration: {init_ms:.2f} ms\tPhase: {phase}\tStatus: {status}{tail}"


def start(request_id: str) -> str:
    """The line before an invocation."""
    return f"START RequestId: {request_id} Version: $LATEST"


def end(request_id: str) -> str:
    """The line after an invocation."""
    return f"END RequestId: {request_id}"


def report(request_id: str, usage: Usage) -> str:
    """The line that bills an invocation; since August 2025 INIT is billed with it."""
    billed = math.ceil(usage.duration_ms + (usage.init_ms or 0.0))
    fields = [
        f"REPORT RequestId: {request_id}",
        f"Duration: {usage.duration_ms:.2f} ms",
        f"Billed Duration: {billed} ms",
        f"Memory Size: {usage.memory_mb} MB",
        f"Max Memory Used: {usage.peak_mb} MB",
        f"Init Duration: {usage.init_ms:.2f} ms" if usage.init_ms is not None else "",
        f"Status: {usage.status}" if usage.status else "",
        f"Error Type: {usage.error_type}" if usage.error_type else "",
    ]
    return "\t".join(field for field in fields if field) + "\t"


def timed_out(request_id: str, seconds: float) -> str:
    """The line of an invocation that was killed for its time."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    return f"{stamp} {request_id} Task timed out after {seconds:.2f} seconds\n"


def exited(request_id: str, reason: str) -> str:
    """The lines of an invocation whose runtime ended under it."""
    return f"RequestId: {request_id} Error: {reason}\nRuntime.ExitError"
