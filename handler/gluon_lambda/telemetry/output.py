"""The one place that writes to stdout: one JSON line a record, and what others print turned into such lines.

Lambda takes each line of stdout and stderr for a log record. libmxnet writes lines of its own (``MXNet start using engine: …``), and so may an
archive's code; while such code runs, both descriptors lead to a file in memory, whose lines then become records with a request id like any
other. No thread: it is two system calls before, and two and a look at the file's size after.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Record = dict[str, Any]
_STDOUT, _STDERR = 1, 2
# A record that CloudWatch would cut (256 KB an event) is cut here, so that what is left is still JSON.
_LONGEST_MESSAGE = 100_000


class Output:
    """Where records go; the descriptors of stdout and stderr are kept so that they can be lent out and taken back."""

    def __init__(self) -> None:
        """Keep duplicates of the process's stdout and stderr, and open the file in memory."""
        self._stdout, self._stderr = os.dup(_STDOUT), os.dup(_STDERR)
        self._caught = os.memfd_create("stdout-and-stderr")

    def write(self, record: Record) -> None:
        """Write ``record`` as one JSON line."""
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":"), default=str)
        _write_all(self._stdout, line.encode("utf-8", "backslashreplace") + b"\n")

    @contextmanager
    def catch(self, report: Callable[[str], None]) -> Iterator[None]:
        """While the body runs, hold back what is written to stdout and stderr; then hand it to ``report`` line by line."""
        _flush_python_streams()
        os.dup2(self._caught, _STDOUT)
        os.dup2(self._caught, _STDERR)
        try:
            yield
        finally:
            _flush_python_streams()
            os.dup2(self._stdout, _STDOUT)
            os.dup2(self._stderr, _STDERR)
            for line in self._take_lines():
                report(line[:_LONGEST_MESSAGE])

    def _take_lines(self) -> list[str]:
        size = os.lseek(self._caught, 0, os.SEEK_CUR)
        if size == 0:
            return []
        text = os.pread(self._caught, size, 0).decode(errors="replace")
        os.ftruncate(self._caught, 0)
        os.lseek(self._caught, 0, os.SEEK_SET)
        return [line for line in text.splitlines() if line.strip()]


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _flush_python_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
