"""What came of each invocation, in one line, and of all of them in the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple


class BatchReport(NamedTuple):
    """A batch of messages that a function was given.

    Attributes:
        request_id: Of the invocation.
        messages: How many there were.
        left: How many of them come again.
        reason: Why all of them do, or why some could not be deleted; ``""`` otherwise.
        seconds: From the call to the function's answer.
    """

    request_id: str
    messages: int
    left: int
    reason: str
    seconds: float


class AsynchronousReport(NamedTuple):
    """One attempt at an asynchronous invoke.

    Attributes:
        request_id: Of the invocation; the same for all attempts.
        attempt: Which one it was, from 1 on.
        again_in: Seconds until the next one; None where there is none.
        reason: How it failed; ``""`` where it did not.
        seconds: From the call to the function's answer.
    """

    request_id: str
    attempt: int
    again_in: float | None
    reason: str
    seconds: float


Report = BatchReport | AsynchronousReport


def line(report: Report) -> str:
    """One line about an invocation."""
    text = _of_batch(report) if isinstance(report, BatchReport) else _of_asynchronous(report)
    return f"{text}, {report.seconds * 1000:.0f} ms, RequestId {report.request_id}"


def _of_batch(report: BatchReport) -> str:
    done = report.messages - report.left
    parts = [f"{done} done" if done else "", _comes_again(report.left), " ".join(report.reason.split())]
    return f"{counted(report.messages, 'message')}: {', '.join(filter(None, parts))}"


def _comes_again(left: int) -> str:
    return f"{left} {'comes' if left == 1 else 'come'} again" if left else ""


def _of_asynchronous(report: AsynchronousReport) -> str:
    if not report.reason:
        return "asynchronous invoke: done"
    then = "given up" if report.again_in is None else f"again in {report.again_in:g} s"
    return f"asynchronous invoke: attempt {report.attempt} failed, {then}, {' '.join(report.reason.split())}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 message``, ``2 messages``."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


class Totals(NamedTuple):
    """All invocations together; the attributes are counts."""

    batches: int = 0
    failed_batches: int = 0
    messages: int = 0
    left: int = 0
    asynchronous: int = 0
    given_up: int = 0
    attempts: int = 0


class Tally:
    """Adds reports up, and passes them on, from any thread, until it is closed: what is cut off by the end is no failure of the function's."""

    def __init__(self, tell: Callable[[Report], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._closed = False
        self.totals = Totals()

    def close(self) -> None:
        """Take no more reports."""
        with self._lock:
            self._closed = True

    def add(self, report: Report) -> None:
        """Count one invocation, and tell of it."""
        with self._lock:
            if self._closed:
                return
            self._tell(report)
            self.totals = (
                _with_batch(self.totals, report) if isinstance(report, BatchReport) else _with(self.totals, report)
            )


def _with_batch(totals: Totals, report: BatchReport) -> Totals:
    return totals._replace(
        batches=totals.batches + 1,
        failed_batches=totals.failed_batches + (report.left == report.messages),
        messages=totals.messages + report.messages,
        left=totals.left + report.left,
    )


def _with(totals: Totals, report: AsynchronousReport) -> Totals:
    return totals._replace(
        asynchronous=totals.asynchronous + (report.attempt == 1),
        given_up=totals.given_up + (bool(report.reason) and report.again_in is None),
        attempts=totals.attempts + 1,
    )


def summary(totals: Totals, *, dead_letters: str) -> str:
    """The closing lines."""
    done = totals.messages - totals.left
    lines = [
        f"batches       {totals.batches:,}, of which {totals.failed_batches:,} failed as a whole",
        f"messages      {totals.messages:,} received: {done:,} done, {totals.left:,} left to come again",
    ]
    if totals.asynchronous:
        lines.append(
            f"asynchronous  {counted(totals.asynchronous, 'invoke')} in {counted(totals.attempts, 'attempt')}, {totals.given_up:,} given up"
        )
    return "\n".join([*lines, *([f"dead letters  {dead_letters}"] if dead_letters else [])])
