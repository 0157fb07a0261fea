"""The records that batch triggers, ``batch/`` and the invoke phase share. A leaf beside ``types``, which HTTP's cold path has to load.

Records are NamedTuples: immutable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gluon_lambda.types import Pairs, Payload


class ObjectRef(NamedTuple):
    """One object that a trigger names.

    Attributes:
        bucket: Its bucket's name.
        key: Its key, decoded.
        version: Its version; ``""`` where the trigger names none.
        etag: Without quotes; ``""`` where the trigger names none.
        size: In bytes; None where the trigger does not say.
        sequencer: S3's order of the events of one key; ``""`` where there is none.
        acknowledgement: What the trigger calls the unit that the object came in: a message's, a task's or an item's id.
        attributes: The message's attributes, the item's other fields, the job's arguments.
        hand_overs: How often the object has been handed on from one invocation to the next.
        stalled: How many of the last of these got no further.
        rows: How many of its rows were done when it was handed on last.
    """

    bucket: str
    key: str
    version: str = ""
    etag: str = ""
    size: int | None = None
    sequencer: str = ""
    acknowledgement: str = ""
    attributes: Pairs = ()
    hand_overs: int = 0
    stalled: int = 0
    rows: int = 0

    @property
    def uri(self) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self.bucket}/{self.key}"


class RefusedUnit(NamedTuple):
    """A message, task or item that names no object.

    Attributes:
        acknowledgement: What the trigger calls it.
        reason: What is wrong with it.
    """

    acknowledgement: str
    reason: str


class BatchCall(NamedTuple):
    """What a trigger asks: predictions for objects.

    Attributes:
        objects: In the trigger's order.
        refused: What it holds beside them.
        channel: How a partly done object goes on: ``queue`` (a message), ``invoke`` (an asynchronous invoke of this function), ``answer`` (in the
            answer) or ``retry`` (the trigger asks again).
        queue_arn: The queue that the trigger came from; ``""`` where it is none.
        request_id: Lambda's id of the invocation.
        remaining_ms: Milliseconds that are left of the invocation, asked anew at each call.
    """

    objects: tuple[ObjectRef, ...]
    refused: tuple[RefusedUnit, ...]
    channel: str
    queue_arn: str
    request_id: str
    remaining_ms: Callable[[], int]


class ObjectResult(NamedTuple):
    """What became of one object.

    Attributes:
        reference: The object.
        state: ``done`` (every row is answered or reported), ``skipped`` (nothing to do: our own output, an older event, an object that is gone),
            ``continued`` (partly done, and handed on), ``untouched`` (there was no time to begin), ``transient`` (try again) or ``permanent``
            (the object as a whole is at fault).
        message: Why, where it is not done.
        outputs: S3 URIs by ``results``, ``errors`` and ``summary``, as far as they are written.
        rows: How many rows are done.
        failed_rows: How many of them are errors.
    """

    reference: ObjectRef
    state: str
    message: str = ""
    outputs: Pairs = ()
    rows: int = 0
    failed_rows: int = 0


class BatchAnswer(NamedTuple):
    """What became of a batch call.

    Attributes:
        results: One for each object, in the call's order.
        refused: The call's.
    """

    results: tuple[ObjectResult, ...]
    refused: tuple[RefusedUnit, ...] = ()


class Row(NamedTuple):
    """One input of an object.

    Attributes:
        number: Which one of the object it is, from 0 on.
        payload: What the model is asked; None where the row is at fault.
        error: What is wrong with it.
        name: A file's name within a zip or tar; ``""`` for rows without one.
        offset: Where in the (uncompressed) object the next row begins, in bytes, or else 0 where reading can only begin at the start.
    """

    number: int
    payload: Payload | None
    error: Exception | None = None
    name: str = ""
    offset: int = 0
