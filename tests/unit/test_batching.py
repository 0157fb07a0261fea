"""Micro-batches: fixed boundaries, order, work ahead within bounds, and a poisoned row that costs that row only."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from gluon_lambda.batch.failures import failure_fields, is_transient
from gluon_lambda.batch.micro_batches import AHEAD, Answered, answered, run_isolated
from gluon_lambda.batch_records import Row
from gluon_lambda.errors import (
    DeadlineExceeded,
    GluonLambdaError,
    InferenceError,
    InputMismatch,
    MalformedBody,
    ObjectMissing,
    ObjectRefused,
    ObjectReplaced,
    ObjectUnavailable,
    OutOfMemory,
    StoreUnavailable,
)
from gluon_lambda.runtime import openmp
from gluon_lambda.services.batching import LARGEST, USUAL, Measuring, measure_size, portions, smallest_good
from gluon_lambda.types import Part, Payload


def row(number: int, value: Any = None) -> Row:
    return Row(number, Payload((Part("body", number if value is None else value),)), name=f"row {number}")


def rows(count: int, first: int = 0) -> Iterator[Row]:
    return (row(number) for number in range(first, count))


class Doubling:
    """A model that doubles numbers, does not read negative ones, and fails on the poisonous."""

    sample = 0

    def __init__(self, *, poison: Sequence[int] = (), most: int = 64, error: type[GluonLambdaError] = InferenceError):
        self.poison, self.most, self.error = set(poison), most, error
        self.batches: list[list[int]] = []
        self.prepared: list[int] = []
        self.threads: set[threading.Thread] = set()

    def prepare(self, payload: Payload) -> Any:
        number = payload.parts[0].value
        self.prepared.append(number)
        self.threads.add(threading.current_thread())
        if number < 0:
            raise InputMismatch(f"{number} is negative")
        return number

    def run(self, rows: Sequence[Any]) -> list[Any]:
        self.batches.append(list(rows))
        self.threads.add(threading.current_thread())
        if found := self.poison & set(rows):
            raise self.error(f"poisoned by {sorted(found)}")
        return [2 * each for each in rows]


def values_of(batches: Iterator[list[Answered]]) -> list[list[Any]]:
    return [[each.value if each.error is None else type(each.error).__name__ for each in batch] for batch in batches]


def our_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name in ("rows", "decode")]


def gone(condition: Callable[[], bool]) -> bool:
    """Whether it comes to be so soon."""
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    return condition()


def test_rows_are_answered_in_order_with_their_names_and_without_their_payloads() -> None:
    done = [each for batch in answered(rows(7), Doubling(), size=3) for each in batch]

    assert [(each.row.number, each.row.name, each.value) for each in done] == [(n, f"row {n}", 2 * n) for n in range(7)]
    assert all(each.row.payload is None and each.error is None for each in done)


def test_there_may_be_no_rows() -> None:
    assert list(answered(iter(()), Doubling(), size=3)) == []


@pytest.mark.parametrize(
    ("first", "start", "expected"),
    [
        (0, 0, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]),
        (4, 4, [[4, 5, 6, 7], [8, 9]]),
        (0, 4, [[4, 5, 6, 7], [8, 9]]),
        (0, 6, [[6, 7], [8, 9]]),
        (5, 0, [[5, 6, 7], [8, 9]]),
        (8, 8, [[8, 9]]),
        (0, 10, []),
    ],
)
def test_boundaries_are_those_of_the_object_wherever_it_begins(
    first: int, start: int, expected: list[list[int]]
) -> None:
    batcher = Doubling()
    list(answered(rows(10, first), batcher, size=4, start=start))
    assert batcher.batches == expected


def test_a_row_that_cannot_be_read_is_its_own_fault() -> None:
    given = [row(0), row(1, -1), Row(2, None, MalformedBody("line 3 is no JSON")), row(3), Row(4, None)]
    batcher = Doubling()

    (done,) = answered(iter(given), batcher, size=8)

    assert [each.value for each in done] == [0, None, None, 6, None]
    assert [str(each.error) for each in done if each.error] == [
        "-1 is negative",
        "line 3 is no JSON",
        "There is nothing in the row.",
    ]
    assert batcher.batches == [[0, 3]]


def test_a_batch_of_faulty_rows_does_not_reach_the_model() -> None:
    batcher = Doubling()
    assert values_of(answered(iter([row(0, -1), row(1, -2)]), batcher, size=2)) == [["InputMismatch"] * 2]
    assert batcher.batches == []


@pytest.mark.parametrize("poison", [[0], [5], [7], [2, 3], [0, 7], range(8)])
@pytest.mark.parametrize("error", [InferenceError, OutOfMemory])
def test_a_poisonous_row_costs_that_row_only(poison: Sequence[int], error: type[GluonLambdaError]) -> None:
    (done,) = answered(rows(8), Doubling(poison=poison, error=error), size=8)

    assert {each.row.number for each in done if each.error} == set(poison)
    assert all(type(each.error) is error and str(each.row.number) in str(each.error) for each in done if each.error)
    assert [each.value for each in done if not each.error] == [2 * n for n in range(8) if n not in poison]


def test_one_poisonous_row_of_64_is_found_in_thirteen_runs_of_powers_of_two() -> None:
    batcher = Doubling(poison=[37])
    run_isolated(range(64), batcher)
    assert len(batcher.batches) == 13
    assert {len(batch) for batch in batcher.batches} == {1, 2, 4, 8, 16, 32, 64}


def test_an_error_in_a_values_place_is_that_rows() -> None:
    class Mixed(Doubling):
        def run(self, rows: Sequence[Any]) -> list[Any]:
            return [InferenceError("status 404") if each == 1 else each for each in rows]

    assert values_of(answered(rows(3), Mixed(), size=3)) == [[0, "InferenceError", 2]]


def test_a_service_of_one_input_at_a_time_gets_no_more() -> None:
    batcher = Doubling(most=1, poison=[2])
    assert values_of(answered(rows(4), batcher, size=4)) == [[0, 2, "InferenceError", 6]]
    assert batcher.batches == [[0], [1], [2], [3]]


def test_a_failed_batch_holds_on_to_none_of_its_arrays() -> None:
    """Without the garbage collector: images are large, and it comes seldom."""
    import gc
    import weakref

    class Large:
        """Stands for an array."""

    alive: list[weakref.ref[Large]] = []

    class Keeping(Doubling):
        def prepare(self, payload: Payload) -> Any:
            return payload.parts[0].value

        def run(self, rows: Sequence[Any]) -> list[Any]:
            held = Large()
            alive.append(weakref.ref(held))
            error = InferenceError("poisoned")
            raise error

    gc.disable()
    try:
        done = list(answered(rows(2), Keeping(), size=2))
    finally:
        gc.enable()
    assert [type(each.error) for each in done[0]] == [InferenceError] * 2
    assert [each() for each in alive] == [None] * 3


def test_an_object_that_breaks_off_is_answered_as_far_as_it_goes() -> None:
    def broken() -> Iterator[Row]:
        yield from rows(5)
        raise ObjectUnavailable("s3://in/a: the connection was reset")

    batches: list[list[Answered]] = []
    with pytest.raises(ObjectUnavailable, match="reset"):
        batches.extend(answered(broken(), Doubling(), size=2))
    assert values_of(iter(batches)) == [[0, 2], [4, 6], [8]]
    assert gone(lambda: not our_threads())


def test_the_model_runs_in_the_callers_thread_and_rows_are_read_in_others() -> None:
    batcher = Doubling()
    list(answered(rows(20), batcher, size=4))

    names = sorted(thread.name for thread in batcher.threads if thread is not threading.current_thread())
    assert threading.current_thread() in batcher.threads
    assert names
    assert set(names) == {"decode"}
    assert gone(lambda: not our_threads())


def test_reading_runs_ahead_of_the_model_but_not_far() -> None:
    read: list[int] = []

    def watched() -> Iterator[Row]:
        for each in rows(100):
            read.append(each.number)
            yield each

    batches = answered(watched(), Doubling(), size=4)
    for number in range(1, 6):
        next(batches)
        assert gone(lambda: len(read) == 4 * (number + AHEAD))  # noqa: B023 - called at once
    time.sleep(0.05)
    assert len(read) == 4 * (5 + AHEAD)
    batches.close()


def test_closing_early_stops_reading_and_decoding_and_closes_the_rows() -> None:
    ended: list[str] = []

    def watched() -> Iterator[Row]:
        try:
            yield from rows(1_000_000)
        finally:
            ended.append(threading.current_thread().name)

    batches = answered(watched(), Doubling(), size=4)
    assert [each.value for each in next(batches)] == [0, 2, 4, 6]
    batches.close()

    assert gone(lambda: not our_threads())
    assert ended == ["rows"]


def test_closing_does_not_wait_long_for_a_reader_that_waits_for_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gluon_lambda.batch.micro_batches._FAREWELL_SECONDS", 0.01)
    gate = threading.Event()

    def hanging() -> Iterator[Row]:
        yield from rows(4)
        gate.wait(30)
        yield from rows(8, 4)

    batches = answered(hanging(), Doubling(), size=4)
    next(batches)
    batches.close()
    assert [thread.name for thread in our_threads() if thread.name == "rows"] == ["rows"]
    gate.set()
    assert gone(lambda: not our_threads())


def test_what_was_not_given_is_computed_anew_in_the_same_batches() -> None:
    """An invocation that stops early, and the next one that goes on: together as one that does all."""
    whole, first, second = Doubling(), Doubling(), Doubling()
    everything = [each for batch in answered(rows(30), whole, size=4) for each in batch]

    begun = answered(rows(30), first, size=4)
    done = [*next(begun), *next(begun)]
    begun.close()
    done += [each for batch in answered(rows(30, len(done)), second, size=4, start=len(done)) for each in batch]

    assert done == everything
    assert first.batches + second.batches == whole.batches


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one CPU only")
def test_decoding_is_not_bound_to_the_cpu_of_the_thread_that_runs_nets() -> None:
    seen: list[set[int]] = []

    class Looking(Doubling):
        def prepare(self, payload: Payload) -> Any:
            seen.append(os.sched_getaffinity(0))
            return super().prepare(payload)

    before = os.sched_getaffinity(0)
    openmp.settle({"OMP_PROC_BIND": "true"})
    try:
        list(answered(rows(8), Looking(), size=4))
        assert os.sched_getaffinity(0) == {min(before)}
    finally:
        os.sched_setaffinity(0, before)
    assert seen == [before] * 8


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ObjectUnavailable("503"), True),
        (StoreUnavailable("503"), True),
        (OutOfMemory("1 GB"), True),
        (MemoryError(), True),
        (DeadlineExceeded("late"), True),
        (InferenceError("failed", status=503), False),
        (ObjectMissing("gone"), False),
        (ObjectReplaced("other"), False),
        (ObjectRefused("denied"), False),
        (MalformedBody("no JSON"), False),
        (InputMismatch("shape"), False),
        (ValueError("x"), False),
    ],
)
def test_what_may_pass_by_itself_is_transient_and_all_else_permanent(error: Exception, *, transient: bool) -> None:
    assert is_transient(error) is transient
    assert failure_fields(error) == {
        "type": type(error).__name__,
        "class": "Transient" if transient else "Permanent",
        "message": str(error),
    }


@pytest.mark.parametrize("count", range(1, 130))
def test_portions_cover_all_rows_in_few_sizes_and_with_little_waste(count: int) -> None:
    cut = list(portions(count))

    assert [row for each in cut for row in range(each.first, each.first + each.rows)] == list(range(count))
    assert all(each.size & (each.size - 1) == 0 and each.rows <= each.size for each in cut)
    assert sum(each.size for each in cut) <= count * 8 / 7


@pytest.mark.parametrize(("count", "sizes"), [(8, [8]), (7, [8]), (6, [4, 2]), (5, [4, 1]), (1, [1]), (31, [32])])
def test_portions_of_a_batch_with_rows_that_fell_out(count: int, sizes: list[int]) -> None:
    assert [each.size for each in portions(count)] == sizes


@pytest.mark.parametrize(("count", "sizes"), [(8, [8]), (5, [4, 2]), (2, [2]), (1, [2])])
def test_portions_may_have_a_smallest_size(count: int, sizes: list[int]) -> None:
    assert [each.size for each in portions(count, 2)] == sizes


class Machine:
    """A clock and a memory that runs of a made-up model move on."""

    def __init__(self, seconds: Callable[[int], float], bytes_a_row: int = 0, most: int = LARGEST) -> None:
        self.now, self.memory, self.most, self.sample = 0.0, 0, most, 0
        self.seconds, self.bytes_a_row, self.sizes = seconds, bytes_a_row, list[int]()

    def prepare(self, payload: Payload) -> Any:
        raise AssertionError("a sample is prepared")

    def run(self, rows: Sequence[Any]) -> list[Any]:
        if len(rows) not in self.sizes:
            self.sizes.append(len(rows))
            self.memory += self.bytes_a_row * len(rows)
        self.now += self.seconds(len(rows))
        return list(rows)

    def size(self, *, room_bytes: int = 1000, budget_seconds: float = 1.0) -> int:
        return measure_size(self, Measuring(room_bytes, budget_seconds, lambda: self.now, lambda: self.memory))


def test_the_smallest_size_near_the_best_is_taken() -> None:
    assert smallest_good({1: 50.0, 2: 90.0, 4: 96.0, 8: 100.0, 16: 100.5}) == 8
    assert smallest_good({1: 50.0}) == 1


def test_a_net_whose_rows_cost_little_beside_each_call_gets_large_batches() -> None:
    assert Machine(lambda size: 0.001 + size * 1e-6).size() == LARGEST


def test_a_net_that_gains_nothing_is_asked_one_by_one_and_larger_sizes_are_not_even_tried() -> None:
    machine = Machine(lambda size: size * 0.001)
    assert machine.size() == 1
    assert machine.sizes == [1, 2, 4, USUAL]


def test_a_net_that_falls_out_of_the_cache_gets_the_size_before() -> None:
    machine = Machine(lambda size: 0.001 + size * (0.001 if size <= 8 else 0.002))
    assert machine.size() == 8
    assert max(machine.sizes) == 32


def test_no_size_is_tried_for_which_time_or_memory_would_not_do() -> None:
    slow, greedy = Machine(lambda size: 0.2 + size * 0.001), Machine(lambda size: 0.001, bytes_a_row=100)

    assert slow.size() == 4
    assert slow.sizes == [1, 2, 4]
    assert greedy.size(room_bytes=1000) == 4
    assert greedy.memory <= 1000


def test_where_nothing_can_be_measured_the_size_is_the_usual_one() -> None:
    unknown, single, failing = Machine(lambda size: 0.001), Machine(lambda size: 0.001, most=1), Doubling(poison=[0])
    unknown.sample = None  # type: ignore[assignment] # as of a service with code of its own

    assert (unknown.size(), unknown.sizes) == (USUAL, [])
    assert (single.size(), single.sizes) == (1, [])
    assert measure_size(failing, Measuring(1000)) == USUAL
