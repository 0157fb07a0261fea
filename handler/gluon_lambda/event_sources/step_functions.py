"""AWS Step Functions (a Distributed Map, mostly), and whoever else asks for objects by name and waits for the answer.

Taken are a batch of items (``{"Items": [...], "BatchInput": {...}}``: entries of a listing or an inventory, rows of CSV and JSON files, our own
continuations), one such item that names its bucket, and the plain ``{"bucket", "keys"}`` with an optional ``model``.

Contract: AWS Step Functions Developer Guide, "ItemReader (Map)" and "ItemBatcher (Map)"; the plain form and the answer are this project's own:
``results`` has an entry for each object, ``failed`` is how many of them never will be done, and ``continuation``, where there is one, is the event
to ask next, which counts them up. A state machine asks until there is none; where nothing has got on, the error is its Retry's to wait for.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from gluon_lambda.batch_records import BatchAnswer, BatchCall, ObjectResult
from gluon_lambda.errors import ResponseTooLarge
from gluon_lambda.event_sources import wire
from gluon_lambda.event_sources.batch_source import (
    ANSWER_LIMIT_BYTES,
    LEFT,
    Unit,
    batch_call,
    fitted,
    incomplete,
    told,
    told_of_refused,
)
from gluon_lambda.event_sources.object_references import continuation_of, shared
from gluon_lambda.types import Event, LambdaContext

TITLE = 'AWS Step Functions ({"Items": [...]}) or {"bucket", "keys"}'

_PLAIN = {"bucket", "keys"}
# What an item that is an event of its own may hold, in S3's listings and in this project's plain form, lower case; more could be a model's inputs.
_ONE_ITEM = frozenset({"bucket", "key", "size", "etag", "versionid", "lastmodified", "storageclass", "model"})


class _Batch(NamedTuple):
    """Every form as the one with items."""

    items: list[Any]
    batch_input: dict[str, Any]


def matches(event: Any) -> bool:
    """Whether the event is a batch of items, one item, or bucket and keys: exactly these, and perhaps the model's name."""
    return isinstance(event, dict) and (_is_batch(event) or _is_plain(event) or _is_item(event))


def _is_batch(event: Event) -> bool:
    return isinstance(event.get("Items"), list)


def _is_plain(event: Event) -> bool:
    return event.keys() - {"model"} == _PLAIN and isinstance(event["keys"], list)


def _is_item(event: Event) -> bool:
    names = {name.lower() for name in event}
    return names >= {"bucket", "key"} and names <= _ONE_ITEM


def to_call(event: Event, context: LambdaContext) -> BatchCall:
    """The objects of the items; an acknowledgement is an item's number, from 0 on."""
    items, batch_input = _batch(event)
    attributes, bucket = shared(batch_input)
    units = (Unit(str(number), item, attributes, bucket) for number, item in enumerate(items))
    return batch_call(units, context, channel="answer")


def to_answer(answer: BatchAnswer, event: Event) -> dict[str, Any]:
    """What became of each item, and what to ask next.

    Raises:
        BatchIncomplete: Items are left, and none has got on.
        ResponseTooLarge: What to ask next is over Step Functions' limit.
    """
    batch = _batch(event)
    going_on = [result for result in answer.results if result.state in LEFT or result.state == "continued"]
    if going_on and not any(map(_got_on, answer.results)):
        raise incomplete(answer)
    entries = _entries(answer, len(batch.items))
    failed = sum(entry["state"] == "permanent" for entry in entries) + _failed_before(event)
    next_ = {"continuation": {**_continuation(going_on, answer, batch), "failed": failed}} if going_on else {}
    return _within_limit(fitted(entries, {"failed": failed, **next_}))


def _batch(event: Event) -> _Batch:
    if _is_batch(event):
        return _Batch(event["Items"], dict(wire.section(event, "BatchInput")))
    if _is_plain(event):
        return _Batch([{"key": key} for key in event["keys"]], {name: event[name] for name in event.keys() - {"keys"}})
    return _Batch([event], {})


def _failed_before(event: Event) -> int:
    failed = event.get("failed")
    return failed if type(failed) is int else 0


def _got_on(result: ObjectResult) -> bool:
    return result.state not in LEFT or result.rows > result.reference.rows


def _entries(answer: BatchAnswer, items: int) -> list[dict[str, Any]]:
    """In the order of the items; an item that named nothing to do has an entry, too."""
    told_by_item: dict[int, list[dict[str, Any]]] = {number: [] for number in range(items)}
    for result in answer.results:
        told_by_item[int(result.reference.acknowledgement)].append(told(result))
    for refused in answer.refused:
        told_by_item[int(refused.acknowledgement)].append(told_of_refused(refused))
    nothing = [{"state": "skipped", "message": "nothing to do"}]
    return [{"item": number, **entry} for number, entries in told_by_item.items() for entry in entries or nothing]


def _continuation(going_on: list[ObjectResult], answer: BatchAnswer, batch: _Batch) -> dict[str, Any]:
    """The event to ask next. What has not begun is asked as it was: that is shorter, and has been within the limit before."""
    named = Counter(result.reference.acknowledgement for result in answer.results)
    items = [
        continuation_of(result.reference)
        # An item of several objects is not asked whole.
        if result.state == "continued" or named[result.reference.acknowledgement] > 1
        else batch.items[int(result.reference.acknowledgement)]
        for result in going_on
    ]
    return {"Items": items, "BatchInput": batch.batch_input} if batch.batch_input else {"Items": items}


def _within_limit(answer: dict[str, Any]) -> dict[str, Any]:
    size = wire.json_size(answer)
    if size > ANSWER_LIMIT_BYTES:
        raise ResponseTooLarge(
            f"what is left to do is {size:,} bytes long as JSON; Step Functions takes {ANSWER_LIMIT_BYTES:,}. "
            "Ask for fewer items in one batch."
        )
    return answer
