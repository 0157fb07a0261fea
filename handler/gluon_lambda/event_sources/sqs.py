"""Amazon SQS: messages that hold S3 notifications (through SNS, too), S3's events of EventBridge, plain references, or our own continuations.

Contract: AWS Lambda Developer Guide, "Using Lambda with Amazon SQS" and "Handling errors for an SQS event source in Lambda". The event source
mapping has ``ReportBatchItemFailures``. A message that the answer names comes again and in the end goes to the dead-letter queue; all others
are deleted. An identifier that SQS does not know, ``""`` for one, makes it keep the whole batch: right for a record that has no other.
"""

from __future__ import annotations

from typing import Any

from gluon_lambda.batch_records import BatchAnswer, BatchCall
from gluon_lambda.event_sources.batch_source import LEFT, Unit, batch_call, name_of
from gluon_lambda.types import Event, LambdaContext

TITLE = "Amazon SQS"


def matches(event: Any) -> bool:
    """Whether the event is a batch of messages."""
    return _first(event).get("eventSource") == "aws:sqs"


def to_call(event: Event, context: LambdaContext) -> BatchCall:
    """The objects in the messages; an acknowledgement is a message's id."""
    units = (Unit(name_of(record, "messageId"), record) for record in event["Records"])
    return batch_call(units, context, channel="queue", queue_arn=_queue(event))


def to_answer(answer: BatchAnswer, event: Event) -> Event:
    """The messages that are to come again: those with an object that is left, and those that are not understood.

    The order of a FIFO queue would be lost if messages behind a failed one were deleted: they fail, too.
    """
    failed = {result.reference.acknowledgement for result in answer.results if result.state in LEFT}
    failed |= {refused.acknowledgement for refused in answer.refused}
    ids = list(dict.fromkeys(name_of(record, "messageId") for record in event["Records"]))
    if _queue(event).endswith(".fifo"):
        first = next((position for position, each in enumerate(ids) if each in failed), len(ids))
        failed = set(ids[first:])
    return {"batchItemFailures": [{"itemIdentifier": each} for each in ids if each in failed]}


def _first(event: Any) -> dict[str, Any]:
    records = event.get("Records") if isinstance(event, dict) else None
    return records[0] if isinstance(records, list) and records and isinstance(records[0], dict) else {}


def _queue(event: Event) -> str:
    return name_of(_first(event), "eventSourceARN")
