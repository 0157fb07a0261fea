"""Work in a thread of its own, whose result or error is taken by whoever asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """A call that runs in a thread of its own, whatever becomes of the thread that began it."""

    def __init__(self, call: Callable[[], T], *, name: str) -> None:
        """Begin.

        Args:
            call: What to do.
            name: The thread's, for whoever looks at a stuck process.
        """
        self._call = call
        self._returned: list[T] = []
        self._raised = Raised()
        # A daemon: a fetch that hangs does not keep a process that wants to end.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        """Whether ``result`` would not wait."""
        return not self._thread.is_alive()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait, so long at most; returns whether it is done."""
        self._thread.join(seconds)
        return self.is_done()

    def result(self) -> T:
        """What the call returned; waits for it. What it raised is raised here."""
        self._thread.join()
        if self._raised.error:
            raise self._raised.error
        return self._returned[0]

    def _run(self) -> None:
        with self._raised:
            self._returned.append(self._call())


class Raised:
    """Takes what is raised inside its block, to be raised in another thread: handed over, not handled.

    Attributes:
        error: What was raised.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        return True
