"""Event source mappings without a queue: the event's form, what counts as an answer, what is refused, when a mapping has nothing to do."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from local_emulator.errors import QueueUnavailable, UsageError
from local_emulator.records import Ending, Invocation, Outcome
from local_emulator.triggers.asynchronous import AsynchronousInvokes
from local_emulator.triggers.batch_answer import BatchFailed, failed_messages
from local_emulator.triggers.event_source import Quiet, check_mapping, remarks
from local_emulator.triggers.poller import Poller, Polling
from local_emulator.triggers.queue import QueueFacts, with_credentials
from local_emulator.triggers.reports import AsynchronousReport, BatchReport, Report, Tally, Totals, line, summary
from local_emulator.triggers.sqs_event import Message, event, fitting, message

ARN = "arn:aws:sqs:eu-west-1:123456789012:jobs"

# ReceiveMessage's answer, as boto3 gives it.
RECEIVED = {
    "MessageId": "id-1",
    "ReceiptHandle": "handle",
    "MD5OfBody": "a digest",
    "MD5OfMessageAttributes": "another",
    "Body": '{"ü": 1}',
    "Attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1523232000000"},
    "MessageAttributes": {
        "model": {"StringValue": "digits", "DataType": "String"},
        "raw": {"BinaryValue": b"\x00\xff", "DataType": "Binary"},
    },
}


def messages(*sizes: int) -> list[Message]:
    return [Message(f"id-{number}", f"handle-{number}", b"x" * size) for number, size in enumerate(sizes)]


def success(answer: Any) -> Outcome:
    return Outcome(Ending.SUCCESS, json.dumps(answer).encode())


def failure(item: Any) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": "a"}, item]}


# The event.


def test_a_message_stands_in_the_event_as_lambda_puts_it() -> None:
    (record,) = json.loads(event([message(RECEIVED, ARN)]))["Records"]
    assert record == {
        "messageId": "id-1",
        "receiptHandle": "handle",
        "body": '{"ü": 1}',
        "attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1523232000000"},
        "messageAttributes": {
            "model": {
                "stringValue": "digits",
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": "String",
            },
            "raw": {"binaryValue": "AP8=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
        },
        "md5OfMessageAttributes": "another",
        "md5OfBody": "a digest",
        "eventSource": "aws:sqs",
        "eventSourceARN": ARN,
        "awsRegion": "eu-west-1",
    }


def test_half_of_a_surrogate_pair_leaves_the_event_json() -> None:
    (record,) = json.loads(event([message({**RECEIVED, "Body": "\ud800"}, ARN)]))["Records"]
    assert record["body"] == "?"


@pytest.mark.parametrize(
    ("sizes", "most", "count"),
    [
        ((1, 1, 1), 10, 3),
        ((1, 1, 1), 2, 2),
        ((), 10, 0),
        ((6_291_456 - 14,), 10, 1),
        ((3_000_000, 3_291_456 - 15), 10, 2),
        ((3_000_000, 3_291_456 - 14), 10, 1),
        ((9_000_000, 1), 10, 1),
    ],
)
def test_an_event_holds_as_many_messages_as_an_invocation_takes(sizes: Sequence[int], most: int, count: int) -> None:
    batch = messages(*sizes)
    assert fitting(batch, most) == count
    assert len(event(batch[:count])) <= 6_291_456 or count == 1


# The answer.


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": None}, {"batchItemFailures": []}, {"other": 1}])
def test_an_empty_answer_means_that_all_is_done(answer: Any) -> None:
    assert failed_messages(success(answer), {"a", "b"}) == frozenset()


def test_what_the_answer_names_is_to_come_again() -> None:
    assert failed_messages(success(failure({"itemIdentifier": "b"})), {"a", "b", "c"}) == {"a", "b"}


@pytest.mark.parametrize(
    "answer",
    [
        "done",
        1,
        [],
        {"batchItemFailures": "a"},
        {"batchItemFailures": {}},
        failure("a"),
        failure({"itemIdentifier": ""}),
        failure({"itemIdentifier": None}),
        failure({"ItemIdentifier": "b"}),
        failure({"itemIdentifier": "of another batch"}),
    ],
)
def test_an_answer_that_lambda_does_not_understand_fails_the_whole_batch(answer: Any) -> None:
    with pytest.raises(BatchFailed, match=r"answer is|batchItemFailures"):
        failed_messages(success(answer), {"a", "b"})


@pytest.mark.parametrize("ending", [each for each in Ending if each is not Ending.SUCCESS])
def test_an_error_in_the_function_fails_the_whole_batch(ending: Ending) -> None:
    outcome = Outcome(ending, b'{"errorType": "ValueError", "errorMessage": "wrong"}')
    with pytest.raises(BatchFailed, match=r"^ValueError: wrong$"):
        failed_messages(outcome, {"a"})


# What is refused.


def facts(name: str = "jobs", *, visibility_seconds: int = 180, dead_letter_arn: str = ARN) -> QueueFacts:
    return QueueFacts(f"http://q/{name}", ARN.replace("jobs", name), visibility_seconds, dead_letter_arn, 5)


@pytest.mark.parametrize(
    ("queue", "polling", "complaint"),
    [
        (facts("jobs.fifo"), Polling(batch_size=11, window_seconds=1), "FIFO queue, a batch has 10 messages at most"),
        (facts("jobs.fifo"), Polling(window_seconds=1), "no --window"),
        (facts(), Polling(batch_size=11), "needs a --window of 1 second"),
        (facts(visibility_seconds=29), Polling(), "is 29 seconds, less than the function's timeout of 30"),
    ],
)
def test_a_mapping_that_lambda_does_not_make_is_refused(queue: QueueFacts, polling: Polling, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        check_mapping(queue, polling, 30)


def test_what_lambda_takes_is_taken_and_what_is_unwise_is_said() -> None:
    for queue, polling in [(facts(), Polling()), (facts(), Polling(10_000, 1)), (facts("jobs.fifo"), Polling(10))]:
        check_mapping(queue, polling, 30)
    assert list(remarks(facts(), Polling(), 30)) == []
    told = list(remarks(facts(visibility_seconds=181, dead_letter_arn=""), Polling(window_seconds=2), 30))
    assert [re.sub(r"\D+", " ", text).split() for text in told] == [["181", "182", "6"], []]


@pytest.mark.parametrize(
    ("shell", "endpoint", "key"),
    [
        ({}, "http://here", "local"),
        ({"AWS_ACCESS_KEY_ID": "mine"}, "http://here", "mine"),
        ({"AWS_PROFILE": "mine"}, "http://here", None),
        ({"AWS_SHARED_CREDENTIALS_FILE": __file__}, "http://here", None),
        ({}, "", None),
    ],
)
def test_credentials_are_made_up_only_for_an_endpoint_and_where_there_are_none(
    shell: dict[str, str], endpoint: str, key: str | None
) -> None:
    shell = {"AWS_SHARED_CREDENTIALS_FILE": "/not/there", **shell}
    assert with_credentials(shell, endpoint_url=endpoint).get("AWS_ACCESS_KEY_ID") == key


# Nothing to do.


def test_a_queue_counts_as_empty_only_when_it_has_been_so_without_a_break() -> None:
    idle = iter([True, False, True, True, True])
    times = iter([0.0, 0.0, 10.0, 10.0, 12.0, 13.0])
    quiet = Quiet(lambda: next(idle), 3.0, lambda: next(times))
    assert [quiet() for _ in range(5)] == [False, False, False, False, True]


# Polling, with a queue that does what a test says.


class ScriptedQueue:
    """Gives what the script says, one step to each question: messages, or an error."""

    def __init__(self, *steps: list[Message] | QueueUnavailable, undeleted: Sequence[str] = ()) -> None:
        self.steps = list(steps)
        self.undeleted = list(undeleted)
        self.deleted: list[str] = []
        self.asked: list[int] = []

    def receive(self, most: int, wait_seconds: int) -> list[Message]:
        self.asked.append(most)
        step = self.steps.pop(0) if self.steps else []
        if isinstance(step, QueueUnavailable):
            raise step
        return step

    def delete(self, messages: Sequence[Message]) -> list[str]:
        self.deleted += [each.message_id for each in messages]
        return self.undeleted


def polled(
    queue: ScriptedQueue, answer: Callable[[Invocation], Outcome], **settings: float
) -> tuple[list[BatchReport], list[str]]:
    """Poll until the script is at its end; gives the reports and what was logged."""
    reports: list[BatchReport] = []
    log: list[str] = []
    polling = Polling(wait_seconds=0)._replace(**settings)  # type: ignore[arg-type]
    poller = Poller(queue, answer, polling, report=reports.append, log=log.append)
    poller.run(is_over=lambda: not queue.steps)
    return reports, log


def test_a_batch_is_filled_while_its_window_is_open() -> None:
    first, second = messages(1, 1), [Message("c", "h", b"1"), Message("d", "h", b"1")]
    queue = ScriptedQueue(first, [], second)
    reports, _ = polled(queue, lambda _: success(None), window_seconds=60, batch_size=4)
    assert [report.messages for report in reports] == [4]
    assert queue.asked[:3] == [4, 2, 2]
    assert queue.deleted == ["id-0", "id-1", "c", "d"]


def test_without_a_window_a_batch_goes_as_it_comes() -> None:
    queue = ScriptedQueue(messages(1), messages(1, 1))
    reports, _ = polled(queue, lambda _: success(None))
    assert [report.messages for report in reports] == [1, 2]


def test_messages_that_do_not_fit_into_one_event_go_with_the_next() -> None:
    queue = ScriptedQueue(messages(4_000_000, 4_000_000, 1))
    sizes: list[int] = []

    def note(invocation: Invocation) -> Outcome:
        sizes.append(len(invocation.event))
        return success(None)

    reports, _ = polled(queue, note)
    assert [report.messages for report in reports] == [1, 2]
    assert max(sizes) < 6_291_456


def test_a_message_that_cannot_be_deleted_counts_as_one_that_comes_again() -> None:
    reports, _ = polled(ScriptedQueue(messages(1, 1), undeleted=["it is gone"]), lambda _: success(None))
    assert (reports[0].messages, reports[0].left, reports[0].reason) == (2, 1, "it is gone")


def test_a_queue_that_does_not_answer_is_asked_again_until_patience_ends() -> None:
    silent = QueueUnavailable("nobody answers")
    reports, log = polled(ScriptedQueue(silent, messages(1)), lambda _: success(None))
    assert (len(reports), log) == (1, ["poll: nobody answers; asking again"])
    with pytest.raises(QueueUnavailable, match="nobody answers"):
        polled(ScriptedQueue(silent, messages(1)), lambda _: success(None), patience_seconds=0)


def test_no_more_batches_are_under_way_than_may_be() -> None:
    under_way: set[str] = set()
    most, met = [0], threading.Barrier(2)

    def meet(invocation: Invocation) -> Outcome:
        under_way.add(invocation.request_id)
        most.append(len(under_way))
        met.wait(10)  # passed by two at a time: one alone would break it
        time.sleep(0.01)  # in which a third one could come
        under_way.remove(invocation.request_id)
        return success(None)

    reports, _ = polled(ScriptedQueue(*(messages(1) for _ in range(6))), meet, concurrency=2)
    assert len(reports) == 6
    assert max(most) == 2


# Asynchronous invokes.


def asynchronously(*outcomes: Outcome) -> Iterator[AsynchronousReport]:
    """The reports of one event whose attempts end so."""
    left = list(outcomes)
    reports: list[AsynchronousReport] = []
    invokes = AsynchronousInvokes(lambda _: left.pop(0), reports.append, waits=(0.01, 0.02))
    invokes.accept(Invocation("id-1", b"{}", ""))
    done = threading.Event()
    while invokes.pending:
        done.wait(0.005)
    assert not left
    yield from reports


WRONG = Outcome(Ending.FUNCTION_ERROR, b'{"errorType": "ValueError", "errorMessage": "wrong"}')


def test_an_asynchronous_invoke_that_fails_is_tried_twice_more_under_its_id() -> None:
    first, second, third = asynchronously(WRONG, WRONG, WRONG)
    assert [(each.attempt, each.again_in) for each in (first, second, third)] == [(1, 0.01), (2, 0.02), (3, None)]
    assert {each.request_id for each in (first, second, third)} == {"id-1"}
    assert third.reason == "ValueError: wrong"


def test_an_asynchronous_invoke_that_succeeds_is_over() -> None:
    assert [each.reason for each in asynchronously(WRONG, success(1))] == ["ValueError: wrong", ""]


# Reports.


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (BatchReport("i", 1, 0, "", 0.5), "1 message: 1 done, 500 ms, RequestId i"),
        (BatchReport("i", 3, 1, "", 0.5), "3 messages: 2 done, 1 comes again, 500 ms, RequestId i"),
        (BatchReport("i", 2, 2, "E: a\nb", 0.5), "2 messages: 2 come again, E: a b, 500 ms, RequestId i"),
        (AsynchronousReport("i", 1, 60.0, "", 0.5), "asynchronous invoke: done, 500 ms, RequestId i"),
        (
            AsynchronousReport("i", 1, 60.0, "E: a", 0.5),
            "asynchronous invoke: attempt 1 failed, again in 60 s, E: a, 500 ms, RequestId i",
        ),
        (
            AsynchronousReport("i", 3, None, "E: a", 0.5),
            "asynchronous invoke: attempt 3 failed, given up, E: a, 500 ms, RequestId i",
        ),
    ],
)
def test_each_invocation_is_one_line(report: Report, text: str) -> None:
    assert line(report) == text


def test_reports_add_up_until_the_end() -> None:
    tally = Tally(lambda _: None)
    for report in (
        BatchReport("a", 3, 1, "", 1),
        BatchReport("b", 2, 2, "E: x", 1),
        AsynchronousReport("c", 1, 60.0, "E: x", 1),
        AsynchronousReport("c", 3, None, "E: x", 1),
    ):
        tally.add(report)
    tally.close()
    tally.add(BatchReport("cut off", 2, 2, "E: x", 1))
    assert tally.totals == Totals(2, 1, 5, 3, 1, 1, 2)
    assert summary(tally.totals, dead_letters="1 in lost").splitlines() == [
        "batches       2, of which 1 failed as a whole",
        "messages      5 received: 2 done, 3 left to come again",
        "asynchronous  1 invoke in 2 attempts, 1 given up",
        "dead letters  1 in lost",
    ]
