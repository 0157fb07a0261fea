"""When to stop: before the time that is left is too short for the next piece of work and for storing what is finished."""

from __future__ import annotations

from collections.abc import Callable

# Kept for storing what is finished and for handing the rest on; Lambda would end the sandbox in the middle of it.
RESERVE_MS = 2000
# So much of what was measured last counts in the running estimate.
_SHARE_OF_LAST = 0.3
# A piece may take so many times the estimate.
_MARGIN = 3


class Deadline:
    """Knows how long pieces of work take, and whether there is time for another one."""

    def __init__(self, remaining_ms: Callable[[], int], *, reserve_ms: int = RESERVE_MS) -> None:
        """Ask ``remaining_ms`` for the milliseconds that are left, and keep ``reserve_ms`` of them."""
        self.remaining_ms = remaining_ms
        self._reserve_ms = reserve_ms
        self._estimate_ms = 0.0

    def note(self, milliseconds: float) -> None:
        """Note how long a piece took. One that took longer than the estimate counts in full: large rows come in groups."""
        share = 1.0 if milliseconds > self._estimate_ms else _SHARE_OF_LAST
        self._estimate_ms += share * (milliseconds - self._estimate_ms)

    def has_time(self) -> bool:
        """Whether there is time for another piece."""
        return self.remaining_ms() > self._reserve_ms + _MARGIN * self._estimate_ms
