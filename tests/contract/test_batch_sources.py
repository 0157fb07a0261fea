"""Every trigger of batches: which source takes its event, what is asked, and that each state gets the protocol's own answer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller
from moto import mock_aws

from gluon_lambda.batch_records import BatchAnswer, BatchCall, ObjectRef, ObjectResult
from gluon_lambda.errors import BatchIncomplete, ResponseTooLarge
from gluon_lambda.event_sources import asynchronous, s3_batch, sqs, step_functions, wire
from gluon_lambda.event_sources.batch_selection import batch_sources, find_batch_source
from gluon_lambda.event_sources.batch_source import ANSWER_LIMIT_BYTES
from gluon_lambda.event_sources.object_references import continuation_of
from tests.conftest import ROOT
from tests.events.gateways import GATEWAYS, Sent, golden

SOURCES = {
    "sqs": sqs,
    "sqs_sns_s3": sqs,
    "sqs_sns_raw": sqs,
    "sqs_fifo": sqs,
    "s3_batch_1_0": s3_batch,
    "s3_batch_2_0": s3_batch,
    "s3_batch_json_key": s3_batch,
    "s3_put": asynchronous,
    "s3_delete": asynchronous,
    "s3_test_event": asynchronous,
    "sns": asynchronous,
    "eventbridge_s3": asynchronous,
    "continuation": asynchronous,
    "step_functions_map_batch": step_functions,
    "step_functions_map_objects": step_functions,
    "step_functions_map_inventory": step_functions,
    "step_functions_map_rows": step_functions,
    "keys": step_functions,
}
# Inputs of models, and events of services that name no object on S3.
FOREIGN: list[Any] = [None, 5, "x", [], [{"Key": "k"}], {}, {"model": "m", "inputs": {"key": "k"}}, {"inputs": [1]}]
FOREIGN += [{"bucket": "b"}, {"keys": ["k"]}, {"bucket": "b", "keys": "k"}, {"bucket": "b", "keys": ["k"], "inputs": 1}]
FOREIGN += [{"bucket": "b", "key": "k", "data": [1, 2]}, {"Event": "x"}, {"Event": 5}, {"Items": {}}, {"tasks": []}]
FOREIGN += [{"Records": None}, {"Records": {}}, {"Records": []}, {"Records": [None]}, {"Records": ["x"]}]
FOREIGN += [{"Records": [{}]}, {"Records": [{"kinesis": {}, "eventID": "1"}]}, {"Records": [{"cf": {}}]}]
FOREIGN += [{"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {}}]}, {"detail-type": "Object Created"}]
FOREIGN += [{"detail-type": "x", "source": "my.app", "detail": {}}]
STATES = ["done", "skipped", "continued", "untouched", "transient", "permanent"]

Event = dict[str, Any]


class Context:
    """What awslambdaric hands over beside the event."""

    aws_request_id = "8f5b2b1e-0000-4000-8000-000000000002"

    def get_remaining_time_in_millis(self) -> int:
        """Always the same, so that a test can tell it."""
        return 2_500


def ask(event: Event) -> BatchCall:
    source = find_batch_source(event)
    assert source is not None
    return source.to_call(event, Context())


def answered(call: BatchCall, states: list[str], **more: Any) -> BatchAnswer:
    """An answer of these states, of the call's objects in their order."""
    results = [ObjectResult(each, state, **more) for each, state in zip(call.objects, states, strict=True)]
    return BatchAnswer(tuple(results), call.refused)


def answer(event: Event, *states: str, **more: Any) -> Any:
    """What the source of ``event`` makes of these states, past awslambdaric's own JSON."""
    source = find_batch_source(event)
    assert source is not None
    made = source.to_answer(answered(ask(event), list(states), **more), event)
    text, _ = LambdaMarshaller().marshal_response(made)
    return json.loads(text)


def queue(*bodies: Any, arn: str = "arn:aws:sqs:us-east-2:123456789012:my-queue") -> Event:
    """An SQS event of these bodies; the messages are called m0, m1, …"""
    record = golden("sqs")["Records"][0]
    texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
    return {
        "Records": [
            {**record, "messageId": f"m{number}", "body": text, "eventSourceARN": arn}
            for number, text in enumerate(texts)
        ]
    }


def keys(*names: str) -> Event:
    return {"bucket": "b", "keys": list(names)}


def failures(given: Event) -> list[str]:
    assert set(given) == {"batchItemFailures"}
    assert all(set(each) == {"itemIdentifier"} for each in given["batchItemFailures"])
    return [each["itemIdentifier"] for each in given["batchItemFailures"]]


class TestSelection:
    @pytest.mark.parametrize(("name", "source"), SOURCES.items())
    def test_every_event_is_taken_by_its_source_and_by_no_other(self, name: str, source: Any) -> None:
        event = golden(name)

        assert find_batch_source(event) is source
        assert [each for each in batch_sources() if each.matches(event)] == [source]

    @pytest.mark.parametrize("name", [*GATEWAYS, "direct"])
    def test_no_request_is_one(self, name: str) -> None:
        event = GATEWAYS[name](Sent()) if name in GATEWAYS else golden(name)

        assert find_batch_source(event) is None
        assert not any(each.matches(event) for each in batch_sources())

    @pytest.mark.parametrize("event", FOREIGN)
    def test_inputs_and_events_of_other_services_are_not(self, event: Any) -> None:
        assert find_batch_source(event) is None
        assert not any(each.matches(event) for each in batch_sources())

    @pytest.mark.parametrize("name", ["vpc_lattice_2_0", "websocket_message", "rest_authorizer", "http_api_authorizer"])
    def test_other_foreign_events_are_not(self, name: str) -> None:
        assert find_batch_source(golden(name)) is None

    @pytest.mark.parametrize(
        "event",
        [
            {"bucket": "b", "key": "k"},
            {"Bucket": "b", "Key": "k", "Size": 1, "Etag": "x", "LastModified": 1, "StorageClass": "STANDARD"},
            {"bucket": "b", "key": "k", "model": "m"},
            {"Items": [], "other": 1},
        ],
    )
    def test_an_item_by_itself_is_one_where_it_names_its_bucket_and_holds_nothing_else(self, event: Event) -> None:
        assert find_batch_source(event) is step_functions

    def test_a_request_or_direct_invoke_loads_no_batch_source(self) -> None:
        program = (
            "import sys, json\n"
            "from gluon_lambda.event_sources.batch_selection import find_batch_source\n"
            "events = json.loads(sys.stdin.read())\n"
            "assert [find_batch_source(event) for event in events[:-1]] == [None] * (len(events) - 1)\n"
            "print(sorted(name for name in sys.modules if 'batch' in name or 'object_ref' in name))\n"
            "assert find_batch_source(events[-1]) is not None\n"
            "print(sorted(name for name in sys.modules if 'batch' in name or 'object_ref' in name))\n"
        )
        events = [*(make(Sent()) for make in GATEWAYS.values()), golden("direct"), golden("sqs")]
        before, after = subprocess.check_output(
            [sys.executable, "-c", program],
            input=json.dumps(events),
            text=True,
            env={"PYTHONPATH": "handler"},
            cwd=ROOT,
        ).splitlines()

        assert before == "['gluon_lambda.event_sources.batch_selection']"
        assert "gluon_lambda.event_sources.object_references" in after


class TestCalls:
    @pytest.mark.parametrize(
        ("name", "channel", "acknowledgements"),
        [
            ("sqs", "queue", ["059f36b4-87a3-44ab-83d2-661975830a7d"]),
            ("s3_batch_1_0", "retry", ["dGFza2lkZ29lc2hlcmUK"]),
            ("s3_put", "invoke", [""]),
            ("sns", "invoke", ["95df01b4-ee98-5cb9-9903-4c221d41eb5e"]),
            ("eventbridge_s3", "invoke", ["17793124-05d4-b198-2fde-7ededc63b103"]),
            ("continuation", "invoke", [""]),
            ("step_functions_map_objects", "answer", ["0", "1"]),
            ("keys", "answer", ["0", "1"]),
        ],
    )
    def test_a_call_says_by_which_channel_its_objects_go_on_and_what_they_came_in(
        self, name: str, channel: str, acknowledgements: list[str]
    ) -> None:
        call = ask(golden(name))

        assert call.channel == channel
        assert [each.acknowledgement for each in call.objects] == acknowledgements
        assert call.refused == ()
        assert (call.request_id, call.remaining_ms()) == (Context.aws_request_id, 2_500)

    def test_only_a_queue_has_an_arn(self) -> None:
        assert ask(golden("sqs")).queue_arn == "arn:aws:sqs:us-east-2:123456789012:my-queue"
        assert ask(golden("s3_put")).queue_arn == ""

    def test_a_job_s_arguments_are_attributes_of_its_objects(self) -> None:
        (found,) = ask(golden("s3_batch_json_key")).objects
        assert dict(found.attributes) == {"model": "digits", "newKey": "newObject1Key"}

    def test_a_batch_s_input_is_every_item_s(self) -> None:
        assert {dict(each.attributes)["model"] for each in ask(golden("step_functions_map_objects")).objects} == {
            "digits"
        }

    def test_a_message_that_is_not_understood_is_refused_by_its_id_and_takes_no_other_along(self) -> None:
        call = ask(queue(keys("a"), "{", keys("b"), {"x": 1}, "[" * 100_000))

        assert [each.acknowledgement for each in call.objects] == ["m0", "m2"]
        assert [each.acknowledgement for each in call.refused] == ["m1", "m3", "m4"]
        assert all(each.reason for each in call.refused)

    @pytest.mark.parametrize("odd", [None, 5, "x", [], {}, {"messageId": None}, {"taskId": 5}])
    @pytest.mark.parametrize(("name", "units"), [("sqs", "Records"), ("s3_batch_2_0", "tasks"), ("s3_put", "Records")])
    def test_a_unit_that_is_none_is_refused_beside_its_neighbours(self, name: str, units: str, odd: Any) -> None:
        event = golden(name)
        event[units].append(odd)

        call = ask(event)

        assert (len(call.objects), [each.acknowledgement for each in call.refused]) == (1, [""])

    def test_a_message_may_hold_many_objects(self) -> None:
        call = ask(queue(keys("a", "b"), keys("c")))

        assert [(each.key, each.acknowledgement) for each in call.objects] == [("a", "m0"), ("b", "m0"), ("c", "m1")]


class TestSqs:
    @pytest.mark.parametrize("state", STATES)
    def test_what_is_left_comes_again_and_nothing_else(self, state: str) -> None:
        given = answer(queue(keys("a"), keys("b"), keys("c")), "done", state, "done")

        assert failures(given) == (["m1"] if state in ("untouched", "transient") else [])

    def test_a_message_fails_with_any_of_its_objects_and_once(self) -> None:
        event = queue(keys("a", "b", "c"), keys("d", "e"))

        assert failures(answer(event, "done", "transient", "untouched", "done", "continued")) == ["m0"]

    def test_a_message_that_is_not_understood_goes_to_the_dead_letters(self) -> None:
        assert failures(answer(queue("{", keys("a"), {"bucket": "b", "keys": [None]}), "done")) == ["m0", "m2"]

    def test_tests_and_deletions_are_deleted(self) -> None:
        assert failures(answer(queue(golden("s3_test_event"), golden("s3_delete")))) == []

    def test_all_that_is_well_is_an_empty_list(self) -> None:
        assert answer(golden("sqs"), "done") == {"batchItemFailures": []}

    def test_behind_the_first_failure_of_a_fifo_queue_all_fail(self) -> None:
        event = golden("sqs_fifo")
        ids = [record["messageId"] for record in event["Records"]]

        assert failures(answer(event, "done", "transient", "done")) == ids[1:]
        assert failures(answer(event, "untouched", "done", "done")) == ids
        assert failures(answer(event, "done", "done", "done")) == failures(answer(event, *["continued"] * 3)) == []

    def test_a_record_without_an_id_that_fails_keeps_the_whole_batch(self) -> None:
        event = queue(keys("a"), "{")
        del event["Records"][1]["messageId"]

        assert failures(answer(event, "done")) == [""]


class TestS3Batch:
    @pytest.mark.parametrize(
        ("state", "code"),
        list(zip(STATES, ["Succeeded"] * 2 + ["TemporaryFailure"] * 3 + ["PermanentFailure"], strict=True)),
    )
    @pytest.mark.parametrize("name", ["s3_batch_1_0", "s3_batch_2_0"])
    def test_every_state_has_a_code(self, name: str, state: str, code: str) -> None:
        event = golden(name)

        given = answer(event, state, message="why", rows=3, failed_rows=1, outputs=(("results", "s3://o/r.jsonl"),))

        (result,) = given.pop("results")
        assert given == {
            "invocationSchemaVersion": event["invocationSchemaVersion"],
            "invocationId": event["invocationId"],
            "treatMissingKeysAs": "PermanentFailure",
        }
        assert (result["taskId"], result["resultCode"]) == (event["tasks"][0]["taskId"], code)
        assert result["resultString"] == "why; 3 rows, 1 of them failed; results s3://o/r.jsonl"

    def test_every_task_has_a_result_in_its_order(self) -> None:
        event = golden("s3_batch_2_0")
        event["tasks"] = [
            {"taskId": str(number), "s3Key": key, "s3Bucket": "b"} for number, key in enumerate(["a", "", "%FF", "b"])
        ]

        codes = [(each["taskId"], each["resultCode"]) for each in answer(event, "transient", "done")["results"]]

        assert codes == [
            ("0", "TemporaryFailure"),
            ("1", "PermanentFailure"),
            ("2", "PermanentFailure"),
            ("3", "Succeeded"),
        ]

    @pytest.mark.parametrize("message", ["x" * 5000, "ü\n" * 5000, "🙂" * 5000, "\ud800" * 5000])
    def test_a_report_is_one_short_line(self, message: str) -> None:
        (result,) = answer(golden("s3_batch_2_0"), "permanent", message=message)["results"]

        assert 900 < len(result["resultString"].encode()) <= 1024
        assert "\n" not in result["resultString"]


class TestStepFunctions:
    def test_every_item_has_an_entry(self) -> None:
        event = golden("step_functions_map_objects")

        given = answer(
            event, "done", "permanent", message="why", rows=3, failed_rows=1, outputs=(("results", "s3://o/r"),)
        )

        assert given["failed"] == 1
        assert "continuation" not in given
        assert given["results"][0] == {
            "item": 0,
            "bucket": "amzn-s3-demo-bucket",
            "key": "processData/images/n02085620_1073.jpg",
            "state": "done",
            "message": "why",
            "outputs": {"results": "s3://o/r"},
            "rows": 3,
            "failed_rows": 1,
        }
        assert [(each["item"], each["state"]) for each in given["results"]] == [(0, "done"), (1, "permanent")]

    def test_items_that_name_nothing_and_items_with_nothing_to_do_have_entries_too(self) -> None:
        event = {
            "Items": [{"verdict": "x"}, {"bucket": "b", "key": "f/", "size": 0}, {"bucket": "b", "key": "k"}, None]
        }

        given = answer(event, "done")

        assert [each["state"] for each in given["results"]] == ["permanent", "skipped", "done", "permanent"]
        assert "verdict" in given["results"][0]["message"]
        assert given["failed"] == 2

    def test_what_is_partly_done_and_what_is_left_is_the_event_to_ask_next(self) -> None:
        event: Event = {
            "Items": [{"Key": str(number), "Size": 9} for number in range(5)],
            "BatchInput": {"bucket": "b", "model": "m"},
        }

        given = answer(event, "done", "continued", "untouched", "transient", "permanent")

        begun, *left = given["continuation"]["Items"]
        assert begun == continuation_of(ask(event).objects[1])
        assert left == event["Items"][2:4]
        assert [each._replace(acknowledgement="") for each in ask(given["continuation"]).objects] == [
            each._replace(acknowledgement="") for each in ask(event).objects[1:4]
        ]

    def test_a_continuation_goes_on_until_there_is_none(self) -> None:
        event: Event = golden("keys")
        handed = 0
        while True:
            call = ask(event)
            results = [
                ObjectResult(each, "done")
                if each.hand_overs == 3
                else ObjectResult(each._replace(hand_overs=each.hand_overs + 1), "continued")
                for each in call.objects
            ]
            given = step_functions.to_answer(BatchAnswer(tuple(results)), event)
            if "continuation" not in given:
                break
            event, handed = given["continuation"], handed + 1
        assert handed == 3
        assert [each.key for each in call.objects] == ["a b.png", "c%20d.png"]
        assert {each.attributes for each in call.objects} == {(("model", "digits"),)}

    def test_what_failed_is_counted_up_along_the_way(self) -> None:
        first = answer(keys("a", "b", "c"), "permanent", "continued", "untouched")
        second = answer(first["continuation"], "permanent", "continued")
        last = answer(second["continuation"], "done")

        assert [each["failed"] for each in (first, second, last)] == [1, 2, 2]
        assert "continuation" not in last

    def test_an_item_of_several_objects_is_not_asked_whole(self) -> None:
        event = {"Items": [keys("a", "b", "c"), json.dumps(keys("d"))]}

        given = answer(event, "done", "untouched", "done", "transient")

        assert given["continuation"]["Items"] == [continuation_of(ObjectRef("b", "b")), json.dumps(keys("d"))]
        assert [each["item"] for each in given["results"]] == [0, 0, 0, 1]

    @pytest.mark.parametrize("states", [["untouched"], ["transient"], ["untouched", "transient"]])
    def test_where_nothing_got_on_the_error_is_for_retry_to_match(self, states: list[str]) -> None:
        with pytest.raises(BatchIncomplete, match=r"s3://b/k0 \(why\)"):
            answer(keys(*[f"k{number}" for number in range(len(states))]), *states, message="why")

    def test_an_object_that_got_on_before_it_failed_counts(self) -> None:
        assert "continuation" in answer(keys("a"), "transient", rows=5)

    def test_one_item_by_itself_is_asked_again_by_itself(self) -> None:
        event = {"Bucket": "b", "Key": "k", "Size": 5}

        assert answer(event, "continued")["continuation"]["Items"] == [continuation_of(ask(event).objects[0])]
        assert answer(event, "done")["results"][0]["item"] == 0

    @pytest.mark.parametrize("key", ["k" * 1000, "ü" * 500])
    def test_the_answer_has_room_in_a_state(self, key: str) -> None:
        event = keys(*[f"{number}{key}" for number in range(200)])
        outputs = (("results", f"s3://o/{key}"),)

        given = answer(event, *["done"] * 199, "untouched", outputs=outputs)

        assert wire.json_size(given) <= ANSWER_LIMIT_BYTES
        assert given["results"] == [
            *({"item": n, "state": "done"} for n in range(199)),
            {"item": 199, "state": "untouched"},
        ]
        assert given["continuation"]["Items"] == [{"key": event["keys"][-1]}]

    def test_where_even_that_is_too_long_states_are_counted(self) -> None:
        given = answer(keys(*["k"] * 20_000), *["done"] * 19_999, "permanent")

        assert given == {"states": {"done": 19_999, "permanent": 1}, "failed": 1}

    def test_what_is_left_is_never_cut(self) -> None:
        event = keys(*[f"{number}{'k' * 1000}" for number in range(300)])

        with pytest.raises(ResponseTooLarge, match="fewer items"):
            answer(event, "done", *["untouched"] * 299)


class TestAsynchronous:
    @pytest.mark.parametrize("state", STATES)
    @pytest.mark.parametrize("name", ["s3_put", "sns", "eventbridge_s3", "continuation"])
    def test_an_error_makes_lambda_ask_again_for_what_is_left(self, name: str, state: str) -> None:
        event = golden(name)
        if state in ("untouched", "transient"):
            with pytest.raises(BatchIncomplete, match="1 of 1 objects"):
                answer(event, state)
        else:
            assert answer(event, state)["results"][0]["state"] == state

    def test_one_record_that_is_left_is_enough_and_is_named(self) -> None:
        event = golden("s3_put")
        event["Records"] = event["Records"] * 3

        with pytest.raises(BatchIncomplete, match=r"1 of 3 .* s3://amzn-s3-demo-bucket/HappyFace.jpg \(throttled\)"):
            asynchronous.to_answer(
                BatchAnswer(
                    tuple(
                        ObjectResult(each, state, "throttled" if state == "transient" else "")
                        for each, state in zip(ask(event).objects, ["done", "transient", "continued"], strict=True)
                    )
                ),
                event,
            )

    def test_a_record_that_is_not_understood_ends_where_somebody_sees_it(self) -> None:
        event = golden("sns")
        event["Records"][0]["Sns"]["Message"] = "{"

        with pytest.raises(BatchIncomplete, match=r"95df01b4-ee98-5cb9-9903-4c221d41eb5e: .* no JSON"):
            answer(event)

    @pytest.mark.parametrize("name", ["s3_test_event", "s3_delete"])
    def test_nothing_to_do_is_success(self, name: str) -> None:
        assert answer(golden(name)) == {"results": []}

    def test_an_error_names_a_few_of_many(self) -> None:
        event = golden("s3_put")
        event["Records"] = event["Records"] * 1000

        with pytest.raises(BatchIncomplete) as raised:
            answer(event, *["untouched"] * 1000)

        assert "1000 of 1000" in str(raised.value)
        assert str(raised.value).count("s3://") == 5


# Everything that another implementation of S3 encodes in its own way.
AWKWARD = ("a b/ö + c%20d.jpg", "plain.jpg", "a+b&c=d;e?f#g.png", "100%", 'quote"\\')


@pytest.fixture(scope="module")
def moto_queues() -> Iterator[dict[str, Event]]:
    """Events of three queues of moto's: of S3's own notifications, of SNS's, and of SNS's with raw delivery."""
    with mock_aws():
        s3, queues, topics = (boto3.client(name, region_name="us-east-1") for name in ("s3", "sqs", "sns"))
        urls = {name: queues.create_queue(QueueName=name)["QueueUrl"] for name in ("s3", "sns", "raw")}
        arn = "arn:aws:sqs:us-east-1:123456789012:"
        topic = topics.create_topic(Name="objects")["TopicArn"]
        for name in ("sns", "raw"):
            attributes = {"RawMessageDelivery": str(name == "raw").lower()}
            topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn + name, Attributes=attributes)
        s3.create_bucket(Bucket="inputs")
        created = {"Events": ["s3:ObjectCreated:*"]}
        configuration = {
            "QueueConfigurations": [{"QueueArn": f"{arn}s3", **created}],
            "TopicConfigurations": [{"TopicArn": topic, **created}],
        }
        s3.put_bucket_notification_configuration(Bucket="inputs", NotificationConfiguration=configuration)
        for key in AWKWARD:
            s3.put_object(Bucket="inputs", Key=key, Body=b"xyz")
        yield {name: queue(*received(queues, url)) for name, url in urls.items()}


def received(queues: Any, url: str) -> list[str]:
    return [message["Body"] for message in queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]]


@pytest.mark.parametrize("name", ["s3", "sns", "raw"])
def test_what_moto_s_s3_sns_and_sqs_write_is_read_and_their_test_event_is_dropped(
    moto_queues: dict[str, Event], name: str
) -> None:
    call = ask(moto_queues[name])

    assert len(moto_queues[name]["Records"]) == len(AWKWARD) + 1
    assert {each.key for each in call.objects} == set(AWKWARD)
    assert {(each.bucket, each.size) for each in call.objects} == {("inputs", 3)}
    assert call.refused == ()


def test_the_events_of_the_documentation_are_taken() -> None:
    page = (ROOT / "docs" / "batch-triggers.md").read_text(encoding="utf-8")
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    events = [each for each in shown if "States" not in each]

    assert len(events) == 4
    for event in events:
        assert find_batch_source(event) is (asynchronous if "gluonContinuation" in event else step_functions)
        assert ask(event).objects
        assert ask(event).refused == ()


def test_the_state_machine_of_the_documentation_asks_until_nothing_is_left() -> None:
    page = (ROOT / "docs" / "batch-triggers.md").read_text(encoding="utf-8")
    (states,) = (
        each["States"]
        for each in map(json.loads, re.findall(r"```json\n(.*?)```", page, re.DOTALL))
        if "States" in each
    )
    left, failed = states["Left"]["Choices"]

    assert BatchIncomplete.__name__ in states["Predict"]["Retry"][0]["ErrorEquals"]
    assert left["Variable"] == states["Go on"]["InputPath"] == "$.continuation"
    assert (states["Go on"]["Next"], states["Predict"]["Next"]) == ("Predict", "Left")
    given = answer(keys("a", "b"), "permanent", "continued")
    assert {left["Variable"], failed["Variable"]} <= {f"$.{name}" for name in given}


def test_every_golden_event_stands_in_the_index() -> None:
    folder = ROOT / "tests" / "events"
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert {f"`{path.name}`" for path in folder.glob("*.json")} <= set(index.split())
