"""What INIT does when: phases with their start and end, in whichever thread they run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Span(NamedTuple):
    """One phase of INIT.

    Attributes:
        phase: What was done.
        model: For which model; ``""`` where for all of them.
        start: When it began, in seconds of ``time.perf_counter``.
        end: When it ended.
        thread: The thread that did it.
    """

    phase: str
    model: str
    start: float
    end: float
    thread: str


class Timeline:
    """Takes the spans of INIT; several threads write into it."""

    def __init__(self, started: float) -> None:
        """Begin at ``started``, in seconds of ``time.perf_counter``."""
        self._started = started
        self._spans: list[Span] = []
        self.is_closed = False

    @contextmanager
    def phase(self, name: str, model: str = "") -> Iterator[None]:
        """Note how long the body takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, start, model)

    def add(self, phase: str, start: float, model: str = "") -> None:
        """Note a phase that began at ``start`` and ends now; not once this is closed."""
        if not self.is_closed:
            self._spans.append(Span(phase, model, start, time.perf_counter(), threading.current_thread().name))

    def close(self) -> None:
        """Take no more: what a process does later on, as often as it may, is not INIT."""
        self.is_closed = True

    def durations(self) -> dict[str, float]:
        """Milliseconds by phase, all models' together. Phases overlap, so their sum says nothing; ``total`` is from the start to now."""
        milliseconds: dict[str, float] = {}
        for span in self._spans:
            milliseconds[span.phase] = milliseconds.get(span.phase, 0.0) + (span.end - span.start) * 1000
        total = (time.perf_counter() - self._started) * 1000
        return {name: round(value, 3) for name, value in {**milliseconds, "total": total}.items()}

    def record(self) -> dict[str, Any]:
        """The fields for the log: ``init`` (durations), ``timeline`` (start and end since the start, in ms) and ``startedAt``.

        The latter is in seconds of CLOCK_MONOTONIC, so that whoever started the process can put both on one axis.
        """
        spans = sorted(self._spans, key=lambda span: span.start)
        return {
            "init": self.durations(),
            "timeline": [self._entry(span) for span in spans],
            "startedAt": round(self._started, 6),
        }

    def _entry(self, span: Span) -> dict[str, Any]:
        return {
            "phase": span.phase,
            **({"model": span.model} if span.model else {}),
            "start_ms": round((span.start - self._started) * 1000, 3),
            "end_ms": round((span.end - self._started) * 1000, 3),
            "thread": span.thread,
        }
