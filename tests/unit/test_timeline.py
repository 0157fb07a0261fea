"""What INIT tells of its time."""

from __future__ import annotations

import threading
import time

import pytest

from gluon_lambda.pending import begin
from gluon_lambda.telemetry.timeline import Timeline


@pytest.fixture
def started() -> float:
    return time.perf_counter()


def test_phases_of_several_threads_overlap_and_keep_their_thread(started: float) -> None:
    timeline, both = Timeline(started), threading.Barrier(2)

    def work() -> None:
        with timeline.phase("work", "small"):
            both.wait()  # both are in it at once
            both.wait()

    other = begin("models", work)
    with timeline.phase("imports"):
        both.wait()
        both.wait()
    other.result()
    spans = {span["phase"]: span for span in timeline.record()["timeline"]}
    assert (spans["work"]["thread"], spans["imports"]["thread"]) == ("models", threading.current_thread().name)
    assert max(span["start_ms"] for span in spans.values()) <= min(span["end_ms"] for span in spans.values())


def test_durations_are_summed_by_phase_and_the_total_is_from_the_start() -> None:
    started = time.perf_counter()
    timeline = Timeline(started - 100)
    timeline.add("open", started - 2, "a")
    timeline.add("open", started - 1, "b")
    timeline.add("dlopen", started - 50)
    durations = timeline.durations()
    assert list(durations) == ["open", "dlopen", "total"]
    assert durations["open"] == pytest.approx(3_000, abs=900)
    assert durations["dlopen"] == pytest.approx(50_000, abs=900)
    assert durations["total"] == pytest.approx(100_000, abs=900)


def test_the_record_has_the_spans_in_the_order_of_their_start_and_the_model_only_where_there_is_one() -> None:
    started = time.perf_counter() - 100
    timeline = Timeline(started)
    timeline.add("second", started + 20, "small")
    timeline.add("first", started + 10)
    record = timeline.record()
    assert set(record) == {"init", "timeline", "startedAt"}
    assert record["startedAt"] == round(started, 6)
    first, second = record["timeline"]
    assert first == {"phase": "first", "start_ms": 10_000.0, "end_ms": first["end_ms"], "thread": first["thread"]}
    assert (second["phase"], second["model"], second["start_ms"]) == ("second", "small", 20_000.0)
    assert set(record["init"]) == {"first", "second", "total"}


def test_a_phase_that_fails_is_noted_too(started: float) -> None:
    timeline = Timeline(started)
    with pytest.raises(ValueError, match="x"), timeline.phase("fails"):
        raise ValueError("x")
    assert [span["phase"] for span in timeline.record()["timeline"]] == ["fails"]


def test_what_comes_after_it_was_closed_is_not_noted(started: float) -> None:
    timeline = Timeline(started)
    timeline.close()
    with timeline.phase("open", "a model of the store"):
        pass
    assert timeline.record()["timeline"] == []
