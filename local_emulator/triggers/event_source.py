"""What Lambda asks of an event source mapping before it makes one, and what it recommends.

AWS: "Using Lambda with Amazon SQS" (queue and function), "Lambda parameters for Amazon SQS event source mappings".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from local_emulator.errors import UsageError
from local_emulator.triggers.poller import Polling
from local_emulator.triggers.queue import QueueFacts

_MOST_WITHOUT_WINDOW = 10
# AWS's advice: six times the function's timeout, and the window, so that a throttled batch can be tried again while it is hidden.
_TIMEOUTS_HIDDEN = 6


def check_mapping(queue: QueueFacts, polling: Polling, timeout_seconds: float) -> None:
    """Refuse what Lambda refuses.

    Raises:
        UsageError: Batch size or window are not for this queue, or messages become visible again while the function may still have them.
    """
    if queue.is_fifo and (polling.batch_size > _MOST_WITHOUT_WINDOW or polling.window_seconds):
        raise UsageError(f"of a FIFO queue, a batch has {_MOST_WITHOUT_WINDOW} messages at most, and no --window")
    if polling.batch_size > _MOST_WITHOUT_WINDOW and polling.window_seconds < 1:
        raise UsageError(f"a --batch-size over {_MOST_WITHOUT_WINDOW} needs a --window of 1 second or more")
    if queue.visibility_seconds < timeout_seconds:
        raise UsageError(
            f"the visibility timeout of {queue.name} is {queue.visibility_seconds} seconds, less than the function's timeout of "
            f"{timeout_seconds:g}: every slow message would come twice"
        )


def remarks(queue: QueueFacts, polling: Polling, timeout_seconds: float) -> Iterator[str]:
    """What works and is not wise."""
    advised = _TIMEOUTS_HIDDEN * timeout_seconds + polling.window_seconds
    if queue.visibility_seconds < advised:
        yield (
            f"the visibility timeout of {queue.name} is {queue.visibility_seconds} seconds; AWS advises {advised:g}, "
            f"{_TIMEOUTS_HIDDEN} times the function's timeout"
        )
    if not queue.dead_letter_arn:
        yield f"{queue.name} has no dead-letter queue: a message that always fails comes again until SQS forgets it"


class Quiet:
    """Whether there has been nothing to do for a while, as it is seen by who asks again and again."""

    def __init__(
        self, is_idle: Callable[[], bool], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._is_idle = is_idle
        self._seconds = seconds
        self._clock = clock
        self._since: float | None = None

    def __call__(self) -> bool:
        """Ask now."""
        if not self._is_idle():
            self._since = None
            return False
        if self._since is None:
            self._since = self._clock()
        return self._clock() - self._since >= self._seconds
