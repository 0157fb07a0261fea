"""Where simulated batches come from: an SQS queue, or a backlog that Step Functions or S3 Batch Operations work off.

Rules of SQS: Amazon SQS Developer Guide, "Amazon SQS visibility timeout", "Using dead-letter queues in Amazon SQS", "Amazon SQS at-least-once
delivery"; API Reference, DeleteMessage (only the newest receipt handle counts for sure).
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(slots=True)
class Message:
    """One message, or one item of a backlog.

    Attributes:
        thing: The number of the object that it tells of; -1 where it names none, so that it fails whenever it comes.
        receives: How often it has come.
        deleted: Whether it is gone.
    """

    thing: int
    receives: int = 0
    deleted: bool = False


class Received(NamedTuple):
    """A message that has come.

    Attributes:
        message: The message.
        receipt: The number of this coming, which stands for its receipt handle.
        until: When it becomes visible again unless it is deleted, in seconds.
    """

    message: Message
    receipt: int
    until: float = math.inf


class Source(Protocol):
    """Where messages come from.

    Attributes:
        dead: What has come too often.
    """

    dead: list[Message]

    def send(self, message: Message) -> None:
        """Take a message, visible at once."""
        ...

    def receive(self, most: int, now: float) -> list[Received]:
        """What is visible, up to ``most``."""
        ...

    def is_waiting(self, now: float) -> bool:
        """Whether anything is visible."""
        ...

    def delete(self, received: Received) -> bool:
        """Let a message go that is done; False where this receipt does not count any more."""
        ...

    def put_back(self, received: Sequence[Received], now: float) -> set[float]:
        """Take back what has failed just now. Returns when it is to be looked for again, in seconds."""
        ...


class QueueRules(NamedTuple):
    """How a queue is set.

    Attributes:
        visibility_s: How long a message that has come stays hidden.
        max_receives: How often a message comes before it goes to the dead letters; 0 for ever.
        comes_twice: Says of each coming whether the message stays visible meanwhile, as happens in SQS now and then.
    """

    visibility_s: float
    max_receives: int = 0
    comes_twice: Callable[[], bool] = lambda: False


class Queue:
    """A standard queue."""

    def __init__(self, rules: QueueRules) -> None:
        self.dead: list[Message] = []
        self._rules = rules
        self._visible: deque[Message] = deque()
        # One entry for all that came at a time: until when, a number that keeps the order, what.
        self._hidden: list[tuple[float, int, list[Received]]] = []
        self._count = 0

    def send(self, message: Message) -> None:
        """See ``Source``."""
        self._visible.append(message)

    def receive(self, most: int, now: float) -> list[Received]:
        """See ``Source``. What has come too often goes to the dead letters here, as in SQS, and not when its time is over."""
        self._return(now)
        received: list[Received] = []
        while self._visible and len(received) < most:
            message = self._visible.popleft()
            if message.deleted:
                continue
            if self._rules.max_receives and message.receives >= self._rules.max_receives:
                message.deleted = True
                self.dead.append(message)
                continue
            received.append(self._take(message, now))
        # Only now: nothing comes twice to one receiver at a time.
        self._visible += [each.message for each in received if self._rules.comes_twice()]
        if received:
            self._count += 1
            heapq.heappush(self._hidden, (now + self._rules.visibility_s, self._count, received))
        return received

    def is_waiting(self, now: float) -> bool:
        """See ``Source``."""
        self._return(now)
        return bool(self._visible)

    def delete(self, received: Received) -> bool:
        """See ``Source``."""
        message = received.message
        if message.deleted or message.receives != received.receipt:
            return False
        message.deleted = True
        return True

    def put_back(self, received: Sequence[Received], now: float) -> set[float]:
        """See ``Source``. Nothing is done: each stays hidden until its time is over, as those do that the poller leaves alone."""
        return {max(now, each.until) for each in received}

    def _take(self, message: Message, now: float) -> Received:
        message.receives += 1
        return Received(message, message.receives, now + self._rules.visibility_s)

    def _return(self, now: float) -> None:
        """Show what has been hidden for long enough and has not been deleted or received once more."""
        while self._hidden and self._hidden[0][0] <= now:
            for message, receipt, _ in heapq.heappop(self._hidden)[2]:
                if not message.deleted and message.receives == receipt:
                    self._visible.append(message)


class Backlog:
    """What Step Functions or S3 Batch Operations work off: an item that fails is tried again after a wait of its own."""

    def __init__(self, waits_s: Sequence[float]) -> None:
        """Try an item again after each of ``waits_s``, then give it up."""
        self.dead: list[Message] = []
        self._waits_s = tuple(waits_s)
        self._ready: deque[Message] = deque()
        self._later: list[tuple[float, int, Message]] = []
        self._count = 0

    def send(self, message: Message) -> None:
        """See ``Source``."""
        self._ready.append(message)

    def receive(self, most: int, now: float) -> list[Received]:
        """See ``Source``."""
        self._return(now)
        taken = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        for message in taken:
            message.receives += 1
        return [Received(message, message.receives) for message in taken]

    def is_waiting(self, now: float) -> bool:
        """See ``Source``."""
        self._return(now)
        return bool(self._ready)

    def delete(self, received: Received) -> bool:
        """See ``Source``."""
        received.message.deleted = True
        return True

    def put_back(self, received: Sequence[Received], now: float) -> set[float]:
        """See ``Source``."""
        return {self._put_off(each.message, now) for each in received}

    def _put_off(self, message: Message, now: float) -> float:
        if message.receives > len(self._waits_s):
            self.dead.append(message)
            return now
        until = now + self._waits_s[message.receives - 1]
        self._count += 1
        heapq.heappush(self._later, (until, self._count, message))
        return until

    def _return(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])


def fill(source: Source, things: Iterable[int]) -> None:
    """Send one message for each object."""
    for thing in things:
        source.send(Message(thing))
