"""Simulated sandboxes, how fast Lambda may add them, and how many batches a trigger has under way.

Rules: AWS Lambda Developer Guide, "Lambda scaling behavior" (1,000 new sandboxes in 10 seconds for each function, refilled all the time, never
saved up) and "Configuring scaling behavior for SQS event source mappings".
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

SCALING_RATE = 1000
SCALING_SECONDS = 10.0


class FleetRules(NamedTuple):
    """How a function is set.

    Attributes:
        limit: The most sandboxes that it may have: its reserved concurrency, or what the account has left (1,000 by default).
        idle_s: How long a sandbox that nobody asks is kept. AWS does not say; it is an assumption.
        rate: How many sandboxes may be added in ``SCALING_SECONDS``.
    """

    limit: int = 1000
    idle_s: float = 600.0
    rate: int = SCALING_RATE


class State(Enum):
    """What a sandbox has done when it is asked."""

    COLD = "nothing: it has to be started"
    STARTED = "its INIT"
    WARM = "invocations"


class Fleet:
    """The sandboxes of one function. Time only moves on from call to call."""

    def __init__(self, rules: FleetRules) -> None:
        self.cold_starts = 0
        self.busy = 0
        self.most_busy = 0
        self._rules = rules
        # When each was used last, ascending: the one that was used last is asked first, as Lambda seems to do.
        self._idle: list[tuple[float, State]] = []
        self._allowance = float(rules.rate)
        self._allowed_at = 0.0

    def start_ahead(self, count: int, now: float) -> None:
        """Start sandboxes before anything is asked, as the local poller does with its first one."""
        self.cold_starts += count
        self._idle += [(now, State.STARTED)] * count

    def take(self, now: float) -> State | None:
        """Take a sandbox, a new one where none is free; None where there may be no more: throttled."""
        self._retire(now)
        if self._idle:
            return self._taken(self._idle.pop()[1])
        self._refill(now)
        if self.busy >= self._rules.limit or self._allowance < 1:
            return None
        self._allowance -= 1
        self.cold_starts += 1
        return self._taken(State.COLD)

    def give_back(self, now: float, *, is_alive: bool = True) -> None:
        """A sandbox has answered, or has ended with its invocation."""
        self.busy -= 1
        if is_alive:
            self._idle.append((now, State.WARM))

    def _taken(self, state: State) -> State:
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        return state

    def _retire(self, now: float) -> None:
        if self._idle and now - self._idle[0][0] > self._rules.idle_s:
            self._idle = [each for each in self._idle if now - each[0] <= self._rules.idle_s]

    def _refill(self, now: float) -> None:
        more = (now - self._allowed_at) * self._rules.rate / SCALING_SECONDS
        self._allowance = min(float(self._rules.rate), self._allowance + more)
        self._allowed_at = now


class Scaling(NamedTuple):
    """How many batches a trigger has under way.

    Attributes:
        first: At the beginning, and again when nothing is left.
        step: How many are added each time ``every_s`` is over and messages are left; all of them at once, which is the slowest reading of
            what AWS says.
        every_s: How often.
        most: In the end.
    """

    first: int
    step: int
    every_s: float
    most: int

    def after(self, allowed: int, *, is_waiting: bool) -> int:
        """How many are allowed from now on, where ``allowed`` have been."""
        return min(self.most, allowed + self.step) if is_waiting else min(self.first, self.most)


def fixed(count: int) -> Scaling:
    """As many from beginning to end."""
    return Scaling(count, 0, 60.0, count)


# Standard mode: five at first, up to 300 more each minute, 1,250 at most. A maximum concurrency (2 to 1,000) replaces ``most``.
SQS_STANDARD = Scaling(5, 300, 60.0, 1250)


def sqs_provisioned(least_pollers: int, most_pollers: int) -> Scaling:
    """Provisioned mode: ten batches for each poller at most, up to 1,000 more each minute."""
    return Scaling(10 * least_pollers, 1000, 60.0, min(10 * most_pollers, 20_000))
