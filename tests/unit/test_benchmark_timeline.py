"""A cold start on one axis: what the caller waits for is whole, and nothing is counted twice."""

from __future__ import annotations

import pytest

from benchmarks.timeline import (
    AFTER,
    BEFORE,
    MAIN,
    UNREPORTED,
    Span,
    critical_path,
    durations,
    median_spans,
    other_threads,
    read_spans,
    tidied,
)


def as_phases(spans: tuple[Span, ...]) -> list[tuple[str, float, float]]:
    """Phase, start and end of each."""
    return [(span.phase, span.start_ms, span.end_ms) for span in spans]


def test_durations_alone_are_a_straight_line_that_ends_with_init() -> None:
    spans = read_spans({"init": {"numpy": 50, "load": 20.0, "note": "x"}}, process_started=3.0, init_ms=100.0)
    assert as_phases(spans) == [("numpy", 30.0, 80.0), ("load", 80.0, 100.0)]


def test_a_timeline_is_put_on_the_axis_of_whoever_started_the_process() -> None:
    record = {
        "init": {"imports": 1.0, "total": 9.0},
        "startedAt": 12.5,
        "timeline": [
            {"phase": "imports", "start_ms": 0.0, "end_ms": 10.0, "thread": "MainThread"},
            {"phase": "open", "model": "cat", "start_ms": 5.0, "end_ms": 7.0, "thread": "models"},
        ],
    }
    imports, opened = read_spans(record, process_started=12.46, init_ms=99.0)
    assert (imports.thread, opened.thread, opened.model) == (MAIN, "models", "cat")
    assert (imports.start_ms, opened.end_ms) == pytest.approx((40.0, 47.0))


def test_what_no_one_reported_is_named_and_the_path_has_neither_gap_nor_overlap() -> None:
    spans = [Span("numpy", 30, 60), Span("load", 80, 95), Span("dlopen", 10, 90, "engine")]
    path = critical_path(spans, init_ms=100, total_ms=130)
    assert as_phases(path) == [
        (BEFORE, 0, 30), ("numpy", 30, 60), (UNREPORTED, 60, 80), ("load", 80, 95), (UNREPORTED, 95, 100),
        (AFTER, 100, 130),
    ]  # fmt: skip
    assert sum(durations(path).values()) == 130


def test_of_phases_within_one_another_the_inner_one_counts_and_the_outer_one_around_it() -> None:
    spans = [Span("service", 10, 60), Span("load", 20, 50), Span("parse", 20, 30)]
    path = critical_path(spans, init_ms=60, total_ms=60)
    assert as_phases(path)[1:-1] == [("service", 10, 20), ("parse", 20, 30), ("load", 30, 50), ("service", 50, 60)]
    assert durations(path)["service"] == 20


def test_a_handler_that_reports_nothing_has_a_path_all_the_same() -> None:
    assert as_phases(critical_path([], init_ms=80, total_ms=90)) == [(BEFORE, 0, 80), (AFTER, 80, 90)]


def test_phases_that_run_on_behind_init_are_cut_where_the_first_invocation_begins() -> None:
    path = critical_path([Span("load", 50, 120)], init_ms=100, total_ms=130)
    assert as_phases(path) == [(BEFORE, 0, 50), ("load", 50, 100), (AFTER, 100, 130)]


def test_cracks_between_two_looks_at_the_clock_are_no_phases() -> None:
    path = critical_path([Span("numpy", 0, 50), Span("load", 50.01, 80)], init_ms=80, total_ms=80)
    assert [span.phase for span in path] == ["numpy", "load", AFTER]


def test_medians_are_of_each_phases_start_and_end_and_phases_that_come_twice_are_told_apart() -> None:
    runs = [
        [Span("wait", 0, 10 + shift), Span("load", 10, 20 + shift, "models", "cat"), Span("wait", 30, 40)]
        for shift in (0, 1, 50)
    ]
    assert as_phases(median_spans(runs)) == [("wait", 0, 11), ("wait", 30, 40), ("load", 10, 21)]


def test_models_loaded_one_after_the_other_are_two_phases() -> None:
    runs = [[Span("load", 0, 5, "models", "cat"), Span("load", 5, 9, "models", "dog")]] * 3
    assert [span.model for span in median_spans(runs)] == ["cat", "dog"]


def test_the_main_thread_comes_first_and_the_others_have_lanes() -> None:
    spans = median_spans([[Span("dlopen", 1, 2, "engine"), Span("imports", 3, 4), Span("open", 0, 9, "models")]])
    assert [span.phase for span in spans] == ["imports", "dlopen", "open"]
    assert list(other_threads(spans)) == ["engine", "models"]


def test_for_people_neighbours_are_joined_and_what_cannot_be_seen_is_left_out() -> None:
    spans = [Span("codecs", 0, 1), Span("codecs", 1.1, 5), Span("wait", 5, 5.01), Span("codecs", 9, 12, model="cat")]
    assert as_phases(tidied(spans)) == [("codecs", 0, 5), ("codecs", 9, 12)]
