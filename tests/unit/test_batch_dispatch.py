"""Batches, from a trigger's event to what lies on S3 and what the trigger is told: killed, interleaved, out of time, at fault in every place."""

from __future__ import annotations

import gzip
import io
import json
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError
from PIL import Image, UnidentifiedImageError

from gluon_lambda.batch.deadline import RESERVE_MS, Deadline
from gluon_lambda.batch.dispatch import CONNECTIONS, HandOver, answer
from gluon_lambda.batch.handing_on import MOST_HAND_OVERS, Channel, InvokeChannel, QueueChannel
from gluon_lambda.batch.job import HEAD_BYTES, Desk, Served
from gluon_lambda.batch.objects import PRODUCER, Facts
from gluon_lambda.batch.outputs import OF_THE_RUNS
from gluon_lambda.batch.places import parse_output
from gluon_lambda.batch_records import BatchAnswer, BatchCall, ObjectRef, ObjectResult
from gluon_lambda.errors import (
    BatchIncomplete,
    InferenceError,
    InputMismatch,
    ModelNotFound,
    ObjectDenied,
    ObjectUnavailable,
    OutOfMemory,
)
from gluon_lambda.event_sources import asynchronous, s3_batch, sqs, step_functions
from gluon_lambda.event_sources.object_references import CONTINUATION, continuation_of, find_objects
from gluon_lambda.types import Payload
from tests.conftest import FakeContext
from tests.memory_objects import Call, Hook, Killed, MemoryObjects, always, at_call

DIGEST = "0123456789abcdef" * 4
TEMPLATE = parse_output("s3://out/p/")
QUEUE = "arn:aws:sqs:us-east-1:123456789012:work"
POISON = -1
LINES_TYPE = "application/x-ndjson"


class Rows:
    """A model whose answer says in how large a batch a row was, so that other boundaries would be other bytes.

    Attributes:
        sizes: Of the batches so far.
    """

    most = 64
    sample = None

    def __init__(
        self, *, tells_size: bool = True, spend: Callable[[], None] = lambda: None, too_large: int | None = None
    ) -> None:
        self.sizes: list[int] = []
        self._too_large = too_large
        self._tells_size = tells_size
        self._spend = spend

    def prepare(self, payload: Payload) -> int:
        """A JSON row's ``x``, or an image's first pixel."""
        part = payload.parts[0]
        if part.content_type.startswith("image/"):
            return pixel(bytes(part.value))
        value = json.loads(part.value)
        if not isinstance(value, dict) or not isinstance(value.get("x"), int):
            raise InputMismatch("x is a whole number")
        return int(value["x"])

    def run(self, rows: Sequence[int]) -> list[Any]:
        """Fails whole where one row is poisonous, or too large for this sandbox."""
        self._spend()
        self.sizes.append(len(rows))
        if self._too_large in rows:
            raise OutOfMemory("The net ran out of memory.")
        if POISON in rows:
            raise InferenceError("The net does not like it.", phase="inference")
        return [[row, len(rows)] if self._tells_size else row for row in rows]


def pixel(content: bytes) -> int:
    try:
        return Image.open(io.BytesIO(content)).convert("L").tobytes()[0]
    except UnidentifiedImageError as error:
        raise InputMismatch("The body is no image.") from error


class Clock:
    """Milliseconds that are left of an invocation; they go only where a test says so."""

    def __init__(self, left: int = 600_000) -> None:
        self.left = left

    def __call__(self) -> int:
        return max(0, self.left)

    def spend(self, milliseconds: int) -> None:
        self.left -= milliseconds


class Sent:
    """A channel that keeps the messages; takes none where ``error`` is one."""

    def __init__(self, error: ObjectUnavailable | None = None) -> None:
        self.messages: list[Mapping[str, Any]] = []
        self._error = error

    def send(self, message: Mapping[str, Any]) -> None:
        if self._error:
            raise self._error
        self.messages.append(json.loads(json.dumps(message)))

    def take(self) -> Mapping[str, Any]:
        """The only message, once."""
        (message,) = self.messages
        self.messages.clear()
        return message


class Function(NamedTuple):
    """A function over a store.

    Attributes:
        store: Its S3.
        size: Its micro-batches' size.
        part_bytes: When lines are stored.
        head_bytes: How much of an object comes with what S3 says of it.
        batcher: Its model.
        clock: Its time.
        channel: How it hands on.
        is_known: Whether its model has answered before, as in a sandbox that is warm.
    """

    store: MemoryObjects
    size: int = 4
    part_bytes: int = 100
    head_bytes: int = HEAD_BYTES
    batcher: Rows | None = None
    clock: Clock | None = None
    channel: Sent | None = None
    is_known: bool = True

    def invoke(self, call: BatchCall) -> BatchAnswer:
        """One invocation, with a sandbox of its own."""
        clock = self.clock or Clock()
        served = Served("m", DIGEST, self.batcher or Rows(), self.size)
        desk = Desk(
            self.store,
            TEMPLATE,
            partial(self.serve, served),
            Deadline(clock),
            "function",
            self.part_bytes,
            self.head_bytes,
            (lambda reference, _: None if is_for_nobody(reference) else served) if self.is_known else lambda *_: None,
        )
        channel = self.channel if call.channel in ("queue", "invoke") else None
        return answer(call, desk, HandOver(channel, continuation_of, takes_untouched=call.channel == "invoke"))

    def serve(self, served: Served, reference: ObjectRef, facts: Facts) -> Served:
        """The only model, and no model for what lies under ``nobody/``."""
        if is_for_nobody(reference):
            raise ModelNotFound(f"{reference.uri}: which model?")
        return served

    def ask(self, *references: ObjectRef, channel: str = "queue") -> list[ObjectResult]:
        """One invocation for these objects."""
        call = BatchCall(references, (), channel, QUEUE, "id", self.clock or Clock())
        return list(self.invoke(call).results)

    def send(self, source: Any, event: Any) -> Any:
        """One invocation by an event of this source's: what the trigger is told."""
        call = source.to_call(event, FakeContext())
        return source.to_answer(self.invoke(call), event)


def is_for_nobody(reference: ObjectRef) -> bool:
    return reference.key.startswith("nobody/")


def states(results: Sequence[ObjectResult]) -> list[str]:
    return [result.state for result in results]


def png(value: int) -> bytes:
    sink = io.BytesIO()
    Image.new("L", (2, 2), value).save(sink, "PNG")
    return sink.getvalue()


def json_lines(count: int) -> bytes:
    rows = [b'{"x": %d}' % row for row in range(count)]
    if count > 9:
        rows[5], rows[6], rows[9] = b"{broken", b'{"x": %d}' % POISON, b'{"x": NaN}'
    return b"\n".join(rows) + b"\n"


def zipped(members: Mapping[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def put_lines(store: MemoryObjects) -> list[ObjectRef]:
    return [store.put("in", "a/rows ü.jsonl", json_lines(22), content_type=LINES_TYPE)]


def put_zip(store: MemoryObjects) -> list[ObjectRef]:
    members = {f"{number}.png": png(number) for number in range(9)} | {"broken.png": b"no image", "z.png": png(200)}
    return [store.put("in", "a/images.zip", zipped(members))]


def put_cut_short(store: MemoryObjects) -> list[ObjectRef]:
    """A gzip that breaks off amid its rows."""
    packer = zlib.compressobj(wbits=31)
    rows = [
        packer.compress(b'{"x": %d, "y": "%d"}\n' % (row, 7**500)) + packer.flush(zlib.Z_SYNC_FLUSH)
        for row in range(30)
    ]
    return [store.put("in", "a/cut.jsonl.gz", b"".join(rows[:-8]))]


def put_images(store: MemoryObjects) -> list[ObjectRef]:
    contents = [png(1), png(2), b"no image", png(3), png(4), b"", png(5)]
    return [store.put("in", f"a/{at}.png", content) for at, content in enumerate(contents)]


Put = Callable[[MemoryObjects], list[ObjectRef]]
PUTS: dict[str, Put] = {"lines": put_lines, "zip": put_zip, "cut short": put_cut_short, "images": put_images}


def function_over(store: MemoryObjects, put: Put) -> Function:
    # Which images are together depends on what is left of a call; the rows of one object are together for ever.
    return Function(store, batcher=Rows(tells_size=put is not put_images))


def outputs(store: MemoryObjects) -> dict[str, Any]:
    """What lies there, with no more of the summaries than does not depend on the runs."""
    found: dict[str, Any] = {key: store.content("out", key) for key in store.keys("out")}
    for key in found:
        if key.endswith("_summary.json"):
            summary = json.loads(found[key])
            found[key] = {name: value for name, value in summary.items() if name not in OF_THE_RUNS}
    return found


def lines_of(store: MemoryObjects, key: str, kind: str = "") -> list[dict[str, Any]]:
    """The lines of the only output whose key has this input's key in it."""
    (name,) = (
        [each for each in store.keys("out") if f"/{key}/" in each and each.endswith(f"{kind}.jsonl")]
        if kind
        else [
            each
            for each in store.keys("out")
            if f"/{key}/" in each and each.endswith(".jsonl") and "_errors" not in each
        ]
    )
    return [json.loads(line) for line in store.content("out", name).splitlines()]


def summary_of(store: MemoryObjects, key: str) -> dict[str, Any]:
    (name,) = [each for each in store.keys("out") if f"/{key}/" in each and each.endswith("_summary.json")]
    summary: dict[str, Any] = json.loads(store.content("out", name))
    return summary


def undisturbed(put: Put) -> tuple[dict[str, Any], int]:
    """What has to lie there in the end, and after how many calls."""
    store = MemoryObjects("in", "out")
    references = put(store)
    function_over(store, put).ask(*references)
    return outputs(store), len(store.calls)


def dead_from(number: int) -> Hook:
    """The sandbox's end: this call and all that follow it never come back."""
    lock, count = threading.Lock(), 0

    def hook(_: Call) -> None:
        nonlocal count
        with lock:
            count += 1
            if count >= number:
                raise Killed

    return hook


@contextmanager
def hooked(hooks: list[Hook], hook: Hook) -> Iterator[None]:
    hooks.append(hook)
    try:
        yield
    finally:
        hooks.clear()


class TestKilled:
    @pytest.mark.parametrize("name", PUTS)
    @pytest.mark.parametrize("moment", ["before", "during", "after"])
    def test_after_an_end_at_any_call_the_next_run_ends_in_the_same_bytes(self, name: str, moment: str) -> None:
        put = PUTS[name]
        expected, calls = undisturbed(put)
        ends = 0
        for number in range(1, calls + 1):
            store = MemoryObjects("in", "out")
            references = put(store)
            with hooked(getattr(store, moment), dead_from(number)):
                try:
                    function_over(store, put).ask(*references)
                except Killed:
                    ends += 1
            results = function_over(store, put).ask(*references)
            assert set(states(results)) <= {"done", "permanent"}, (number, results)
            assert outputs(store) == expected, number
        assert ends >= (calls // 8 if moment == "during" else calls - 2)

    @pytest.mark.parametrize("name", PUTS)
    def test_what_is_to_be_done_takes_several_parts_or_objects(self, name: str) -> None:
        store = MemoryObjects("in", "out")
        references = PUTS[name](store)
        function_over(store, PUTS[name]).ask(*references)
        written = [call.key for call in store.calls if call.method == "write_new"]
        assert len([key for key in written if key.endswith(".results")]) >= 3 or len(references) > 3
        assert not [key for key in store.keys("out") if "_parts/" in key]

    @pytest.mark.parametrize("name", PUTS)
    def test_two_runs_of_an_object_at_a_time_end_in_the_same_bytes(self, name: str) -> None:
        put = PUTS[name]
        expected, calls = undisturbed(put)
        for moment in ("before", "during", "after"):
            for number in range(1, calls + 1):
                store = MemoryObjects("in", "out")
                references = put(store)
                aside = Aside(function_over(store, put), references)
                with hooked(getattr(store, moment), once_at(number, aside)):
                    results = function_over(store, put).ask(*references)
                assert set(states([*results, *aside.results])) <= {"done", "permanent"}, (moment, number, results)
                assert outputs(store) == expected, (moment, number)

    @pytest.mark.parametrize("name", PUTS)
    def test_a_duplicate_event_writes_nothing(self, name: str) -> None:
        store = MemoryObjects("in", "out")
        references = PUTS[name](store)
        first = function_over(store, PUTS[name]).ask(*references)
        before = len(store.calls)
        again = function_over(store, PUTS[name]).ask(*references)
        assert again == first
        assert {call.method for call in store.calls[before:]} <= {"open", "read_small", "list"}

    def test_errors_and_summary_are_those_of_the_results_that_are_stored_though_the_next_run_fares_better(self) -> None:
        store = MemoryObjects("in", "out")
        reference = store.put("in", "a.png", png(3))
        with hooked(store.before, at_call(1, Killed(), method="write_new", key="_errors")), pytest.raises(Killed):
            Function(store, batcher=Rows(too_large=3)).ask(reference)
        (result,) = Function(store).ask(reference)
        (line,) = lines_of(store, "a.png")
        assert (line["error"]["type"], line["error"]["class"]) == ("OutOfMemory", "Transient")
        assert lines_of(store, "a.png", "_errors") == [line]
        assert (result.failed_rows, summary_of(store, "a.png")["failed"]) == (1, 1)


def once_at(number: int, act: Callable[[], object]) -> Hook:
    """Do something at one call; the calls of what is done do not count."""
    lock, count = threading.Lock(), 0

    def hook(_: Call) -> None:
        nonlocal count
        with lock:
            count += 1
            is_due = count == number
        if is_due:
            act()

    return hook


class Aside:
    """Another sandbox's run of the same objects."""

    def __init__(self, function: Function, references: Sequence[ObjectRef]) -> None:
        self.results: list[ObjectResult] = []
        self._function = function
        self._references = references

    def __call__(self) -> None:
        self.results += self._function.ask(*self._references)


class TestDeadlines:
    ROWS = 31 * 8

    def chain(self, source: Any, first: Any) -> tuple[MemoryObjects, Sent, list[Any]]:
        """Invocations with time for two micro-batches each, until nobody hands on any more; the answers."""
        store, channel, event = MemoryObjects("in", "out"), Sent(), first
        answers: list[Any] = []
        store.put("in", "long.jsonl", json_lines(self.ROWS), content_type=LINES_TYPE)
        while event is not None and len(answers) < 100:
            clock = Clock(RESERVE_MS + 2000)
            rows = Rows(spend=lambda clock=clock: clock.spend(1000))  # type: ignore[misc]
            function = Function(store, batcher=rows, clock=clock, channel=channel, part_bytes=1 << 20)
            answers.append(function.send(source, event))
            event = self.wrapped(source, channel.take()) if channel.messages else None
        return store, channel, answers

    def wrapped(self, source: Any, message: Mapping[str, Any]) -> Any:
        return sqs_event(message) if source is sqs else message

    @pytest.mark.parametrize("source", [sqs, asynchronous])
    def test_an_object_of_thirty_hand_overs_ends_as_if_it_were_done_at_once(self, source: Any) -> None:
        first = sqs_event(notification("long.jsonl")) if source is sqs else notification("long.jsonl")
        store, _, answers = self.chain(source, first)
        at_once = MemoryObjects("in", "out")
        at_once.put("in", "long.jsonl", json_lines(self.ROWS), content_type=LINES_TYPE)
        Function(at_once).send(source, first)
        assert len(answers) > 30
        assert outputs(store) == outputs(at_once)
        assert summary_of(store, "long.jsonl")["invocations"] == len(answers)
        if source is sqs:
            assert answers == [{"batchItemFailures": []}] * len(answers)

    def test_each_message_counts_the_hand_overs_and_the_rows(self) -> None:
        store, channel = MemoryObjects("in", "out"), Sent()
        reference = store.put("in", "long.jsonl", json_lines(self.ROWS), content_type=LINES_TYPE)
        for hand_overs in range(1, 4):
            clock = Clock(RESERVE_MS + 2000)
            rows = Rows(spend=lambda clock=clock: clock.spend(1000))  # type: ignore[misc]
            (result,) = Function(store, batcher=rows, clock=clock, channel=channel).ask(reference)
            assert result.state == "continued"
            (reference,) = find_objects(channel.take()).objects
            assert (reference.hand_overs, reference.stalled) == (hand_overs, 0)
            assert reference.rows == result.rows > 0

    def test_the_rows_that_a_hand_over_has_stored_are_not_computed_again(self) -> None:
        store, channel = MemoryObjects("in", "out"), Sent()
        reference = store.put("in", "long.jsonl", b'{"x": 1}\n' * 40, content_type=LINES_TYPE)
        clock = Clock(RESERVE_MS + 2000)
        rows = Rows(spend=lambda: clock.spend(1000))
        Function(store, batcher=rows, clock=clock, channel=channel).ask(reference)
        again = Rows()
        Function(store, batcher=again, channel=channel).ask(reference)
        assert sum(rows.sizes) + sum(again.sizes) == 40

    def test_two_hand_overs_that_got_no_further_end_the_chain_and_say_so(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        store, channel = MemoryObjects("in", "out"), Sent()
        store.put("in", "long.jsonl", json_lines(self.ROWS), content_type=LINES_TYPE)
        message: Mapping[str, Any] = {CONTINUATION: {"bucket": "in", "key": "long.jsonl", "hand_overs": 7, "rows": 8}}
        for stalled in (1, 2):
            function = Function(store, clock=(clock := Clock()), channel=channel)
            with hooked(store.after, spending(clock, 600_000, method="read_small")):
                told = function.send(sqs, sqs_event(message))
            if stalled == 1:
                assert told == {"batchItemFailures": []}
                message = channel.take()
                assert message[CONTINUATION]["stalled"] == 1
        assert told == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
        assert not channel.messages
        assert "given up after 8 hand-overs" in caplog.text

    def test_a_chain_that_is_too_long_ends(self) -> None:
        store, channel = MemoryObjects("in", "out"), Sent()
        reference = store.put("in", "long.jsonl", json_lines(self.ROWS), content_type=LINES_TYPE)
        clock = Clock(RESERVE_MS + 1000)
        function = Function(store, batcher=Rows(spend=lambda: clock.spend(1000)), clock=clock, channel=channel)
        (result,) = function.ask(reference._replace(hand_overs=MOST_HAND_OVERS))
        assert result.state == "transient"
        assert not channel.messages

    def test_what_was_not_begun_is_left_to_the_queue_and_nothing_is_written(self) -> None:
        store, channel = MemoryObjects("in", "out"), Sent()
        put_images(store), put_lines(store)
        event = sqs_event(*(notification(key) for key in store.keys("in")))
        told = Function(store, clock=Clock(RESERVE_MS), channel=channel).send(sqs, event)
        assert len(told["batchItemFailures"]) == len(event["Records"])
        assert not store.keys("out")
        assert not channel.messages

    def test_objects_behind_one_that_took_the_time_are_left_to_the_queue(self) -> None:
        store, channel = MemoryObjects("in", "out"), Sent()
        for key in ("a.jsonl", "b.jsonl", "c.jsonl"):
            store.put("in", key, json_lines(40), content_type=LINES_TYPE)
        clock = Clock(RESERVE_MS + 2000)
        function = Function(store, batcher=Rows(spend=lambda: clock.spend(1000)), clock=clock, channel=channel)
        told = function.send(sqs, sqs_event(*(notification(f"{name}.jsonl") for name in "abc")))
        assert told == {"batchItemFailures": [{"itemIdentifier": "m1"}, {"itemIdentifier": "m2"}]}
        assert channel.take()[CONTINUATION]["key"] == "a.jsonl"

    def test_images_behind_those_that_took_the_time_are_left_to_the_queue_and_done_then(self) -> None:
        store = MemoryObjects("in", "out")
        keys = [f"{number}.png" for number in range(12)]
        for number, key in enumerate(keys):
            store.put("in", key, png(number))
        clock = Clock(RESERVE_MS + 2000)
        function = Function(store, batcher=Rows(spend=lambda: clock.spend(900)), clock=clock, channel=Sent())
        told = function.send(sqs, sqs_event(*map(notification, keys)))
        left = {each["itemIdentifier"] for each in told["batchItemFailures"]}
        assert 0 < len(left) < 12
        assert Function(store).send(sqs, sqs_event(*map(notification, keys))) == {"batchItemFailures": []}
        assert all(lines_of(store, key) for key in keys)

    def test_an_asynchronous_event_without_time_is_handed_on(self) -> None:
        store, channel = MemoryObjects("in", "out"), Sent()
        put_lines(store)
        Function(store, clock=Clock(RESERVE_MS), channel=channel).send(asynchronous, notification("a/rows ü.jsonl"))
        assert channel.take()[CONTINUATION]["hand_overs"] == 1

    @pytest.mark.parametrize(("milliseconds", "state"), [(2000, "continued"), (0, "transient")])
    def test_an_object_whose_turn_did_not_come_is_stuck_only_where_nobody_got_on(
        self, milliseconds: int, state: str
    ) -> None:
        store, channel = MemoryObjects("in", "out"), Sent()
        objects = [store.put("in", f"{name}.jsonl", json_lines(40), content_type=LINES_TYPE) for name in "ab"]
        clock = Clock(RESERVE_MS + milliseconds)
        function = Function(store, batcher=Rows(spend=lambda: clock.spend(1000)), clock=clock, channel=channel)
        _, last = function.ask(objects[0], objects[1]._replace(hand_overs=3, stalled=1), channel="invoke")
        assert (last.state, last.reference.stalled) == (state, 1)

    def test_a_channel_that_takes_nothing_leaves_the_object_to_the_trigger(self) -> None:
        store, channel = MemoryObjects("in", "out"), Sent(ObjectUnavailable("the queue is gone"))
        store.put("in", "a.jsonl", json_lines(40), content_type=LINES_TYPE)
        clock = Clock(RESERVE_MS + 2000)
        function = Function(store, batcher=Rows(spend=lambda: clock.spend(1000)), clock=clock, channel=channel)
        told = function.send(sqs, sqs_event(notification("a.jsonl")))
        assert told == {"batchItemFailures": [{"itemIdentifier": "m0"}]}

    def test_step_functions_and_s3_batch_go_on_by_their_own_ways(self) -> None:
        store = MemoryObjects("in", "out")
        store.put("in", "a.jsonl", json_lines(40), content_type=LINES_TYPE)
        clock = Clock(RESERVE_MS + 2000)
        function = Function(store, batcher=Rows(spend=lambda: clock.spend(1000)), clock=clock)
        told = function.send(step_functions, {"bucket": "in", "keys": ["a.jsonl"]})
        assert told["results"][0]["state"] == "continued"
        clock.left = RESERVE_MS + 2000
        assert function.send(s3_batch, job("a.jsonl"))["results"][0]["resultCode"] == "TemporaryFailure"
        clock.left = 600_000
        told = function.send(step_functions, told["continuation"])
        assert told["results"][0]["state"] == "done"
        assert "continuation" not in told
        assert function.send(s3_batch, job("a.jsonl"))["results"][0]["resultCode"] == "Succeeded"


def spending(clock: Clock, milliseconds: int, *, method: str) -> Hook:
    def hook(call: Call) -> None:
        if call.method == method:
            clock.spend(milliseconds)

    return hook


def notification(key: str, sequencer: str = "", etag: str = "") -> dict[str, Any]:
    """S3's, as it comes."""
    from urllib.parse import quote_plus

    stored = {"key": quote_plus(key), "sequencer": sequencer, "eTag": etag}
    named = {"bucket": {"name": "in"}, "object": {name: value for name, value in stored.items() if value}}
    return {
        "Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": named}]
    }


def sqs_event(*bodies: Mapping[str, Any]) -> dict[str, Any]:
    common = {"eventSource": "aws:sqs", "eventSourceARN": QUEUE, "messageAttributes": {}}
    return {"Records": [{**common, "messageId": f"m{at}", "body": json.dumps(body)} for at, body in enumerate(bodies)]}


def job(*keys: str) -> dict[str, Any]:
    tasks = [{"taskId": f"t{at}", "s3Key": key, "s3BucketArn": "arn:aws:s3:::in"} for at, key in enumerate(keys)]
    return {"invocationSchemaVersion": "1.0", "invocationId": "i", "job": {"id": "j"}, "tasks": tasks}


class TestOrder:
    def test_of_several_events_of_a_key_the_newest_is_answered_and_all_are_acknowledged(self) -> None:
        store = MemoryObjects("in", "out")
        old = store.put("in", "a.png", png(1))
        new = store.put("in", "a.png", png(2))
        bodies = [notification("a.png", each.sequencer, each.etag) for each in (new, old, new)]
        assert Function(store).send(sqs, sqs_event(*bodies)) == {"batchItemFailures": []}
        assert lines_of(store, "a.png") == [{"index": 0, "prediction": [2, 1]}]
        assert [call.method for call in store.calls].count("open") == 1

    def test_events_of_objects_that_are_gone_or_replaced_are_acknowledged_and_leave_nothing(self) -> None:
        store = MemoryObjects("in", "out")
        old = store.put("in", "a.png", png(1))
        store.put("in", "a.png", png(2))
        event = sqs_event(notification("a.png", etag=old.etag), notification("gone.png"))
        assert Function(store).send(sqs, event) == {"batchItemFailures": []}
        assert not store.keys("out")

    @pytest.mark.parametrize("key", ["rows.jsonl", "a.png"])
    @pytest.mark.parametrize("is_replaced", [True, False])
    def test_an_object_that_changes_between_two_reads_is_left_to_the_event_of_the_change(
        self, key: str, *, is_replaced: bool
    ) -> None:
        store = MemoryObjects("in", "out")
        store.put("in", key, png(1) if key.endswith("png") else json_lines(30))
        store.put("in", "other.png", png(9))

        def change() -> None:
            if is_replaced:
                store.put("in", key, png(7) if key.endswith("png") else json_lines(3))
            else:
                store.remove("in", key)

        with hooked(store.before, once_when(lambda call: call.method == "read" and call.key == key, change)):
            told = Function(store, head_bytes=8).send(sqs, sqs_event(notification(key), notification("other.png")))
        assert told == {"batchItemFailures": []}
        assert not [name for name in store.keys("out") if f"/{key}/" in name and "_parts/" not in name]
        assert lines_of(store, "other.png")

    def test_an_object_that_is_replaced_amid_its_rows_gets_no_results_of_two_states(self) -> None:
        store = MemoryObjects("in", "out")
        row = b'{"x": 1, "y": "%s"}\n' % (b"y" * (1 << 20))
        store.put("in", "long.jsonl", row * 20, content_type=LINES_TYPE)
        reads = iter(range(100))

        def hook(call: Call) -> None:
            if call.method == "read" and next(reads) == 2:
                store.put("in", "long.jsonl", b'{"x": 2}\n' * 5, content_type=LINES_TYPE)

        with hooked(store.before, hook):
            assert Function(store).send(sqs, sqs_event(notification("long.jsonl"))) == {"batchItemFailures": []}
        assert not [name for name in store.keys("out") if "_parts/" not in name]
        Function(store).send(sqs, sqs_event(notification("long.jsonl")))
        assert lines_of(store, "long.jsonl")[-1] == {"index": 4, "prediction": [2, 1]}

    def test_outputs_are_no_inputs_by_place_and_by_metadata(self) -> None:
        store = MemoryObjects("in", "out")
        references = [
            store.put("out", "p/m@0/x/y.jsonl", json_lines(3)),
            store.put("in", "copied.jsonl", json_lines(3), metadata={PRODUCER: "another"}),
        ]
        results = Function(store).ask(*references)
        assert states(results) == ["skipped", "skipped"]
        assert "another" in results[1].message
        assert store.keys("out") == ["p/m@0/x/y.jsonl"]


def once_when(is_due: Callable[[Call], bool], act: Callable[[], object]) -> Hook:
    done: list[bool] = []

    def hook(call: Call) -> None:
        if not done and is_due(call):
            done.append(True)
            act()

    return hook


class TestRows:
    def test_a_poisonous_row_costs_itself_only(self) -> None:
        store = MemoryObjects("in", "out")
        rows = [{"x": POISON if row == 10 else row} for row in range(16)]
        reference = store.put("in", "r.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
        (result,) = Function(store, size=8).ask(reference)
        assert (result.state, result.rows, result.failed_rows) == ("done", 16, 1)
        lines = lines_of(store, "r.jsonl")
        assert [line["index"] for line in lines if "error" in line] == [10]
        assert lines[10]["error"] == {
            "type": "InferenceError",
            "class": "Permanent",
            "message": "The net does not like it.",
        }

    def test_each_bad_line_has_its_error_and_the_others_their_answers(self) -> None:
        store = MemoryObjects("in", "out")
        bad = {1: b"{", 3: b'{"x": NaN}', 4: b'{"x": "text"}', 5: b"", 6: b"\xff"}
        content = b"".join(bad.get(row, b'{"x": 1}') + b"\n" for row in range(8))
        (result,) = Function(store, size=8).ask(store.put("in", "r.jsonl", content))
        assert (result.state, result.failed_rows) == ("done", 5)
        errors = lines_of(store, "r.jsonl", "_errors")
        assert [line["index"] for line in errors] == list(bad)
        assert {line["error"]["class"] for line in errors} == {"Permanent"}
        assert "Line 2 is not JSON" in errors[0]["error"]["message"]

    def test_a_bomb_and_a_broken_image_in_a_zip_leave_the_others_alone(self) -> None:
        store = MemoryObjects("in", "out")
        content = zipped({"a.png": png(1), "bomb.png": bytes(40 << 20), "broken.png": b"no", "b.png": png(2)})
        (result,) = Function(store).ask(store.put("in", "i.zip", content))
        lines = lines_of(store, "i.zip")
        assert (result.state, result.rows, result.failed_rows) == ("done", 4, 2)
        assert [line.get("error", {}).get("type") for line in lines] == [None, "PayloadTooLarge", "InputMismatch", None]
        assert [line["name"] for line in lines] == ["a.png", "bomb.png", "broken.png", "b.png"]

    def test_a_read_that_fails_amid_a_micro_batch_moves_no_boundary_and_costs_no_whole_one(self) -> None:
        row = b'{"x": 1, "y": "%s"}\n' % (b"y" * ((1 << 20) + 17))
        expected: dict[str, Any] = {}
        for fails in (False, True):
            store, rows = MemoryObjects("in", "out"), Rows()
            reference = store.put("in", "r.jsonl", row * 22, content_type=LINES_TYPE)
            function = Function(store, size=5, batcher=rows, part_bytes=1 << 20)
            if fails:
                with hooked(store.before, always_from(2, ObjectUnavailable("503"), method="read")):
                    assert states(function.ask(reference)) == ["transient"]
            assert states(function.ask(reference)) == ["done"]
            expected = expected or outputs(store)
            assert outputs(store) == expected
            # The rows of the batch that the error has cut short, and no others, are computed twice.
            assert 0 <= sum(rows.sizes) - 22 < 5


def always_from(number: int, error: Exception, *, method: str) -> Hook:
    """Fails at this call of the method's and at all that follow."""
    counts = iter(range(1, 1_000_000))

    def hook(call: Call) -> None:
        if call.method == method and next(counts) >= number:
            raise error

    return hook


NO_ACCESS = ObjectDenied("s3://in/x.png: S3 denies access. The function's role needs s3:GetObject.")
UNREADABLE = {
    "empty.jsonl": b"",
    "unknown.bin": b"\x00\x01\x02\x03" * 50,
    "cut.zip": zipped({"a.png": png(1)})[:-30],
    "cut.jsonl.gz": gzip.compress(json_lines(9))[:-12],
}


class RaisingRows(Rows):
    """A model whose code raises."""

    def run(self, rows: Sequence[int]) -> list[Any]:
        """As an archive's code fails: what it raised is the cause."""
        raise InferenceError("Prediction failed") from KeyError("secret")


class TestLogs:
    @pytest.mark.parametrize("put", [put_lines, put_images])
    def test_what_the_first_row_s_code_raised_is_in_the_log_and_nowhere_else(
        self, put: Put, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = MemoryObjects("in", "out")
        Function(store, batcher=RaisingRows()).ask(*put(store))
        told = [record for record in caplog.records if record.exc_info]
        assert len(told) == 1
        assert "KeyError: 'secret'" in caplog.text
        assert not any(b"secret" in store.content("out", key) for key in store.keys("out"))


class TestObjects:
    """Objects that are at fault themselves, each beside a sound neighbour."""

    @pytest.mark.parametrize("key", UNREADABLE)
    def test_what_cannot_be_read_is_reported_and_is_permanent_in_every_run(self, key: str) -> None:
        store = MemoryObjects("in", "out")
        references = [store.put("in", "good.png", png(3)), store.put("in", key, UNREADABLE[key])]
        for _ in range(2):
            results = Function(store).ask(*references)
            assert states(results) == ["done", "permanent"]
            assert set(dict(results[1].outputs)) == {"results", "errors", "summary"}
        assert lines_of(store, key, "_errors")[-1]["error"] | {"message": ""} == {
            "type": "ObjectRefused",
            "class": "Permanent",
            "message": "",
        }
        assert summary_of(store, key)["refused"] is True
        assert "refused" not in summary_of(store, "good.png")

    @pytest.mark.parametrize("key", ["x.png", "x.jsonl"])
    @pytest.mark.parametrize("method", ["open", "read"])
    def test_denied_access_is_reported_and_ends_with_the_permission(self, key: str, method: str) -> None:
        store = MemoryObjects("in", "out")
        references = [
            store.put("in", key, png(3) if key == "x.png" else json_lines(3)),
            store.put("in", "good.png", png(3)),
        ]
        with hooked(store.before, always(NO_ACCESS, method=method, key=key)):
            for _ in range(2):
                results = Function(store, head_bytes=8).ask(*references)
                assert states(results) == ["permanent", "done"]
        assert lines_of(store, key, "_errors") == [
            {"index": 0, "error": {"type": "ObjectDenied", "class": "Permanent", "message": str(NO_ACCESS)}}
        ]
        report = summary_of(store, key)
        assert report["error"]["type"] == "ObjectDenied"
        assert report["input"] == {
            "bucket": "in",
            "key": key,
            "version": "",
            "etag": references[0].etag,
            "size": references[0].size,
        }
        assert states(Function(store).ask(*references)) == ["done", "done"]

    def test_an_object_for_no_model_is_reported(self) -> None:
        store = MemoryObjects("in", "out")
        references = [store.put("in", "nobody/a.png", png(1)), store.put("in", "a.png", png(1))]
        results = Function(store).ask(*references)
        assert states(results) == ["permanent", "done"]
        assert lines_of(store, "nobody/a.png", "_errors")[0]["error"]["type"] == "ModelNotFound"
        assert dict(results[0].outputs)["summary"].startswith("s3://out/p/none@000000000000/nobody/a.png/")

    def test_a_bucket_that_is_not_there_is_reported(self) -> None:
        store = MemoryObjects("in", "out")
        (result,) = Function(store).ask(ObjectRef("inn", "a.png"))
        assert result.state == "permanent"
        assert lines_of(store, "a.png", "_errors")[0]["error"]["type"] == "BucketMissing"

    @pytest.mark.parametrize("denied", ["write_new", "read_small", ""])
    def test_where_outputs_cannot_be_the_trigger_keeps_the_object(self, denied: str) -> None:
        store = MemoryObjects("in", "out") if denied else MemoryObjects("in")
        store.put("in", "a.png", png(1))
        put_lines(store)
        if denied:
            store.before.append(always(ObjectDenied(f"no {denied}"), method=denied))
        told = Function(store).send(sqs, sqs_event(notification("a.png"), notification("a/rows ü.jsonl")))
        assert len(told["batchItemFailures"]) == 2

    def test_a_report_that_cannot_be_written_leaves_the_object_to_the_trigger(self) -> None:
        store = MemoryObjects("in")
        store.put("in", "nobody/a.png", png(1))
        assert len(Function(store).send(sqs, sqs_event(notification("nobody/a.png")))["batchItemFailures"]) == 1

    def test_something_else_in_the_place_of_a_summary_is_reported_and_left_alone(self) -> None:
        store = MemoryObjects("in", "out")
        reference = store.put("in", "a.png", png(1))
        Function(store).ask(reference)
        (key,) = [key for key in store.keys("out") if key.endswith("_summary.json")]
        store.put("out", key, b"something else")
        (result,) = Function(store).ask(reference)
        assert result.state == "permanent"
        assert "/none@000000000000/" in dict(result.outputs)["errors"]
        assert store.content("out", key) == b"something else"

    def faulty(self) -> MemoryObjects:
        """A store with a good object, an unreadable, a denied and a throttled one."""
        store = MemoryObjects("in", "out")
        store.put("in", "good.png", png(1))
        store.put("in", "empty.jsonl", b"")
        store.put("in", "denied.png", png(2))
        store.put("in", "slow.png", png(3))
        store.before += [
            always(NO_ACCESS, method="open", key="denied.png"),
            always(ObjectUnavailable("503 SlowDown"), method="read", key="slow.png"),
        ]
        return store

    KEYS = ("good.png", "empty.jsonl", "denied.png", "slow.png", "gone.png")

    def test_what_sqs_is_told(self) -> None:
        told = Function(self.faulty(), head_bytes=8).send(
            sqs, sqs_event(*map(notification, self.KEYS), {"no": "object"})
        )
        assert told == {"batchItemFailures": [{"itemIdentifier": "m3"}, {"itemIdentifier": "m5"}]}

    def test_what_s3_batch_operations_is_told(self) -> None:
        told = Function(self.faulty(), head_bytes=8).send(s3_batch, job(*self.KEYS))
        assert [result["resultCode"] for result in told["results"]] == [
            "Succeeded",
            "PermanentFailure",
            "PermanentFailure",
            "TemporaryFailure",
            "Succeeded",
        ]
        assert "_errors.jsonl" in told["results"][1]["resultString"]
        assert "ObjectDenied" in told["results"][2]["resultString"]

    def test_what_step_functions_is_told(self) -> None:
        told = Function(self.faulty(), head_bytes=8).send(step_functions, {"bucket": "in", "keys": list(self.KEYS)})
        assert [result["state"] for result in told["results"]] == [
            "done",
            "permanent",
            "permanent",
            "transient",
            "skipped",
        ]
        assert told["failed"] == 2
        assert told["continuation"]["Items"] == [{"key": "slow.png"}]

    def test_what_an_asynchronous_invoke_is_told(self) -> None:
        function = Function(self.faulty(), head_bytes=8, channel=Sent())
        for key in ("good.png", "empty.jsonl", "denied.png", "gone.png"):
            assert len(function.send(asynchronous, notification(key))["results"]) == 1
        with pytest.raises(BatchIncomplete, match=r"slow\.png"):
            function.send(asynchronous, notification("slow.png"))


@pytest.fixture(params=[True, False], ids=["known", "new"])
def is_known(request: pytest.FixtureRequest) -> bool:
    """Whether images are taken as they come, or in portions."""
    return bool(request.param)


class TestManyImages:
    @pytest.mark.parametrize("head_bytes", [8, HEAD_BYTES])
    def test_a_throttled_image_is_its_own_failure_and_done_the_next_time(
        self, head_bytes: int, *, is_known: bool
    ) -> None:
        store = MemoryObjects("in", "out")
        keys = [f"{number:03d}.png" for number in range(100)]
        for number, key in enumerate(keys):
            store.put("in", key, png(number))
        throttled = ["007.png", "040.png", "099.png"]
        store.before += [
            always(ObjectUnavailable("503 SlowDown"), method=method, key=key)
            for method, key in zip(("open", "read", "write_new"), throttled, strict=True)
        ]
        told = Function(store, head_bytes=head_bytes, is_known=is_known).send(sqs, sqs_event(*map(notification, keys)))
        expected = [7, 40, 99] if head_bytes == 8 else [7, 99]  # where nothing is read after the beginning
        assert [int(each["itemIdentifier"][1:]) for each in told["batchItemFailures"]] == expected
        store.before.clear()
        left = Function(store).send(sqs, sqs_event(*map(notification, throttled)))
        assert left == {"batchItemFailures": []}
        assert [lines_of(store, key)[0]["prediction"][0] for key in keys] == list(range(100))

    def test_images_are_answered_together(self, *, is_known: bool) -> None:
        store = MemoryObjects("in", "out")
        references = [store.put("in", f"{number}.png", png(number)) for number in range(16)]
        rows = Rows()
        Function(store, size=8, batcher=rows, is_known=is_known).ask(*references)
        assert rows.sizes == [8, 8]

    def test_images_among_other_objects_are_answered_in_whatever_order_they_come(self, *, is_known: bool) -> None:
        store = MemoryObjects("in", "out")
        keys = [f"{number:03d}.{'png' if number % 3 else 'jsonl'}" for number in range(300)]
        references = [
            store.put("in", key, png(number) if number % 3 else b'{"x": %d}\n' % number)
            for number, key in enumerate(keys)
        ]
        references[5] = references[5]._replace(key="none/a.png")
        references[6] = store.put("in", "nobody/b.png", png(1))
        results = Function(store, size=8, is_known=is_known).ask(*references)
        assert [result.reference.key for result in results] == [reference.key for reference in references]
        told = states(results)
        assert (told[5], told[6], set(told[:5] + told[7:])) == ("skipped", "permanent", {"done"})
        answers = [lines_of(store, key)[0]["prediction"][0] for key in keys[7:]]
        assert answers == [min(number, 255) if number % 3 else number for number in range(7, 300)]

    def test_images_that_there_is_no_time_for_are_left_untouched(self, *, is_known: bool) -> None:
        store = MemoryObjects("in", "out")
        references = [store.put("in", f"{number:03d}.png", png(number)) for number in range(200)]
        clock = Clock(RESERVE_MS + 5000)
        rows = Rows(spend=lambda: clock.spend(1000))
        results = Function(store, size=8, batcher=rows, clock=clock, is_known=is_known, channel=Sent()).ask(*references)
        told = states(results)
        done = told.count("done")
        assert done in range(8, 48)
        # Which of a batch are written before time is up is the threads' affair.
        assert set(told) == {"done", "untouched"}
        written = {name.split("/")[-2] for name in store.keys("out") if name.endswith(".jsonl")}
        assert written == {each.reference.key for each in results if each.state == "done"}
        assert done <= sum(rows.sizes) <= 48  # nothing is computed that nobody has time to write
        again = states(Function(store, size=8, is_known=is_known).ask(*references))
        assert again == ["done"] * 200

    def test_no_more_images_than_fit_are_in_memory_where_events_tell_no_sizes(self) -> None:
        store = MemoryObjects("in", "out")
        large = png(1) + bytes(30 << 20)
        references = [store.put("in", f"{number}.png", large)._replace(size=None) for number in range(6)]
        rows = Rows()
        Function(store, size=8, batcher=rows).ask(*references)
        assert rows.sizes == [2, 2, 2]

    def test_nothing_more_is_fetched_when_time_is_up(self) -> None:
        store = MemoryObjects("in", "out")
        references = [store.put("in", f"{number:02d}.png", png(number)) for number in range(60)]
        clock = Clock(RESERVE_MS + 1000)

        def hook(call: Call) -> None:
            if call.method == "read" and call.key > "20":
                time.sleep(1.5)  # time is up long before

        with hooked(store.before, hook):
            results = Function(
                store,
                size=4,
                batcher=Rows(spend=lambda: clock.spend(2000)),
                clock=clock,
                channel=Sent(),
                head_bytes=8,
            ).ask(*references)
        assert "untouched" in states(results)
        assert 20 <= len([call for call in store.calls if call.method == "read"]) <= 20 + CONNECTIONS


class Client:
    """boto3's, as far as the channels use it: notes what it is asked, or refuses."""

    def __init__(self, refusal: str = "") -> None:
        self.asked: list[dict[str, Any]] = []
        self._refusal = refusal

    def get_queue_url(self, **request: str) -> dict[str, str]:
        return {"QueueUrl": f"https://sqs/{request['QueueOwnerAWSAccountId']}/{request['QueueName']}"}

    def send_message(self, **request: Any) -> None:
        self._note(request)

    def invoke(self, **request: Any) -> None:
        self._note(request)

    def _note(self, request: dict[str, Any]) -> None:
        if self._refusal:
            raise ClientError({"Error": {"Code": self._refusal, "Message": "no"}}, "SendMessage")
        self.asked.append(request)


class TestChannels:
    REFERENCE = ObjectRef("in", "a ü.jsonl", etag="e", acknowledgement="m0", hand_overs=3, rows=8)

    def test_an_invoke_and_a_message_are_read_back_as_the_same_object(self) -> None:
        client, message = Client(), continuation_of(self.REFERENCE)
        InvokeChannel(lambda: client, "predict").send(message)
        QueueChannel(lambda: client, arn=QUEUE).send(message)
        QueueChannel(lambda: client, url="https://sqs/1/other").send(message)
        invoked, from_arn, from_url = client.asked
        assert (invoked["FunctionName"], invoked["InvocationType"]) == ("predict", "Event")
        assert from_arn["QueueUrl"] == "https://sqs/123456789012/work"
        assert from_url["QueueUrl"] == "https://sqs/1/other"
        for said in (invoked["Payload"].decode(), from_arn["MessageBody"], from_url["MessageBody"]):
            assert find_objects(json.loads(said), "m0").objects == (self.REFERENCE,)

    def test_a_fifo_queue_gets_each_hand_over_once(self) -> None:
        client = Client()
        channel = QueueChannel(lambda: client, url="https://sqs/1/work.fifo")
        for hand_overs in (1, 2, 2):
            channel.send(continuation_of(self.REFERENCE._replace(hand_overs=hand_overs)))
        first, second, again = (asked["MessageDeduplicationId"] for asked in client.asked)
        assert first != second == again

    @pytest.mark.parametrize(
        "channel",
        [InvokeChannel(lambda: Client("AccessDenied"), "f"), QueueChannel(lambda: Client("AccessDenied"), url="q")],
    )
    def test_a_refusal_says_which_permission_is_missing(self, channel: Channel) -> None:
        with pytest.raises(ObjectUnavailable, match=r"role needs (lambda:InvokeFunction|sqs:SendMessage)"):
            channel.send({})
