"""Asynchronous invokes: taken at once, run after, and tried twice more where the function fails.

AWS: "How Lambda handles errors and retries with asynchronous invocation": a minute before the second attempt, two before the third, under one
request id. What fails then is told and dropped: destinations and dead-letter queues of functions are not emulated.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from local_emulator.error_payload import in_words
from local_emulator.errors import SandboxClosed
from local_emulator.records import Ending, Invocation, Outcome
from local_emulator.triggers.reports import AsynchronousReport

#: Seconds before the second and before the third attempt.
WAITS = (60.0, 120.0)


class AsynchronousInvokes:
    """The events that a function was handed and has not done yet."""

    def __init__(
        self,
        invoke: Callable[[Invocation], Outcome],
        report: Callable[[AsynchronousReport], None],
        *,
        waits: tuple[float, ...] = WAITS,
    ) -> None:
        self._invoke = invoke
        self._report = report
        self._waits = waits
        self._lock = threading.Lock()
        self._pending = 0

    @property
    def pending(self) -> int:
        """How many events are under way or will be tried again."""
        return self._pending

    def accept(self, invocation: Invocation) -> None:
        """Take an event, and run it in a thread of its own."""
        self._count(1)
        threading.Thread(target=self._run, args=(invocation,), daemon=True).start()

    def _run(self, invocation: Invocation) -> None:
        try:
            for attempt, again_in in enumerate((*self._waits, None), start=1):
                if self._attempt(invocation, attempt, again_in) or again_in is None:
                    return
                time.sleep(again_in)
        except SandboxClosed:
            return  # the emulator ends, and the event with it
        finally:
            self._count(-1)

    def _attempt(self, invocation: Invocation, attempt: int, again_in: float | None) -> bool:
        began = time.monotonic()
        outcome = self._invoke(invocation)
        succeeded = outcome.ending is Ending.SUCCESS
        reason = "" if succeeded else in_words(outcome.payload)
        self._report(AsynchronousReport(invocation.request_id, attempt, again_in, reason, time.monotonic() - began))
        return succeeded

    def _count(self, change: int) -> None:
        with self._lock:
            self._pending += change
