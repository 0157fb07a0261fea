"""Amazon S3 Batch Operations, invocation schemas 1.0 and 2.0.

Contract: Amazon S3 User Guide, "Invoke AWS Lambda function". Tasks that fail temporarily are asked again before the job ends; a job's
``userArguments`` (2.0) are attributes of every object.
"""

from __future__ import annotations

from typing import Any

from gluon_lambda.batch_records import BatchAnswer, BatchCall, ObjectResult
from gluon_lambda.event_sources import wire
from gluon_lambda.event_sources.batch_source import Unit, batch_call, name_of
from gluon_lambda.event_sources.object_references import texts
from gluon_lambda.types import Event, LambdaContext

TITLE = "Amazon S3 Batch Operations"

_LONGEST_RESULT = 1_024
_CODES = {
    "done": "Succeeded",
    "skipped": "Succeeded",
    "continued": "TemporaryFailure",
    "untouched": "TemporaryFailure",
    "transient": "TemporaryFailure",
    "permanent": "PermanentFailure",
}


def matches(event: Any) -> bool:
    """Whether the event is an invocation of a job."""
    return isinstance(event, dict) and "invocationSchemaVersion" in event and isinstance(event.get("tasks"), list)


def to_call(event: Event, context: LambdaContext) -> BatchCall:
    """The objects of the tasks; an acknowledgement is a task's id."""
    arguments = texts(wire.section(wire.section(event, "job"), "userArguments"))
    units = (Unit(name_of(task, "taskId"), task, arguments) for task in event["tasks"])
    return batch_call(units, context, channel="retry")


def to_answer(answer: BatchAnswer, event: Event) -> Event:
    """A code for every task; its text goes to the job's report."""
    outcomes = {refused.acknowledgement: ("PermanentFailure", refused.reason) for refused in answer.refused}
    for result in answer.results:
        outcomes[result.reference.acknowledgement] = (_CODES[result.state], _report(result))
    tasks = [name_of(task, "taskId") for task in event["tasks"]]
    return {
        "invocationSchemaVersion": event["invocationSchemaVersion"],
        "treatMissingKeysAs": "PermanentFailure",
        "invocationId": event.get("invocationId"),
        "results": [_result(task, *outcomes.get(task, ("Succeeded", "nothing to do"))) for task in tasks],
    }


def _result(task: str, code: str, report: str) -> dict[str, str]:
    # Counted in bytes, and so in characters, too; a line of its own would break the report's.
    line = " ".join(report.split()).encode(errors="backslashreplace")[:_LONGEST_RESULT]
    return {"taskId": task, "resultCode": code, "resultString": line.decode(errors="ignore")}


def _report(result: ObjectResult) -> str:
    rows = f"{result.rows} rows, {result.failed_rows} of them failed"
    places = [f"{name} {place}" for name, place in result.outputs]
    return "; ".join(part for part in (result.message or result.state, rows, *places) if part)
