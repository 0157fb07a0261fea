"""One runtime process: started in a process group of its own, its output passed on, its end noticed, all of it killed together."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping

from local_emulator.sandbox.console import Console


class RuntimeProcess:
    """``python -m awslambdaric <handler>`` and whatever it starts."""

    def __init__(
        self,
        handler: str,
        *,
        folder: str,
        environment: Mapping[str, str],
        console: Console,
        on_exit: Callable[[], None],
    ) -> None:
        self._console = console
        self._output, write_end = os.pipe()
        os.set_blocking(self._output, False)
        self._draining = threading.Lock()
        self._at_end = False
        self._peak_mb = 0
        # -u, as Lambda's own bootstrap runs Python: what is printed before a crash is in the log.
        command = [sys.executable, "-u", "-m", "awslambdaric", handler]
        # A session of its own: Ctrl-C at the terminal is the emulator's to handle, and one kill reaches every descendant.
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            start_new_session=True,
        )
        os.close(write_end)
        threading.Thread(target=self._watch, args=(on_exit,), daemon=True).start()
        threading.Thread(target=self._pump, daemon=True).start()

    def kill(self) -> None:
        """Kill the whole process group and wait for its leader."""
        # The group can outlive its leader, and it is gone when nothing is left to kill.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def drain(self) -> None:
        """Pass on everything that was printed until now, so that it comes before END."""
        # Under the lock the descriptor is either ours or gone: a number that was closed may be another file's by now.
        with self._draining, contextlib.suppress(BlockingIOError):
            while not self._at_end and (output := os.read(self._output, 65_536)):
                self._console.write(output)

    def exit_reason(self) -> str:
        """How the process ended, in Lambda's words."""
        code = self._process.wait()
        if code == 0:
            return "Runtime exited without providing a reason"
        if code < 0:
            return f"Runtime exited with error: signal: {(signal.strsignal(-code) or str(-code)).lower()}"
        return f"Runtime exited with error: exit status {code}"

    def peak_memory_mb(self) -> int:
        """The largest resident size that the process has had, in MB; once it is gone, what was last seen of it."""
        self._peak_mb = max(self._peak_mb, self._high_water_mark())
        return self._peak_mb

    def _high_water_mark(self) -> int:
        # Not getrusage: its maximum counts the emulator's own size, from between fork and exec.
        try:
            with open(f"/proc/{self._process.pid}/status", encoding="ascii", errors="replace") as status:
                match = re.search(r"^VmHWM:\s+(\d+) kB", status.read(), re.MULTILINE)
        except OSError:
            return 0
        return -(-int(match[1]) // 1024) if match else 0

    def _watch(self, on_exit: Callable[[], None]) -> None:
        self._process.wait()
        on_exit()

    def _pump(self) -> None:
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        while True:
            events = poll.poll()
            self.drain()
            if not events[0][1] & select.POLLIN:
                break  # every writer has closed its end
        with self._draining:
            self._at_end = True
            os.close(self._output)
