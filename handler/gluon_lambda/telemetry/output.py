"""The one place that writes to stdout: one JSON line a record, and what others print turned into such lines.

Lambda takes each line of stdout and stderr for a log record. libmxnet writes lines of its own (``MXNet start using engine: …``), and so may an
archive's code; while such code runs, both descriptors lead to a file in memory, whose lines then become records with a request id like any
other. No thread: it is two system calls before, and two and a look at the file's size after.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

Record = dict[str, Any]
_STDOUT, _STDERR = 1, 2
# A record that CloudWatch would cut (256 KB an event) is cut here, so that what is left is still JSON: a message and a traceback may both
# quote what an archive's code printed or a client sent.
_LONGEST_TEXT = 60_000
# Made once: json.dumps makes an encoder for each call.
to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


class Output:
    """Where records go; the descriptors of stdout and stderr are kept so that they can be lent out and taken back."""

    def __init__(self) -> None:
        """Keep duplicates of the process's stdout and stderr, and open the file in memory."""
        self._stdout, self._stderr = os.dup(_STDOUT), os.dup(_STDERR)
        self._caught = os.memfd_create("stdout-and-stderr")

    def write(self, record: Record, *, begins: str = "") -> None:
        """Write ``record`` as one JSON line, texts that are longer than CloudWatch takes cut off.

        Args:
            record: Its members, at least one.
            begins: Members that stand before them, as JSON with a comma behind each: what is the same every time need not be encoded again.
        """
        line = to_json(record)
        if len(line) > _LONGEST_TEXT:
            line = to_json(
                {name: value[:_LONGEST_TEXT] if isinstance(value, str) else value for name, value in record.items()}
            )
        _write_all(self._stdout, f"{{{begins}{line[1:]}\n".encode("utf-8", "backslashreplace"))

    def catch(self, report: Callable[[str], None]) -> Catching:
        """While the body runs, hold back what is written to stdout and stderr; then hand it to ``report`` line by line."""
        return Catching(self, report)

    def lend(self) -> None:
        """Let both descriptors lead to the file in memory."""
        _flush(sys.stdout, sys.stderr)
        os.dup2(self._caught, _STDOUT)
        os.dup2(self._caught, _STDERR)

    def take_back(self) -> list[str]:
        """Let them lead where they led; returns the lines that were written meanwhile."""
        _flush(sys.stdout, sys.stderr)
        os.dup2(self._stdout, _STDOUT)
        os.dup2(self._stderr, _STDERR)
        return self._take_lines()

    def _take_lines(self) -> list[str]:
        size = os.lseek(self._caught, 0, os.SEEK_CUR)
        if size == 0:
            return []
        text = os.pread(self._caught, size, 0).decode(errors="replace")
        os.ftruncate(self._caught, 0)
        os.lseek(self._caught, 0, os.SEEK_SET)
        return [line for line in text.splitlines() if line.strip()]


class Catching:
    """The context of ``Output.catch``. No generator: this is on the way of every request."""

    def __init__(self, output: Output, report: Callable[[str], None]) -> None:
        """Hand what ``output`` catches to ``report``."""
        self._output = output
        self._report = report

    def __enter__(self) -> None:
        self._streams = sys.stdout, sys.stderr
        self._output.lend()

    def __exit__(self, *_error: object) -> None:
        lines = self._output.take_back()
        sys.stdout, sys.stderr = self._streams
        if _is_closed(sys.stdout) or _is_closed(sys.stderr):
            sys.stdout, sys.stderr = _usable(sys.stdout, _STDOUT), _usable(sys.stderr, _STDERR)
        for line in lines:
            self._report(line)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _usable(stream: TextIO, descriptor: int) -> TextIO:
    """A new stream in the place of one that an archive's code has closed: awslambdaric writes to it, and would end the process."""
    return open(descriptor, "w", errors="backslashreplace", closefd=False) if _is_closed(stream) else stream


def _is_closed(stream: TextIO | None) -> bool:
    return stream is not None and stream.closed


def _flush(*streams: TextIO) -> None:
    for stream in streams:
        # An archive's code may have closed it, or put something of its own in its place. Contextlib's suppress would take four times as long.
        try:  # noqa: SIM105
            stream.flush()
        except (ValueError, OSError, AttributeError):
            pass
