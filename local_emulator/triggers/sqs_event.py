"""Messages of an SQS queue -> the event in which Lambda's poller hands them to a function.

AWS: "Using Lambda with Amazon SQS", its example event; a message's own fields are those of ReceiveMessage.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from local_emulator.records import MAX_REQUEST_BYTES

_BEFORE, _BETWEEN, _AFTER = b'{"Records":[', b",", b"]}"


class Message(NamedTuple):
    """One message that was received.

    Attributes:
        message_id: What SQS calls it; the same each time it comes.
        receipt_handle: What it is deleted by; another one each time.
        record: Its JSON in the event, UTF-8.
    """

    message_id: str
    receipt_handle: str
    record: bytes


def message(received: Mapping[str, Any], queue_arn: str) -> Message:
    """The message that ReceiveMessage answered with, as it will stand in an event."""
    record = json.dumps(_record(received, queue_arn), ensure_ascii=False, separators=(",", ":"))
    # JSON may hold halves of surrogate pairs; UTF-8 may not.
    return Message(received["MessageId"], received["ReceiptHandle"], record.encode(errors="replace"))


def event(messages: Iterable[Message]) -> bytes:
    """The event's JSON."""
    return _BEFORE + _BETWEEN.join(each.record for each in messages) + _AFTER


def fitting(messages: Sequence[Message], most: int) -> int:
    """How many of ``messages``, from the first on, go into one event: ``most``, and no more bytes than an invocation takes; at least one."""
    size = len(_BEFORE) + len(_AFTER) - len(_BETWEEN)
    for count, each in enumerate(messages[:most]):
        size += len(_BETWEEN) + len(each.record)
        if size > MAX_REQUEST_BYTES and count:
            return count
    return min(most, len(messages))


def _record(received: Mapping[str, Any], queue_arn: str) -> dict[str, Any]:
    attributes = received.get("MessageAttributes", {})
    digest = {"md5OfMessageAttributes": received["MD5OfMessageAttributes"]} if attributes else {}
    return {
        "messageId": received["MessageId"],
        "receiptHandle": received["ReceiptHandle"],
        "body": received["Body"],
        "attributes": received.get("Attributes", {}),
        "messageAttributes": {name: _attribute(value) for name, value in attributes.items()},
        **digest,
        "md5OfBody": received["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
    if "BinaryValue" in value:
        return {"binaryValue": base64.b64encode(value["BinaryValue"]).decode(), **content}
    return {"stringValue": value.get("StringValue", ""), **content}
