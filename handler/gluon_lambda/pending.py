"""Calls that another thread makes, and waiting for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Pending(Generic[T]):
    """A call that another thread makes."""

    def __init__(self, call: Callable[..., T], *args: Any) -> None:
        self._call, self._args = call, args
        self._value: Any = None
        self._error: BaseException | None = None
        self._has_ended = False
        self._running = threading.Lock()
        self._running.acquire()

    def run(self) -> None:
        """Make the call; to be called once, by the thread whose work it is."""
        with self:
            self._value = self._call(*self._args)
        # An error's traceback keeps the frames that it went through: one that knew of this object, which knows the error, would keep all three,
        # and what the call was given, until garbage is collected.
        del self

    def __enter__(self) -> None:
        """Begin the call."""

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        """End it: whatever it raised belongs to whoever waits, not to the thread that made it."""
        self._error, self._has_ended = error, True
        # What it was given may be large (an image, an archive), and whoever waits may keep this for long.
        del self._call, self._args
        self._running.release()
        return True

    def wait(self, seconds: float = -1) -> bool:
        """Wait for the call's end, for so long at most (-1: as long as it takes); whether it has ended."""
        if not self._has_ended and self._running.acquire(timeout=seconds):
            self._running.release()
        return self._has_ended

    @property
    def error(self) -> BaseException | None:
        """What the call raised; None where it has returned, or not ended yet."""
        return self._error

    def result(self) -> T:
        """Wait for the call's end and return what it returned, or raise what it raised."""
        self.wait()
        error = self._error
        if error is not None:
            try:
                raise error
            finally:
                del self, error  # as above
        value: T = self._value
        return value


def begin(name: str, call: Callable[..., T], *args: Any) -> Pending[T]:
    """Make a call in a thread of its own, called ``name``."""
    pending = Pending(call, *args)
    threading.Thread(target=pending.run, name=name, daemon=True).start()
    return pending
