"""What the batch sources share: their shape, the way from a trigger's units to a call, and what is told of results. A leaf of this package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from gluon_lambda.batch_records import BatchAnswer, BatchCall, ObjectResult, RefusedUnit
from gluon_lambda.errors import BatchIncomplete
from gluon_lambda.event_sources import wire
from gluon_lambda.event_sources.object_references import find_objects
from gluon_lambda.types import LambdaContext

# States of objects that nobody has handed on: whoever asked has to ask again.
LEFT = frozenset({"untouched", "transient"})

# AWS Step Functions Developer Guide, "Service quotas", and AWS Lambda Developer Guide, "Lambda quotas": an execution's input or output, a
# task's result, and the record of an asynchronous invocation, have 256 KiB.
ANSWER_LIMIT_BYTES = 262_144

_NAMED_IN_ERRORS = 5


class BatchSource(Protocol):
    """One trigger of batches. A module with these members is one."""

    @property
    def TITLE(self) -> str:  # noqa: N802 (a module's constant)
        """What messages call it."""
        ...

    def matches(self, event: Any, /) -> bool:
        """Whether the event came by this source."""
        ...

    def to_call(self, event: Any, context: LambdaContext, /) -> BatchCall:
        """What the event asks; what is wrong with a unit of it is in the call, too, and never raised."""
        ...

    def to_answer(self, answer: BatchAnswer, event: Any, /) -> Any:
        """The answer in the trigger's own protocol.

        Raises:
            BatchIncomplete: Objects are left, and the protocol can only say so by an error.
            ResponseTooLarge: The trigger would refuse it.
        """
        ...


class Unit(NamedTuple):
    """What a trigger wants to have acknowledged: a message, a task or an item.

    Attributes:
        acknowledgement: What the trigger calls it.
        content: What it says.
        attributes: What the trigger says of it beside.
        bucket: For units that name none themselves.
    """

    acknowledgement: str
    content: Any
    attributes: Mapping[str, str] = {}
    bucket: str = ""


def name_of(unit: Any, field: str) -> str:
    """The text under ``field`` of a record or task; empty where that is none, or the unit is no dict at all."""
    return wire.text(unit, field) if isinstance(unit, dict) else ""


def batch_call(units: Iterable[Unit], context: LambdaContext, *, channel: str, queue_arn: str = "") -> BatchCall:
    """The call that these units are together."""
    found = [find_objects(unit.content, unit.acknowledgement, unit.attributes, unit.bucket) for unit in units]
    return BatchCall(
        objects=tuple(reference for each in found for reference in each.objects),
        refused=tuple(refused for each in found for refused in each.refused),
        channel=channel,
        queue_arn=queue_arn,
        request_id=context.aws_request_id,
        remaining_ms=context.get_remaining_time_in_millis,
    )


def told(result: ObjectResult) -> dict[str, Any]:
    """What is told of one object, as JSON."""
    reference = result.reference
    outcome = {
        "bucket": reference.bucket,
        "key": reference.key,
        "version": reference.version,
        "state": result.state,
        "message": result.message,
        "outputs": dict(result.outputs),
    }
    return {name: value for name, value in outcome.items() if value} | {
        "rows": result.rows,
        "failed_rows": result.failed_rows,
    }


def told_of_refused(refused: RefusedUnit) -> dict[str, Any]:
    """The same for a unit that names no object: asked again, it would name none again."""
    return {"state": "permanent", "message": refused.reason}


def fitted(entries: Sequence[Mapping[str, Any]], beside: Mapping[str, Any]) -> dict[str, Any]:
    """``{"results": entries, **beside}``, with as much of the entries as the limit leaves room for.

    Args:
        entries: What is told of each object; without outputs and messages, or else as a count by state alone, where there are too many.
        beside: What must not be left out.
    """
    brief = [{name: entry[name] for name in ("item", "state") if name in entry} for entry in entries]
    counted: dict[str, Any] = {"states": dict(Counter(str(entry["state"]) for entry in entries)), **beside}
    for results in (entries, brief):
        answer = {"results": list(results), **beside}
        if wire.json_size(answer) <= ANSWER_LIMIT_BYTES:
            return answer
    return counted


def incomplete(answer: BatchAnswer) -> BatchIncomplete:
    """The error that says which objects are left, and which units name none."""
    left = [f"{each.reference.uri} ({each.message or each.state})" for each in answer.results if each.state in LEFT]
    reasons = [f"{refused.acknowledgement or 'a record'}: {refused.reason}" for refused in answer.refused]
    named = "; ".join([*left, *reasons][:_NAMED_IN_ERRORS])
    return BatchIncomplete(
        f"{len(left)} of {len(answer.results)} objects are to be tried again, "
        f"{len(reasons)} records are not understood: {named}"
    )
