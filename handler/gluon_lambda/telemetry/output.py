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
from contextlib import contextmanager, suppress
from typing import Any, TextIO

Record = dict[str, Any]
_STDOUT, _STDERR = 1, 2
# A record that CloudWatch would cut (256 KB an event) is cut here, so that what is left is still JSON: a message and a traceback may both
# quote what an archive's code printed or a client sent.
_LONGEST_TEXT = 60_000


class Output:
    """Where records go; the descriptors of stdout and stderr are kept so that they can be lent out and taken back."""

    def __init__(self) -> None:
        """Keep duplicates of the process's stdout and stderr, and open the file in memory."""
        self._stdout, self._stderr = os.dup(_STDOUT), os.dup(_STDERR)
        self._caught = os.memfd_create("stdout-and-stderr")

    def write(self, record: Record) -> None:
        """Write ``record`` as one JSON line, texts that are longer than CloudWatch takes cut off."""
        kept = {name: value[:_LONGEST_TEXT] if isinstance(value, str) else value for name, value in record.items()}
        line = json.dumps(kept, ensure_ascii=False, separators=(",", ":"), default=str)
        _write_all(self._stdout, line.encode("utf-8", "backslashreplace") + b"\n")

    @contextmanager
    def catch(self, report: Callable[[str], None]) -> Iterator[None]:
        """While the body runs, hold back what is written to stdout and stderr; then hand it to ``report`` line by line."""
        _flush_python_streams()
        streams = sys.stdout, sys.stderr
        os.dup2(self._caught, _STDOUT)
        os.dup2(self._caught, _STDERR)
        try:
            yield
        finally:
            _flush_python_streams()
            os.dup2(self._stdout, _STDOUT)
            os.dup2(self._stderr, _STDERR)
            sys.stdout, sys.stderr = _usable(streams[0], _STDOUT), _usable(streams[1], _STDERR)
            for line in self._take_lines():
                report(line)

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


def _usable(stream: TextIO, descriptor: int) -> TextIO:
    """The stream, or a new one where an archive's code has closed it: awslambdaric writes to it, and would end the process."""
    closed = stream is not None and stream.closed
    return open(descriptor, "w", errors="backslashreplace", closefd=False) if closed else stream


def _flush_python_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        # An archive's code may have closed them, or put something of its own in their place.
        with suppress(ValueError, OSError, AttributeError):
            stream.flush()
