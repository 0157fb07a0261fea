"""A cold start on one axis: what ran when, on which thread, in milliseconds since the process was started."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

MAIN = "main"
# Python and awslambdaric, before the handler's first line.
BEFORE = "python, awslambdaric"
# On the main thread, between two phases that the handler reports.
UNREPORTED = "not reported"
AFTER = "first invocation"
# Shorter than this is no gap, but the clock's two looks. Milliseconds.
CRACK_MS = 0.05
# Nothing is to be seen of less in a picture of hundreds of milliseconds.
SIGHT_MS = 0.5


class Span(NamedTuple):
    """One phase of a cold start.

    Attributes:
        phase: What was done.
        start_ms: From when, since process start.
        end_ms: Until when.
        thread: On which thread; ``MAIN`` is the one that Lambda waits for.
        model: For which model; empty where for none or for all.
    """

    phase: str
    start_ms: float
    end_ms: float
    thread: str = MAIN
    model: str = ""


def read_spans(record: Mapping[str, Any], *, process_started: float, init_ms: float) -> tuple[Span, ...]:
    """The phases that a handler's INIT record reports.

    Args:
        record: With a ``timeline`` (objects with phase, start_ms, end_ms, thread and perhaps model) since ``startedAt``,
            a time of CLOCK_MONOTONIC in seconds; or only ``init``, durations of phases that followed one another and of
            which the last ended with INIT.
        process_started: When the process was started, by the same clock.
        init_ms: From then to the end of INIT.
    """
    timeline = record.get("timeline")
    if not timeline:
        return straight_line(numbers_only(record.get("init")), until=init_ms)
    shift = 1000 * (float(record["startedAt"]) - process_started)
    return tuple(span_of(entry, shift) for entry in timeline)


def numbers_only(init: object) -> dict[str, float]:
    """The phases of an ``init`` object and their milliseconds; whatever else it holds is no phase."""
    if not isinstance(init, dict):
        return {}
    return {str(name): float(value) for name, value in init.items() if isinstance(value, (int, float))}


def span_of(entry: Mapping[str, Any], shift: float) -> Span:
    """One entry of a reported timeline, ``shift`` milliseconds later."""
    thread, model = str(entry.get("thread", MAIN)), str(entry.get("model", ""))
    start, end = float(entry["start_ms"]), float(entry["end_ms"])
    return Span(str(entry["phase"]), start + shift, end + shift, MAIN if thread == "MainThread" else thread, model)


def straight_line(durations: Mapping[str, float], *, until: float) -> tuple[Span, ...]:
    """Phases that followed one another and ended at ``until``."""
    spans, end = [], until
    for phase, duration in reversed(list(durations.items())):
        spans.append(Span(phase, end - duration, end))
        end -= duration
    return tuple(reversed(spans))


def median_spans(runs: Sequence[Sequence[Span]]) -> tuple[Span, ...]:
    """The median start and end of each phase over the runs that have it, by thread and then by start.

    A phase that comes more than once on a thread is told apart by its turn.
    """
    found: dict[tuple[tuple[str, str, str], int], list[Span]] = {}
    for run in runs:
        turns: Counter[tuple[str, str, str]] = Counter()
        for span in run:
            name = (span.thread, span.phase, span.model)
            turns[name] += 1
            found.setdefault((name, turns[name]), []).append(span)
    return in_order(median_span(spans) for spans in found.values())


def in_order(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The phases by thread, the main one first, and then by start; what holds another phase comes before it."""
    return tuple(sorted(spans, key=lambda span: (span.thread != MAIN, span.thread, span.start_ms, -span.end_ms)))


def tidied(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The phases in order, for people: neighbours of one name as one, and without those too short to be seen."""
    tidy: list[Span] = []
    for span in in_order(spans):
        last = tidy[-1] if tidy else None
        if last and last[3:] + last[:1] == span[3:] + span[:1] and span.start_ms - last.end_ms < SIGHT_MS:
            tidy[-1] = last._replace(end_ms=max(last.end_ms, span.end_ms))
        else:
            tidy.append(span)
    return tuple(span for span in tidy if span.end_ms - span.start_ms >= SIGHT_MS)


def median_span(spans: Sequence[Span]) -> Span:
    """One phase's median start and end."""
    start = statistics.median(span.start_ms for span in spans)
    return spans[0]._replace(start_ms=start, end_ms=max(start, statistics.median(span.end_ms for span in spans)))


def critical_path(spans: Iterable[Span], *, init_ms: float, total_ms: float) -> tuple[Span, ...]:
    """What the caller waits for, from process start to the answer without gap or overlap: the main thread's phases.

    Where one phase holds another, the inner one counts. What nobody reported is named so; before the first phase it is
    Python and awslambdaric, and behind INIT the first invocation.
    """
    main = [span for span in spans if span.thread == MAIN]
    edges = sorted({0.0, init_ms, *(edge for span in main for edge in span[1:3] if 0 < edge < init_ms)})
    pieces = [Span(phase_at(start, end, main), start, end) for start, end in pairwise(edges)]
    return (*joined(pieces), Span(AFTER, init_ms, total_ms))


def phase_at(start: float, end: float, main: Sequence[Span]) -> str:
    """Which phase the main thread is in between two edges: of those that are open, the one that began last."""
    if not main or end <= min(span.start_ms for span in main):
        return BEFORE
    inside = [span for span in main if span.start_ms <= start and end <= span.end_ms]
    if not inside:
        return UNREPORTED
    return max(inside, key=lambda span: (span.start_ms, -span.end_ms)).phase


def joined(pieces: Iterable[Span]) -> list[Span]:
    """Neighbours of one phase as one, and cracks between two phases closed."""
    whole: list[Span] = []
    for piece in pieces:
        crack = piece.phase == UNREPORTED and piece.end_ms - piece.start_ms < CRACK_MS
        if whole and (crack or whole[-1].phase == piece.phase):
            whole[-1] = whole[-1]._replace(end_ms=piece.end_ms)
        else:
            whole.append(piece)
    return whole


def other_threads(spans: Iterable[Span]) -> dict[str, list[Span]]:
    """The phases of every thread but the main one, by thread."""
    lanes: dict[str, list[Span]] = {}
    for span in spans:
        if span.thread != MAIN:
            lanes.setdefault(span.thread, []).append(span)
    return lanes


def durations(spans: Iterable[Span]) -> dict[str, float]:
    """How long each phase took, in the order in which they began; a phase that came twice counts both times."""
    sums: dict[str, float] = {}
    for span in spans:
        sums[span.phase] = sums.get(span.phase, 0.0) + span.end_ms - span.start_ms
    return sums
