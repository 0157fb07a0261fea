"""A batch call to what became of each of its objects: several at a time where each is one image, one after another otherwise.

What fails is one object's own. What is left when time runs out is handed on by the channel that the trigger has (``handing_on.py``), or is
told as untouched, so that the trigger brings it again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeGuard

from gluon_lambda.batch.event_order import latest
from gluon_lambda.batch.handing_on import Channel, goes_nowhere, stalled
from gluon_lambda.batch.image_objects import answer_images, answer_small_images
from gluon_lambda.batch.job import Begun, Desk, Found, begin, go_on, route
from gluon_lambda.batch.lookahead import Lookahead, Numbered, is_new_image
from gluon_lambda.batch_records import BatchAnswer, BatchCall, ObjectRef, ObjectResult
from gluon_lambda.errors import GluonLambdaError
from gluon_lambda.runtime.openmp import leave_binding

_LOGGER = logging.getLogger("gluon_lambda.batch")
# Requests to S3 that are under way at a time: each waits some 20 ms for its answer.
CONNECTIONS = 32
# An object's results are handed on so.
Continue = Callable[[ObjectRef], Mapping[str, Any]]


class HandOver(NamedTuple):
    """How unfinished objects go on.

    Attributes:
        channel: Where messages go; None where the trigger itself brings them again.
        message: Makes the message that a reference goes on by.
        takes_untouched: Whether those go on by it, too, that were not begun.
    """

    channel: Channel | None
    message: Continue
    takes_untouched: bool


def answer(call: BatchCall, desk: Desk, hand_over: HandOver) -> BatchAnswer:
    """Answer a call's objects, as far as time allows."""
    order = latest(call.objects)
    results = {
        at: ObjectResult(call.objects[at], "skipped", "a newer event of the same object is in the same call")
        for at in order.outdated
    }
    results |= _answered([(at, call.objects[at]) for at in order.newest], desk)
    got_on = any(_got_on(result) for result in results.values())
    handed = (_handed_over(results[at], hand_over, got_on=got_on) for at in range(len(call.objects)))
    return BatchAnswer(tuple(handed), call.refused)


def _answered(objects: Sequence[tuple[int, ObjectRef]], desk: Desk) -> dict[int, ObjectResult]:
    """What becomes of objects, by their place in the call: small images as they come, whatever else as it is put aside meanwhile."""
    pending: dict[int, Future[ObjectResult]] = {}
    results = {at: ObjectResult(reference, "untouched") for at, reference in objects}
    with ThreadPoolExecutor(CONNECTIONS, "s3", initializer=leave_binding) as pool:
        lookahead = Lookahead(objects, desk, pool)
        while lookahead.has_more:
            pending |= answer_small_images(lookahead, desk, pool)
            others = _begun(lookahead.take_others(), desk, pool)
            pending |= answer_images({at: each for at, each in others.items() if _is_image(each)}, desk, pool)
            results |= {at: _result(each, desk) for at, each in others.items() if not _is_image(each)}
    return results | lookahead.results | {at: ended.result() for at, ended in pending.items()}


def _begun(others: Sequence[Numbered], desk: Desk, pool: ThreadPoolExecutor) -> dict[int, Begun | ObjectResult]:
    """How far objects are. Models are found in this thread, which is the one that runs nets; S3 is asked about all of them at a time."""
    begun = {
        at: pool.submit(begin, each, route(each, desk), desk) if isinstance(each, Found) else each
        for at, each in others
    }
    return {at: each.result() if isinstance(each, Future) else each for at, each in begun.items()}


def _is_image(each: Begun | ObjectResult) -> TypeGuard[Begun]:
    return isinstance(each, Begun) and is_new_image(each)


def _result(each: Begun | ObjectResult, desk: Desk) -> ObjectResult:
    return go_on(each, desk) if isinstance(each, Begun) else each


def _got_on(result: ObjectResult) -> bool:
    """Whether the call has got further with an object."""
    return result.state == "done" or (result.state == "continued" and result.rows > result.reference.rows)


def _handed_over(result: ObjectResult, hand_over: HandOver, *, got_on: bool) -> ObjectResult:
    """The result, once whoever goes on has been told; an object that gets nowhere is left to the trigger, and in the end to its dead letters."""
    if result.state != "continued" and not (result.state == "untouched" and hand_over.takes_untouched):
        return result
    reference = result.reference
    stuck = stalled(reference, result.rows)
    if stuck and got_on:  # others took the time
        stuck = reference.stalled
    if goes_nowhere(reference, stuck):
        reason = f"given up after {reference.hand_overs} hand-overs: the last {stuck} got no further than row {result.rows:,}"
        _LOGGER.error("%s: %s", reference.uri, reason)
        return result._replace(state="transient", message=reason)
    next_ = reference._replace(hand_overs=reference.hand_overs + 1, stalled=stuck, rows=result.rows)
    try:
        if hand_over.channel:
            hand_over.channel.send(hand_over.message(next_))
    except GluonLambdaError as error:
        return result._replace(state="transient", message=f"{type(error).__name__}: {error}")
    return result._replace(reference=next_, state="continued")
