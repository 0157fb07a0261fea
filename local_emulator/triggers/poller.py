"""Takes messages from a queue and gives them to a function in batches, as Lambda's event source mapping does.

AWS: "Using Lambda with Amazon SQS". What the function has done is deleted. What it has not done is left alone: it becomes visible again when
the queue's visibility timeout is over, and SQS itself moves it to the dead-letter queue when it has come too often.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from local_emulator.errors import QueueRefused, QueueUnavailable, SandboxClosed
from local_emulator.front_ends.tracing import trace_id
from local_emulator.records import Invocation, Outcome
from local_emulator.triggers.batch_answer import BatchFailed, failed_messages
from local_emulator.triggers.reports import BatchReport
from local_emulator.triggers.sqs_event import Message, event, fitting


class Queue(Protocol):
    """What the poller asks of a queue; see ``SqsQueue``."""

    def receive(self, most: int, wait_seconds: int) -> list[Message]: ...
    def delete(self, messages: Sequence[Message]) -> list[str]: ...


class Polling(NamedTuple):
    """How a queue is polled.

    Attributes:
        batch_size: How many messages a function is given at most.
        window_seconds: How long to wait for a batch to fill after its first message.
        concurrency: How many batches may be under way at a time.
        wait_seconds: How long SQS waits for a message where there is none; whole seconds.
        patience_seconds: How long a queue that does not answer is asked again.
    """

    batch_size: int = 10
    window_seconds: float = 0.0
    concurrency: int = 1
    wait_seconds: int = 1
    patience_seconds: float = 30.0


# Between two questions that SQS answers at once, and between two that it does not answer.
_PAUSE_SECONDS = 0.05
_RETRY_SECONDS = 1.0


class Poller:
    """One event source mapping. ``run`` is for one thread; each batch has a thread of its own."""

    def __init__(
        self,
        queue: Queue,
        invoke: Callable[[Invocation], Outcome],
        polling: Polling,
        *,
        report: Callable[[BatchReport], None],
        log: Callable[[str], None],
    ) -> None:
        self._queue = queue
        self._invoke = invoke
        self._polling = polling
        self._report = report
        self._log = log
        self._free = threading.Semaphore(polling.concurrency)
        self._threads: list[threading.Thread] = []
        self._held: list[Message] = []

    @property
    def under_way(self) -> int:
        """How many batches a function has and has not answered."""
        return sum(thread.is_alive() for thread in self._threads)

    def run(self, *, is_over: Callable[[], bool]) -> None:
        """Poll until ``is_over``, which is asked whenever no message came and no batch is under way.

        Raises:
            QueueRefused: The queue is gone, or is not for us any more.
            QueueUnavailable: It has not answered for ``patience_seconds``.
        """
        while True:
            # Only then: a message that waits here would be hidden from others, and its time would run.
            self._free.acquire()
            batch = self._gather()
            if batch:
                self._start(batch)
                continue
            self._free.release()
            if not self.under_way and is_over():
                return

    def _gather(self) -> list[Message]:
        """The next batch: as many as fit, of what comes until the window closes; empty where nothing comes."""
        messages, until = self._held, time.monotonic() + self._polling.window_seconds
        while len(messages) < self._polling.batch_size and fitting(messages, len(messages)) == len(messages):
            received = self._receive(self._polling.batch_size - len(messages), until if messages else math.inf)
            if not messages:
                until = time.monotonic() + self._polling.window_seconds
            messages = messages + received
            if not messages or time.monotonic() >= until:
                break
        count = fitting(messages, self._polling.batch_size)
        self._held = messages[count:]
        return messages[:count]

    def _receive(self, most: int, until: float) -> list[Message]:
        wait = int(min(self._polling.wait_seconds, max(0.0, until - time.monotonic())))
        messages = self._patiently(lambda: self._queue.receive(most, wait))
        if not messages and not wait:
            time.sleep(_PAUSE_SECONDS)
        return messages

    def _patiently(self, ask: Callable[[], list[Message]]) -> list[Message]:
        patient_until = time.monotonic() + self._polling.patience_seconds
        while True:
            try:
                return ask()
            except QueueUnavailable as error:
                if time.monotonic() >= patient_until:
                    raise
                self._log(f"poll: {error}; asking again")
                time.sleep(_RETRY_SECONDS)

    def _start(self, batch: list[Message]) -> None:
        thread = threading.Thread(target=self._work, args=(batch,), daemon=True)
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        thread.start()

    def _work(self, batch: list[Message]) -> None:
        try:
            self._report(self._answer(batch))
        except SandboxClosed:
            return  # the emulator ends; the messages become visible again
        finally:
            self._free.release()

    def _answer(self, batch: list[Message]) -> BatchReport:
        invocation = Invocation(str(uuid.uuid4()), event(batch), trace_id())
        began = time.monotonic()
        outcome = self._invoke(invocation)
        seconds = time.monotonic() - began
        done, reason = _done(batch, outcome)
        undeleted = self._delete(done)
        left = len(batch) - len(done) + len(undeleted)
        return BatchReport(invocation.request_id, len(batch), left, reason or "; ".join(undeleted[:1]), seconds)

    def _delete(self, done: list[Message]) -> list[str]:
        """Why messages could not be deleted, one reason for each of them."""
        try:
            return self._queue.delete(done)
        except (QueueRefused, QueueUnavailable) as error:
            return [str(error)] * len(done)


def _done(batch: list[Message], outcome: Outcome) -> tuple[list[Message], str]:
    """The messages that are done, and why none is, where the batch failed as a whole."""
    try:
        failed = failed_messages(outcome, {each.message_id for each in batch})
    except BatchFailed as error:
        return [], str(error)
    return [each for each in batch if each.message_id not in failed], ""
