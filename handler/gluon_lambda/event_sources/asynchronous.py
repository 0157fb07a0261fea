"""Asynchronous invokes: S3 notifications, S3's events of EventBridge, SNS messages, and our own continuations.

Contract: AWS Lambda Developer Guide, "Invoking a Lambda function asynchronously". Nobody reads the answer (a destination may get it); an error makes
Lambda ask twice more and then give the event to the function's dead-letter queue or destination. The event is one unit: objects of it that are
done are found so the next time.
"""

from __future__ import annotations

from typing import Any

from gluon_lambda.batch_records import BatchAnswer, BatchCall
from gluon_lambda.event_sources import wire
from gluon_lambda.event_sources.batch_source import (
    LEFT,
    Unit,
    batch_call,
    fitted,
    incomplete,
    name_of,
    told,
)
from gluon_lambda.event_sources.object_references import CONTINUATION
from gluon_lambda.types import Event, LambdaContext

TITLE = "asynchronous invoke (Amazon S3, Amazon SNS, Amazon EventBridge)"


def matches(event: Any) -> bool:
    """Whether the event is a notification, an event of S3's, or a continuation."""
    if not isinstance(event, dict):
        return False
    records = event.get("Records")
    if isinstance(records, list):
        return any("s3" in record or "Sns" in record for record in records if isinstance(record, dict))
    from_s3 = event.get("source") == "aws.s3" and "detail-type" in event
    return CONTINUATION in event or from_s3 or event.get("Event") == "s3:TestEvent"


def to_call(event: Event, context: LambdaContext) -> BatchCall:
    """The objects of the event's records; an acknowledgement is what the sender calls a message, as far as it has a name."""
    records = event["Records"] if isinstance(event.get("Records"), list) else [event]
    return batch_call((Unit(_name(record), record) for record in records), context, channel="invoke")


def _name(record: Any) -> str:
    return name_of(wire.section(record, "Sns"), "MessageId") or name_of(record, "id")


def to_answer(answer: BatchAnswer, event: Event) -> dict[str, Any]:  # noqa: ARG001 (every batch source has the same form)
    """What became of each object.

    Raises:
        BatchIncomplete: Objects are left, or records are not understood: the event is to come again, or to lie where somebody sees it.
    """
    if answer.refused or any(result.state in LEFT for result in answer.results):
        raise incomplete(answer)
    return fitted([told(result) for result in answer.results], {})
