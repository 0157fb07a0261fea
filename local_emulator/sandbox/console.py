"""Where the log goes: the terminal, and the last 4 KB of the invocation for its caller (``X-Amz-Log-Type: Tail``)."""

from __future__ import annotations

import sys
import threading
from typing import BinaryIO

_TAIL_BYTES = 4096


def terminal() -> BinaryIO:
    """Stderr without Python's buffer.

    A thread that is writing into the buffer when the process ends holds its lock for ever, and Python aborts.
    """
    return open(sys.stderr.fileno(), "wb", buffering=0, closefd=False)


class Console:
    """A stream that sandboxes write log lines to, whole and in order."""

    # One for all of them: several sandboxes share a stream.
    _lock = threading.Lock()

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._tail = bytearray()

    def line(self, text: str) -> None:
        """Write one line of the emulator's own."""
        self.write(text.encode(errors="replace") + b"\n")

    def write(self, output: bytes) -> None:
        """Write what a runtime printed."""
        with self._lock:
            self._tail = (self._tail + output)[-_TAIL_BYTES:]
            rest = memoryview(output)
            try:
                while written := self._stream.write(rest):
                    rest = rest[written:]
                self._stream.flush()
            except (OSError, ValueError):
                return  # nobody reads the terminal any more; the function has to go on all the same

    def begin_tail(self) -> None:
        """Forget what was kept: an invocation begins."""
        with self._lock:
            self._tail = bytearray()

    def tail(self) -> bytes:
        """What was written since ``begin_tail``, its last 4 KB."""
        with self._lock:
            return bytes(self._tail)
