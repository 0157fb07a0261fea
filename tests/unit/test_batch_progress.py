"""The work of one object: stored in parts, ended at any step, gone on with by anybody, and always the same results."""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gluon_lambda.batch.lines import Line, error_line, prediction_line
from gluon_lambda.batch.objects import PART_BYTES, PRODUCER, Facts, Listed, ObjectStore, Pieces
from gluon_lambda.batch.outputs import OF_THE_RUNS, Done, Work
from gluon_lambda.batch.parts import Part, Stored, farthest_chain, stored_parts
from gluon_lambda.batch.places import parse_output, place
from gluon_lambda.batch.progress import PLAN, Progress, open_progress
from gluon_lambda.batch.s3_calls import Connection
from gluon_lambda.batch.s3_objects import S3Objects
from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.errors import InputMismatch, ObjectRefused, ObjectUnavailable
from local_emulator.local_aws import moto_server
from tests.memory_objects import Call, Hook, Killed, MemoryObjects, always, at_call
from tests.scripted_s3 import CREDENTIALS

DIGEST = "0123456789abcdef" * 4
REFERENCE = ObjectRef("in", "reviews ü.jsonl")
FACTS = Facts(190, "d41d8cd98f00b204e9800998ecf8427e", version="v1")
PLACE = place(parse_output("s3://out/p/"), REFERENCE, FACTS, model="m", digest=DIGEST)
# All tests of a process share moto's buckets.
ON_S3 = PLACE._replace(bucket="out-of-batch-progress")
WORK = Work(REFERENCE, FACTS, "m", DIGEST, batch_size=2, producer="function")


class Rows(NamedTuple):
    """An object's rows, and how a run works on them.

    Attributes:
        total: How many there are.
        of_a_part: How many are stored at a time.
        batch_size: What the run settles, unless another one has.
        failing: Which rows fail.
    """

    total: int
    of_a_part: int
    batch_size: int = 2
    failing: Callable[[int], bool] = lambda row: row % 5 == 3

    def line(self, row: int) -> Line:
        """A row's line."""
        if self.failing(row):
            return error_line(row, InputMismatch(f"row {row}"), transient=False)
        return prediction_line(row, [row / 7])


LARGE = Rows(19, 4)
SMALL = Rows(7, 100)
WITHOUT_ERRORS = Rows(9, 4, failing=lambda row: False)


def always_time() -> bool:
    """There is time."""
    return True


def no_time() -> bool:
    """There is none."""
    return False


def times(count: int) -> Callable[[], bool]:
    """There is time so often, and then none."""
    left = iter([True] * count)
    return lambda: next(left, False)


def run(
    store: ObjectStore, rows: Rows, *, has_time: Callable[[], bool] = always_time, clock: float = 1_795_000_000.25
) -> Done | None:
    """One invocation, as a job goes about it."""
    ticks = itertools.count()
    work = WORK._replace(batch_size=rows.batch_size)
    progress = open_progress(store, PLACE, work, clock=lambda: clock + next(ticks))
    if isinstance(progress, Done):
        return progress
    if not progress.complete:
        compute(progress, rows)
    return progress.finish(has_time=has_time, invocations=1)


def compute(progress: Progress, rows: Rows) -> None:
    """Add what is missing; all but the last rows are stored."""
    while progress.next_row < rows.total:
        assert progress.offset == progress.next_row * 10
        for row in range(progress.next_row, min(progress.next_row + rows.of_a_part, rows.total)):
            progress.add(rows.line(row), offset=(row + 1) * 10)
        if progress.next_row < rows.total:
            progress.store_part()


def run_until_done(store: MemoryObjects, rows: Rows, *, clock: float = 0) -> Done:
    """Invocations until there is nothing more to do."""
    for _ in range(4):
        done = run(store, rows, clock=clock)
        if done is not None:
            return done
    raise AssertionError("four invocations were not enough")


def outputs_of(rows: Rows) -> dict[str, bytes]:
    """What has to lie there in the end, beside the summary."""
    lines = [rows.line(row) for row in range(rows.total)]
    errors = b"".join(line.text for line in lines if line.failed)
    results = {PLACE.results: b"".join(line.text for line in lines)}
    return {**results, PLACE.errors: errors} if errors else results


def check(store: MemoryObjects, rows: Rows) -> None:
    """The outputs lie there, byte by byte, and nothing else."""
    expected = outputs_of(rows)
    assert store.keys("out") == sorted([*expected, PLACE.summary])
    for key, content in expected.items():
        assert store.content("out", key) == content
    failed = sum(map(rows.failing, range(rows.total)))
    summary = json.loads(store.content("out", PLACE.summary))
    assert {name: value for name, value in summary.items() if name not in OF_THE_RUNS} == {
        "schema": 1,
        "input": {"bucket": "in", "key": "reviews ü.jsonl", "version": "v1", "etag": FACTS.etag, "size": 190},
        "model": "m",
        "digest": DIGEST,
        "rows": rows.total,
        "answered": rows.total - failed,
        "failed": failed,
        "results": f"s3://out/{PLACE.results}",
        "errors": f"s3://out/{PLACE.errors}" if failed else None,
    }


def methods(store: MemoryObjects) -> list[str]:
    """What has been asked of the store."""
    return [call.method for call in store.calls]


@pytest.fixture
def store() -> MemoryObjects:
    """Empty buckets."""
    return MemoryObjects("in", "out")


class TestOutputs:
    @pytest.mark.parametrize("rows", [LARGE, SMALL, WITHOUT_ERRORS, Rows(0, 4), Rows(4, 4), Rows(8, 4)])
    def test_results_errors_and_summary_are_written_and_parts_removed(self, store: MemoryObjects, rows: Rows) -> None:
        done = run(store, rows)
        check(store, rows)
        assert done is not None
        assert (done.rows, done.failed) == (rows.total, sum(map(rows.failing, range(rows.total))))
        assert [uri.removeprefix("s3://out/") for _, uri in done.outputs] == [*outputs_of(rows), PLACE.summary]

    def test_the_summary_says_when_and_in_how_many_invocations(self, store: MemoryObjects) -> None:
        run(store, SMALL)
        summary = json.loads(store.content("out", PLACE.summary))
        assert {name: summary[name] for name in OF_THE_RUNS} == {
            "started": "2026-11-18T11:06:40.250Z",
            "finished": "2026-11-18T11:06:41.250Z",
            "milliseconds": 1000,
            "invocations": 1,
        }

    def test_the_work_of_several_runs_began_with_the_first(self, store: MemoryObjects) -> None:
        run(store, LARGE, has_time=no_time, clock=1000.0)
        done = run(store, LARGE, clock=5000.0)
        assert done is not None
        assert (done.summary["started"], done.summary["milliseconds"]) == ("1970-01-01T00:16:40.000Z", 4_001_000)

    def test_a_small_object_costs_two_reads_and_its_outputs(self, store: MemoryObjects) -> None:
        run(store, SMALL)
        assert methods(store) == ["read_small", "read_small", "write_new", "write_new", "write_new"]
        assert not any("_parts/" in call.key for call in store.calls if call.method == "write_new")

    def test_an_object_that_is_done_costs_one_read_and_one_listing(self, store: MemoryObjects) -> None:
        first = run(store, SMALL)
        store.calls.clear()
        second = run(store, LARGE)
        assert second == first
        assert methods(store) == ["read_small", "list"]

    def test_every_output_says_who_made_it_and_of_what(self, store: MemoryObjects) -> None:
        run(store, LARGE, has_time=no_time)
        for key in store.keys("out"):
            metadata = store.facts(ObjectRef("out", key)).metadata
            assert (metadata[PRODUCER], metadata["gluon-lambda-input"]) == ("function", "s3://in/reviews %C3%BC.jsonl")
        run(store, LARGE)
        types = {key: store.facts(ObjectRef("out", key)).content_type for key in store.keys("out")}
        assert types == {
            PLACE.results: "application/x-ndjson",
            PLACE.errors: "application/x-ndjson",
            PLACE.summary: "application/json",
        }

    @pytest.mark.parametrize("key", ["語" * 341, "x" * 1024, " " * 1024])
    def test_a_long_key_does_not_break_the_metadata_s_limit(self, store: MemoryObjects, key: str) -> None:
        work = WORK._replace(reference=ObjectRef("in", key))
        where = place(parse_output("s3://out/p/"), work.reference, FACTS, model="m", digest=DIGEST)
        progress = open_progress(store, where, work)
        assert isinstance(progress, Progress)
        progress.add(LARGE.line(0), offset=10)
        assert progress.store_part()
        assert progress.finish(has_time=always_time, invocations=1)


class TestParts:
    def test_the_next_run_goes_on_after_what_is_stored(self, store: MemoryObjects) -> None:
        first = open_progress(store, PLACE, WORK)
        assert isinstance(first, Progress)
        for row in range(6):
            first.add(LARGE.line(row), offset=(row + 1) * 10)
        assert first.pending_bytes == sum(len(LARGE.line(row).text) for row in range(6))
        assert first.store_part()
        first.add(LARGE.line(6), offset=70)
        assert (first.stored_rows, first.next_row, first.offset, first.pending_bytes) == (
            6,
            7,
            70,
            len(LARGE.line(6).text),
        )

        second = open_progress(store, PLACE, WORK._replace(batch_size=64))
        assert isinstance(second, Progress)
        assert (second.stored_rows, second.stored_failed, second.next_row, second.offset) == (6, 1, 6, 60)
        assert (second.batch_size, second.complete, second.pending_bytes) == (2, False, 0)

    def test_there_is_a_plan_before_there_is_a_part(self, store: MemoryObjects) -> None:
        run(store, LARGE)
        written = [call.key for call in store.calls if call.method == "write_new"]
        assert written[0] == PLACE.parts + PLAN
        assert written[1] == f"{PLACE.parts}2/000000000000-000000000004-28-1.results"

    def test_storing_nothing_writes_no_part(self, store: MemoryObjects) -> None:
        progress = open_progress(store, PLACE, WORK)
        assert isinstance(progress, Progress)
        assert progress.store_part()
        assert store.keys("out") == [PLACE.parts + PLAN]

    def test_lines_that_could_not_be_stored_are_kept(self, store: MemoryObjects) -> None:
        progress = open_progress(store, PLACE, WORK)
        assert isinstance(progress, Progress)
        progress.add(LARGE.line(0), offset=10)
        store.before.append(at_call(1, ObjectUnavailable("503"), key=".results"))
        with pytest.raises(ObjectUnavailable):
            progress.store_part()
        assert (progress.stored_rows, progress.next_row) == (0, 1)
        assert progress.store_part()
        assert progress.stored_rows == 1

    def test_a_run_that_comes_second_keeps_the_batch_size_of_the_first(self, store: MemoryObjects) -> None:
        late = open_progress(store, PLACE, WORK._replace(batch_size=3))
        assert isinstance(late, Progress)
        run(store, LARGE, has_time=no_time)
        late.add(LARGE.line(0), offset=10)
        assert not late.store_part()
        assert (late.batch_size, late.stored_rows, late.next_row, late.complete) == (2, 19, 19, True)
        assert late.finish(has_time=always_time, invocations=1)
        check(store, LARGE)

    @pytest.mark.parametrize("batch_size", [2, 3])
    def test_parts_of_another_batch_size_are_nobody_s(self, store: MemoryObjects, batch_size: int) -> None:
        store.put("out", f"{PLACE.parts}{5 - batch_size}/000000000000-000000000019-be-0.results", b"stale")
        rows = LARGE._replace(batch_size=batch_size)
        run(store, rows, has_time=no_time)
        assert run(store, rows) is not None
        check(store, LARGE)

    def test_a_run_that_comes_second_began_when_the_first_did(self, store: MemoryObjects) -> None:
        late = open_progress(store, PLACE, WORK, clock=lambda: 5000.0)
        assert isinstance(late, Progress)
        run(store, LARGE, has_time=no_time, clock=1000.0)
        compute(late, LARGE)
        done = late.finish(has_time=always_time, invocations=1)
        assert done is not None
        assert done.summary["milliseconds"] == 4_000_000

    def test_of_the_same_part_by_two_runs_the_first_one_s_lines_count(self, store: MemoryObjects) -> None:
        progress = [open_progress(store, PLACE, WORK) for _ in range(2)]
        for message, each in zip(("short", "much longer"), progress, strict=True):
            assert isinstance(each, Progress)
            each.add(error_line(0, InputMismatch(message), transient=False), offset=10)
            assert each.store_part()
            each.add(LARGE.line(1), offset=20)
        assert isinstance(progress[1], Progress)
        assert progress[1].finish(has_time=always_time, invocations=1)
        lines = store.content("out", PLACE.results).splitlines()
        assert [json.loads(line)["index"] for line in lines] == [0, 1]
        assert json.loads(lines[0])["error"]["message"] == "short"
        assert_outputs_agree(store)

    @pytest.mark.parametrize("plan", [b"", b"[]", b'{"schema": 2, "batch_size": 2, "started": 1.0}', b'{"schema": 1}'])
    def test_a_plan_or_a_summary_of_another_kind_is_refused_by_name(self, store: MemoryObjects, plan: bytes) -> None:
        for key in (PLACE.parts + PLAN, PLACE.summary):
            store.put("out", key, plan)
            with pytest.raises(ObjectRefused, match=re.escape(key)):
                run(store, LARGE)
            store.remove("out", key)

    def test_results_that_are_not_ours_are_refused_by_name(self, store: MemoryObjects) -> None:
        store.put("out", PLACE.results, b"something else\n")
        with pytest.raises(ObjectRefused, match=re.escape(PLACE.results)):
            run(store, SMALL)
        assert store.content("out", PLACE.results) == b"something else\n"

    def test_outputs_without_a_bucket_can_be_tried_again(self) -> None:
        with pytest.raises(ObjectUnavailable, match="there is no bucket out"):
            run(MemoryObjects("in"), SMALL)

    def test_a_part_that_was_taken_away_can_be_tried_again(self, store: MemoryObjects) -> None:
        run(store, LARGE, has_time=no_time)
        progress = open_progress(store, PLACE, WORK)
        assert isinstance(progress, Progress)
        store.remove("out", next(key for key in store.keys("out") if key.endswith(".results")))
        with pytest.raises(ObjectUnavailable, match="no such object"):
            progress.finish(has_time=always_time, invocations=1)
        assert run(store, LARGE)
        check(store, LARGE)


class TestChains:
    @pytest.mark.parametrize(
        ("spans", "chain"),
        [
            ([], []),
            ([(4, 8)], []),
            ([(0, 4), (4, 8)], [(0, 4), (4, 8)]),
            ([(0, 4), (4, 8), (12, 16)], [(0, 4), (4, 8)]),
            ([(0, 4), (0, 8), (4, 8), (8, 10)], [(0, 8), (8, 10)]),
            # The longest first part leads into a dead end.
            ([(0, 4), (4, 8), (8, 12), (0, 6)], [(0, 4), (4, 8), (8, 12)]),
            ([(0, 2), (2, 12), (0, 6), (6, 8)], [(0, 2), (2, 12)]),
        ],
    )
    def test_the_parts_that_reach_farthest_are_taken(
        self, spans: list[tuple[int, int]], chain: list[tuple[int, int]]
    ) -> None:
        for order in itertools.permutations(Part(start, end, 0, 0, 1) for start, end in spans):
            assert [(part.start, part.end) for part in farthest_chain(order)] == chain

    def test_of_two_parts_of_the_same_rows_the_one_with_fewer_errors_counts(self) -> None:
        better, worse = Part(0, 4, 40, 0, 1), Part(0, 4, 40, 1, 1)
        assert farthest_chain([worse, better]) == farthest_chain([better, worse]) == (better,)

    def test_a_part_s_name_says_all_of_it(self) -> None:
        part = Part(0, 123_456_789_012_345, 0xFEDCBA, 12, 99)
        assert stored_parts([Listed(f"p/_parts/x/2/{part.name}", 99)]).parts == (part,)

    def test_names_of_other_forms_are_left_alone(self) -> None:
        names = [
            "plan.json",
            "x.results",
            "000000000000-000000000004-0-0.results.tmp",
            "000000000000-000000000000-0-0.results",
        ]
        assert stored_parts(Listed(f"p/{name}", 1) for name in names) == Stored()

    def test_work_is_complete_where_the_parts_reach_the_end_mark(self) -> None:
        part, end = Listed("p/000000000000-000000000004-0-0.results", 1), Listed("p/000000000004.end", 0)
        assert stored_parts([part, end]).complete
        assert not stored_parts([part]).complete
        assert not stored_parts([end]).complete
        assert stored_parts([Listed("p/000000000000.end", 0)]).complete


class TestTime:
    @pytest.mark.parametrize("rows", [LARGE, SMALL, Rows(0, 4)])
    def test_without_time_all_is_stored_and_the_next_run_only_joins(self, store: MemoryObjects, rows: Rows) -> None:
        assert run(store, rows, has_time=no_time) is None
        assert PLACE.results not in store.keys("out")
        progress = open_progress(store, PLACE, WORK)
        assert isinstance(progress, Progress)
        assert (progress.complete, progress.stored_rows) == (True, rows.total)
        assert progress.finish(has_time=always_time, invocations=2) is not None
        check(store, rows)

    @pytest.mark.parametrize("rows", [LARGE, SMALL])
    def test_time_can_run_out_at_any_block(self, store: MemoryObjects, rows: Rows) -> None:
        stops = 0
        for blocks in range(1, 100):
            done = run(store, rows, has_time=times(blocks))
            if done is not None:
                break
            stops += 1
        check(store, rows)
        assert stops >= (LARGE.total // LARGE.of_a_part if rows is LARGE else 0)

    def test_small_results_of_a_run_that_ended_are_reported_even_where_time_runs_out(
        self, store: MemoryObjects
    ) -> None:
        store.before.append(at_call(1, Killed(), method="write_new", key="_errors"))
        with pytest.raises(Killed):
            run(store, SMALL)
        assert run(store, SMALL, has_time=times(1)) is None
        progress = open_progress(store, PLACE, WORK)
        assert isinstance(progress, Progress)
        assert (progress.complete, progress.stored_rows) == (True, SMALL.total)
        assert run(store, SMALL) is not None
        check(store, SMALL)

    def test_joining_holds_a_few_blocks_however_much_there_is(self) -> None:
        parts = 24
        store = Draining(size := 4 << 20, parts)
        progress = open_progress(store, PLACE, WORK)
        assert isinstance(progress, Progress)
        tracemalloc.start()
        try:
            assert progress.finish(has_time=always_time, invocations=1)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert store.drained == size * parts
        assert peak < 2 * size


class Draining(MemoryObjects):
    """Holds a complete work of large parts, all of whose bytes are made as they are read, and forgets results as they come."""

    def __init__(self, size: int, parts: int) -> None:
        super().__init__("in", "out")
        self._size = size
        self._names = [f"{PLACE.parts}2/{Part(row, row + 1, 0, 0, size).name}" for row in range(parts)]
        self._names.append(f"{PLACE.parts}2/{parts:012d}.end")
        plan = {"schema": 1, "batch_size": 2, "started": 0.0}
        self.put("out", PLACE.parts + PLAN, json.dumps(plan).encode())
        self.drained = 0

    def list(self, bucket: str, prefix: str) -> list[Listed]:
        """The parts that are made up."""
        return [Listed(name, self._size) for name in self._names if name.startswith(prefix)]

    def read(self, reference: ObjectRef, start: int, length: int, into: memoryview | None = None) -> memoryview:
        """Bytes that nobody holds."""
        return memoryview(into or bytes(length))[:length]

    def write_new(
        self, bucket: str, key: str, content: Pieces, *, content_type: str, metadata: Mapping[str, str]
    ) -> bool:
        """Count results."""
        if key != PLACE.results:
            return super().write_new(bucket, key, content, content_type=content_type, metadata=metadata)
        self.drained = sum(len(block) for block in content)
        return True


def ended_at(number: int, rows: Rows, hooks: Callable[[MemoryObjects], list[Hook]]) -> MemoryObjects | None:
    """The store after a run that was killed at a call; None where it had fewer calls."""
    store = MemoryObjects("in", "out")
    hooks(store).append(at_call(number, Killed()))
    try:
        run(store, rows)
    except Killed:
        hooks(store).clear()
        return store
    return None


MOMENTS: list[Callable[[MemoryObjects], list[Hook]]] = [
    lambda store: store.before,
    lambda store: store.during,
    lambda store: store.after,
]


class TestKilled:
    @pytest.mark.parametrize("rows", [LARGE, SMALL, WITHOUT_ERRORS])
    @pytest.mark.parametrize("moment", MOMENTS, ids=["before", "during", "after"])
    def test_a_run_that_is_killed_at_any_call_leaves_what_a_retry_completes(
        self, rows: Rows, moment: Callable[[MemoryObjects], list[Hook]]
    ) -> None:
        for number in itertools.count(1):
            store = ended_at(number, rows, moment)
            if store is None:
                break
            assert run(store, rows) is not None
            check(store, rows)
        assert number > len(outputs_of(rows))

    def test_retries_that_are_killed_at_every_call_in_turn_come_to_the_same_end(self) -> None:
        store = MemoryObjects("in", "out")
        for number in range(1, 100):
            store.before[:] = [at_call(number, Killed())]
            try:
                run(store, LARGE)
                break
            except Killed:
                continue
        check(store, LARGE)

    def test_a_retry_in_other_parts_and_batches_comes_to_the_same_end(self) -> None:
        for number in itertools.count(1):
            store = ended_at(number, LARGE, lambda store: store.after)
            if store is None:
                break
            assert run_until_done(store, LARGE._replace(of_a_part=7, batch_size=3))
            check(store, LARGE)

    def test_s3_that_fails_at_any_call_is_told_and_tried_again(self) -> None:
        for number in itertools.count(1):
            store = MemoryObjects("in", "out")
            store.before.append(at_call(number, ObjectUnavailable("503")))
            try:
                run(store, LARGE)
                break
            except ObjectUnavailable:
                assert run(store, LARGE)
                check(store, LARGE)

    def test_parts_that_could_not_be_removed_are_removed_by_the_next_run(self, store: MemoryObjects) -> None:
        store.before.append(always(ObjectUnavailable("503"), method="delete"))
        with pytest.raises(ObjectUnavailable):
            run(store, LARGE)
        assert PLACE.summary in store.keys("out")
        assert any(key.startswith(PLACE.parts) for key in store.keys("out"))
        store.before.clear()
        assert run(store, LARGE)
        check(store, LARGE)

    def test_results_that_are_there_are_not_sent_again(self, store: MemoryObjects) -> None:
        store.before.append(at_call(1, Killed(), method="write_new", key="_errors"))
        with pytest.raises(Killed):
            run(store, LARGE)
        store.calls.clear()
        run(store, LARGE)
        check(store, LARGE)
        written = [call.key for call in store.calls if call.method == "write_new"]
        assert written == [PLACE.errors, PLACE.summary]

    def test_a_run_that_has_been_overtaken_sends_no_results(self, store: MemoryObjects) -> None:
        late = open_progress(store, PLACE, WORK)
        assert isinstance(late, Progress)
        compute(late, LARGE)
        first = run(store, LARGE)
        store.calls.clear()
        assert late.finish(has_time=always_time, invocations=1) == first
        check(store, LARGE)
        written = [call.key for call in store.calls if call.method == "write_new"]
        assert all(key.startswith(PLACE.parts) for key in written)
        assert not any(call.method == "read" for call in store.calls)

    @pytest.mark.parametrize("rows", [LARGE, SMALL])
    def test_errors_and_counts_are_those_of_the_results_that_are_stored(self, rows: Rows) -> None:
        """A row that fails in one run only, as where memory runs short, must not be an error in one output and an answer in the other."""
        lucky = rows._replace(failing=lambda row: False)
        for first, second in ((rows, lucky), (lucky, rows)):
            for number in itertools.count(1):
                store = ended_at(number, first, lambda store: store.after)
                if store is None:
                    break
                run(store, second)
                assert_outputs_agree(store)


def assert_outputs_agree(store: MemoryObjects) -> None:
    """Errors and counts are those of the results."""
    lines = [json.loads(line) for line in store.content("out", PLACE.results).splitlines()]
    errors = [line for line in lines if "error" in line]
    summary = json.loads(store.content("out", PLACE.summary))
    assert [line["index"] for line in lines] == list(range(summary["rows"]))
    assert (summary["failed"], summary["answered"]) == (len(errors), len(lines) - len(errors))
    assert (summary["errors"] is not None) == (PLACE.errors in store.keys("out")) == bool(errors)
    if errors:
        assert [json.loads(line) for line in store.content("out", PLACE.errors).splitlines()] == errors


class Turns:
    """Lets two threads call a store one at a time, in a given order of calls; who is not named any more goes after the other."""

    def __init__(self, order: Iterable[int]) -> None:
        self._order: Iterator[int] = itertools.chain(order, itertools.repeat(0, 500), itertools.repeat(1))
        self._turn = next(self._order)
        self._is_done = [False, False]
        self._changed = threading.Condition()

    def wait(self, _call: Call) -> None:
        """Wait for this thread's turn, which is over with the call before the next one."""
        me = int(threading.current_thread().name)
        with self._changed:
            assert self._changed.wait_for(lambda: self._turn == me or self._is_done[1 - me], timeout=30)
            self._turn = next(self._order)
            self._changed.notify_all()

    def end(self) -> None:
        """This thread makes no more calls."""
        with self._changed:
            self._is_done[int(threading.current_thread().name)] = True
            self._changed.notify_all()


def run_both(order: Iterable[int], first: Rows, second: Rows) -> tuple[MemoryObjects, list[Any]]:
    """Two runs on one store, in an order of calls, and what each ended in."""
    store = MemoryObjects("in", "out")
    turns = Turns(order)
    ended: list[Any] = [None, None]

    def one(me: int, rows: Rows) -> None:
        try:
            ended[me] = run_until_done(store, rows, clock=1000.0 * me)
        finally:
            turns.end()

    store.before.append(turns.wait)
    threads = [threading.Thread(target=one, args=each, name=str(each[0])) for each in ((0, first), (1, second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return store, ended


class TestTogether:
    @pytest.mark.parametrize(
        "second",
        [LARGE, LARGE._replace(of_a_part=3), LARGE._replace(of_a_part=100), LARGE._replace(of_a_part=6, batch_size=3)],
        ids=["alike", "in other parts", "at once", "in other batches"],
    )
    def test_two_runs_at_once_come_to_the_same_end_whoever_is_faster(self, second: Rows) -> None:
        for ahead, between in itertools.product(range(30), range(1, 30, 3)):
            store, ended = run_both([0] * ahead + [1] * between, LARGE, second)
            assert all(isinstance(done, Done) for done in ended), (ahead, between, ended)
            check(store, LARGE)

    def test_two_runs_of_a_small_object_come_to_the_same_end_at_every_step(self) -> None:
        for order in itertools.product((0, 1), repeat=8):
            store, ended = run_both(order, SMALL, SMALL)
            assert ended[0] == ended[1]
            assert isinstance(ended[0], Done)
            check(store, SMALL)

    def test_two_runs_that_fail_in_other_rows_leave_outputs_that_agree(self) -> None:
        unlucky = LARGE._replace(failing=lambda row: row % 3 == 0)
        for ahead, between in itertools.product(range(30), range(1, 30, 3)):
            store, ended = run_both([0] * ahead + [1] * between, LARGE, unlucky)
            assert all(isinstance(done, Done) for done in ended)
            assert_outputs_agree(store)


class TestOnS3:
    """What the store in memory cannot show: joining parts within a multipart upload that reads from the same S3."""

    @pytest.fixture
    def s3(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Objects]:
        """An empty bucket on moto's S3."""
        with moto_server() as url:
            for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
                monkeypatch.setenv(name, value)
            connection = Connection(os.environ)
            location = {"LocationConstraint": "eu-west-1"}
            connection.full().create_bucket(Bucket=ON_S3.bucket, CreateBucketConfiguration=location)
            yield S3Objects(connection, lambda: 60_000)

    def test_long_results_are_joined_and_a_second_run_finds_them(self, s3: S3Objects) -> None:
        wide = "x" * (PART_BYTES // 6)
        progress = open_progress(s3, ON_S3, WORK)
        assert isinstance(progress, Progress)
        lines = [prediction_line(row, wide) if row % 4 else LARGE.line(3) for row in range(19)]
        for row, line in enumerate(lines):
            progress.add(line, offset=row * 10)
            if row % 4 == 3:
                assert progress.store_part()
        assert progress.finish(has_time=times(3), invocations=1) is None
        assert [listed.key for listed in s3.list(ON_S3.bucket, "p/m@")] == []

        second = open_progress(s3, ON_S3, WORK)
        assert isinstance(second, Progress)
        done = second.finish(has_time=always_time, invocations=2)
        assert isinstance(done, Done)
        assert s3.read_small(ON_S3.bucket, ON_S3.results) == b"".join(line.text for line in lines)
        assert s3.read_small(ON_S3.bucket, ON_S3.errors) == LARGE.line(3).text * 5
        assert [listed.key for listed in s3.list(ON_S3.bucket, "")] == [ON_S3.results, ON_S3.errors, ON_S3.summary]
        assert open_progress(s3, ON_S3, WORK) == done


def test_the_documentation_names_every_field_of_a_summary(store: MemoryObjects) -> None:
    run(store, SMALL)
    page = (Path(__file__).parents[2] / "docs" / "batch-outputs.md").read_text()
    rows = page.partition("## The summary")[2].partition("\n\n`")[0].splitlines()
    named = [field for row in rows if row.startswith("| `") for field in re.findall("`(.*?)`", row.split("|")[1])]
    assert sorted(named) == sorted(json.loads(store.content("out", PLACE.summary)))
    of_the_runs = [field for row in rows[-2:] for field in re.findall("`(.*?)`", row.split("|")[1])]
    assert set(of_the_runs) == OF_THE_RUNS
