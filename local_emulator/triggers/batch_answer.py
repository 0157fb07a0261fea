"""What a function's answer says of the messages that it was given: ``ReportBatchItemFailures``.

AWS: "Handling errors for an SQS event source in Lambda", which lists what counts as complete success and as complete failure.
"""

from __future__ import annotations

import json
from collections.abc import Set
from typing import Any

from local_emulator.error_payload import in_words
from local_emulator.records import Ending, Outcome


class BatchFailed(Exception):
    """Raised when the whole batch counts as failed; its text says why."""


def failed_messages(outcome: Outcome, message_ids: Set[str]) -> frozenset[str]:
    """Which of the messages are to come again.

    Args:
        outcome: What came of the invocation.
        message_ids: Those of the batch.

    Raises:
        BatchFailed: The function failed, or its answer is not one that Lambda understands.
    """
    if outcome.ending is not Ending.SUCCESS:
        raise BatchFailed(in_words(outcome.payload))
    return frozenset(_identifier(item, message_ids) for item in _items(outcome.payload))


def _items(payload: bytes) -> list[Any]:
    try:
        answer = json.loads(payload)
    except ValueError as error:
        raise BatchFailed(f"the answer is not JSON: {error}") from error
    if not isinstance(answer, dict | None):
        raise BatchFailed(f"the answer is {_shown(answer)} and no object with batchItemFailures")
    items = (answer or {}).get("batchItemFailures")
    if not isinstance(items, list | None):
        raise BatchFailed(f"batchItemFailures is {_shown(items)} and no list")
    return items or []


def _identifier(item: Any, message_ids: Set[str]) -> str:
    identifier = item.get("itemIdentifier") if isinstance(item, dict) else None
    if not isinstance(identifier, str) or identifier not in message_ids:
        raise BatchFailed(f"batchItemFailures holds {_shown(item)}, which names no message of the batch")
    return identifier


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:100]}…"
