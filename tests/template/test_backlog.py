"""The state machine for backlogs, run on this machine against the handler's own source for Step Functions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from gluon_lambda.batch_records import BatchAnswer, ObjectResult
from gluon_lambda.errors import BatchIncomplete
from gluon_lambda.event_sources import batch_selection, step_functions
from tests.conftest import FakeContext
from tests.template.stack import DOCUMENT, ROOT, stack
from tests.template.state_machine import Failed, Machine, ServiceError

# Of each object, what becomes of it in one invocation after another; the last holds on.
Fates = Mapping[str, list[str]]


def definition(**parameters: str) -> dict[str, Any]:
    """The definition with its substitutions, as CloudFormation hands it to Step Functions."""
    properties = stack(**parameters).properties("Backlog")
    text = json.dumps(DOCUMENT["Resources"]["Backlog"]["Properties"]["Definition"])
    for name, value in properties["DefinitionSubstitutions"].items():
        text = text.replace(f"${{{name}}}", json.dumps(str(value))[1:-1])
    assert "${" not in text
    made = json.loads(text)
    assert isinstance(made, dict)
    return made


class Function:
    """The function: the handler's own source takes events and gives answers; what becomes of objects is told beforehand.

    Attributes:
        events: What it was asked.
    """

    def __init__(self, fates: Fates) -> None:
        self.fates = {key: iter_last(states) for key, states in fates.items()}
        self.events: list[Any] = []

    def __call__(self, parameters: dict[str, Any]) -> Any:
        event = parameters["Payload"]
        self.events.append(event)
        assert batch_selection.find_batch_source(event) is step_functions
        call = step_functions.to_call(event, FakeContext())
        assert call.refused == ()
        results = []
        for each in call.objects:
            state = next(self.fates[each.key])
            if state in ("Lambda.TooManyRequestsException", "ConfigurationError"):
                raise ServiceError(state, "as told")
            rows = each.rows + 1 if state == "continued" else each.rows
            handed_on = each._replace(hand_overs=each.hand_overs + 1, rows=rows) if state == "continued" else each
            results.append(ObjectResult(handed_on._replace(rows=each.rows), state, rows=rows))
        try:
            return {"Payload": step_functions.to_answer(BatchAnswer(tuple(results), call.refused), event)}
        except BatchIncomplete as error:
            raise ServiceError(type(error).__name__, str(error)) from error


def iter_last(states: list[str]) -> Iterator[str]:
    yield from states
    while True:
        yield states[-1]


def machine(fates: Fates) -> tuple[Machine, Function]:
    function = Function(fates)
    children: list[tuple[Any, str]] = []

    def listing(parameters: dict[str, Any]) -> list[dict[str, Any]]:
        keys = [key for key in fates if key.startswith(parameters["Prefix"])]
        return [
            {"Etag": '"e"', "Key": key, "LastModified": 1668699881, "Size": 3, "StorageClass": "STANDARD"}
            for key in keys
        ]

    def counts(parameters: dict[str, Any]) -> dict[str, Any]:
        assert parameters == {"MapRunArn": "arn:run"}
        done = sum(outcome == "SUCCEEDED" for _, outcome in children)
        return {"ExecutionCounts": {"Total": len(children), "Succeeded": done, "Failed": len(children) - done}}

    services: dict[str, Callable[[dict[str, Any]], Any]] = {
        "lambda:invoke": function,
        "aws-sdk:sfn:describeMapRun": counts,
    }
    return Machine(services, listing, children, []), function


def test_a_backlog_is_asked_in_batches_until_everything_is_done() -> None:
    fates = {f"in/{number}.png": ["done"] for number in range(120)}
    made, function = machine(fates)
    made.run(definition(InputBucket="my-inputs", InputPrefix="in/"), {})
    assert [len(event["Items"]) for event in function.events] == [50, 50, 20]
    assert {event["BatchInput"]["bucket"] for event in function.events} == {"my-inputs"}
    assert [outcome for _, outcome in made.children] == ["SUCCEEDED"] * 3


def test_what_is_partly_done_is_asked_again_until_nothing_is_left() -> None:
    made, function = machine({"a": ["continued", "continued", "done"], "b": ["done"], "c": ["untouched", "done"]})
    made.run(definition(), {})
    assert len(function.events) == 3
    continuing = function.events[1]
    assert [*continuing["Items"][0]] == ["gluonContinuation"]
    # The one that was not begun goes on as it was, and what is done is not asked again.
    assert [item.get("Key") for item in continuing["Items"][1:]] == ["c"]
    assert continuing["BatchInput"]["bucket"] == "Inputs"


def test_a_run_can_be_told_its_prefix_model_batches_and_concurrency() -> None:
    made, function = machine({f"x/{number}": ["done"] for number in range(4)} | {"y/1": ["done"]})
    made.run(
        definition(BacklogConcurrency="9"), {"prefix": "x/", "model": "digits", "itemsPerBatch": 3, "concurrency": 2}
    )
    assert [[item["Key"] for item in event["Items"]] for event in function.events] == [["x/0", "x/1", "x/2"], ["x/3"]]
    call = step_functions.to_call(function.events[0], FakeContext())
    assert dict(call.objects[0].attributes)["model"] == "digits"
    assert made.asked == [{"Bucket": "Inputs", "Prefix": "x/", "concurrency": 2}]


def test_what_is_not_told_is_the_stacks() -> None:
    made, _ = machine({"in/a": ["done"]})
    made.run(definition(BacklogConcurrency="9", InputPrefix="in/"), {})
    assert made.asked == [{"Bucket": "Inputs", "Prefix": "in/", "concurrency": 9}]


def test_nothing_to_do_is_done() -> None:
    made, function = machine({})
    made.run(definition(), {})
    assert function.events == []


def test_throttled_invocations_and_batches_that_got_nowhere_are_tried_again() -> None:
    made, function = machine({"a": ["Lambda.TooManyRequestsException", "transient", "done"]})
    made.run(definition(), {})
    assert len(function.events) == 3


def test_objects_at_fault_fail_their_batch_and_the_run_tells_where_to_look_after_all_others_are_done() -> None:
    fates = {f"{number:02}": ["permanent" if number == 3 else "done"] for number in range(60)}
    made, function = machine(fates)
    with pytest.raises(Failed) as failure:
        made.run(definition(), {"itemsPerBatch": 20})
    assert len(function.events) == 3
    assert [outcome for _, outcome in made.children] == ["ObjectsFailed", "SUCCEEDED", "SUCCEEDED"]
    assert failure.value.error == "BatchesFailed"
    assert failure.value.cause.startswith("1 of 3 batches failed.")
    assert "s3://Outputs/jobs/backlogs/x/manifest.json" in failure.value.cause


def test_an_error_that_stays_is_not_asked_about_for_ever() -> None:
    made, function = machine({"a": ["ConfigurationError"], "b": ["transient"]})
    with pytest.raises(Failed):
        made.run(definition(), {"itemsPerBatch": 1})
    assert [outcome for _, outcome in made.children] == ["ConfigurationError", "BatchIncomplete"]
    assert len(function.events) == 1 + 7


def test_a_failure_in_an_earlier_round_is_remembered() -> None:
    made, _ = machine({"a": ["permanent"], "b": ["continued", "done"]})
    with pytest.raises(Failed):
        made.run(definition(), {})
    assert [outcome for _, outcome in made.children] == ["ObjectsFailed"]


def test_the_processor_is_the_one_that_the_documentation_shows() -> None:
    page = (ROOT / "docs" / "batch-triggers.md").read_text(encoding="utf-8")
    (shown,) = (each for each in map(json.loads, re.findall(r"```json\n(.*?)```", page, re.DOTALL)) if "States" in each)
    processor = definition()["States"]["Objects"]["ItemProcessor"]
    del processor["ProcessorConfig"]
    ours = json.loads(
        json.dumps(processor).replace("arn:aws:states", "arn:aws:states").replace("<BatchFunction.Arn>", "${Function}")
    )
    assert ours == shown
