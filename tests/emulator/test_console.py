"""The console, where the process ends while somebody is still writing."""

from __future__ import annotations

import os
import subprocess
import sys

from local_emulator.sandbox.console import Console
from tests.conftest import ROOT

# Nobody reads the pipe: the thread stands amid its write when the process ends.
_ENDS_AMID_A_WRITE = """
import sys, threading, time
from local_emulator.sandbox.console import Console, terminal
console = Console(terminal())
threading.Thread(target=console.write, args=(bytes(1 << 20),), daemon=True).start()
time.sleep(0.3)
sys.exit(7)
"""


def test_a_process_that_ends_while_a_sandbox_is_being_heard_ends_as_it_would() -> None:
    # With Python's buffer around stderr it aborts, or stands still with its pipe full.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", _ENDS_AMID_A_WRITE]
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE)
    try:
        assert process.wait(20) == 7
    finally:
        process.kill()
        process.communicate()


class Halting:
    """A stream that takes three bytes at a time."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, content: memoryview) -> int:
        self.taken += content[:3]
        return min(len(content), 3)

    def flush(self) -> None:
        """Nothing is held back."""


def test_what_a_stream_takes_in_parts_arrives_whole() -> None:
    stream = Halting()
    Console(stream).line("one line of the log")  # type: ignore[arg-type]
    assert stream.taken == b"one line of the log\n"
