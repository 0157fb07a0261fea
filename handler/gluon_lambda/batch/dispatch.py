"""A batch call to what became of each of its objects: several at a time where each is one image, one after another otherwise.

What fails is one object's own. What is left when time runs out is handed on by the channel that the trigger has (``handing_on.py``), or is
told as untouched, so that the trigger brings it again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from gluon_lambda.batch.event_order import latest
from gluon_lambda.batch.handing_on import Channel, goes_nowhere, stalled
from gluon_lambda.batch.job import (
    Begun,
    Desk,
    begin,
    done_result,
    failed,
    go_on,
    is_one_image,
    log_first_failure,
    look,
    route,
    rows_left,
    take,
)
from gluon_lambda.batch.micro_batches import Answered, answered
from gluon_lambda.batch_records import BatchAnswer, BatchCall, ObjectRef, ObjectResult, Row
from gluon_lambda.errors import GluonLambdaError, ObjectDenied, ObjectError, ObjectRefused
from gluon_lambda.runtime.openmp import leave_binding
from gluon_lambda.services.batching import SAME_BITS

_LOGGER = logging.getLogger("gluon_lambda.batch")
# Requests to S3 that are under way at a time: each waits some 20 ms for its answer.
CONNECTIONS = 32
# Images that are looked at, fetched and answered together; and their size, since all of them are in memory.
_TOGETHER = 64
_TOGETHER_BYTES = 64 << 20
# Of an object whose event does not say its size.
_ASSUMED_BYTES = 1 << 20

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
    with ThreadPoolExecutor(CONNECTIONS, "s3", initializer=leave_binding) as pool:
        for portion in portions(call.objects, order.newest):
            done = _answer_portion([call.objects[at] for at in portion], desk, pool)
            results.update(zip(portion, done, strict=True))
    got_on = any(_got_on(result) for result in results.values())
    handed = (_handed_over(results[at], hand_over, got_on=got_on) for at in range(len(call.objects)))
    return BatchAnswer(tuple(handed), call.refused)


def portions(objects: Sequence[ObjectRef], wanted: Sequence[int]) -> Iterator[list[int]]:
    """Cut what is wanted into groups that are looked at together: as many as fit into memory, if all are images."""
    sizes = [_ASSUMED_BYTES if (size := objects[at].size) is None else size for at in wanted]
    return (list(wanted[cut]) for cut in _cuts(sizes))


def _cuts(sizes: Sequence[int]) -> Iterator[slice]:
    """Neighbours that are not too many and not too large together; one that is too large alone is alone."""
    first = total = 0
    for at, size in enumerate(sizes):
        if at > first and (at - first == _TOGETHER or total + size > _TOGETHER_BYTES):
            yield slice(first, at)
            first, total = at, 0
        total += size
    if sizes:
        yield slice(first, len(sizes))


def _answer_portion(references: Sequence[ObjectRef], desk: Desk, pool: ThreadPoolExecutor) -> list[ObjectResult]:
    if not desk.deadline.has_time():
        return [ObjectResult(reference, "untouched") for reference in references]
    begun = [each.result() if isinstance(each, Future) else each for each in _begun(references, desk, pool)]
    images = [each for each in begun if isinstance(each, Begun) and is_new_image(each)]
    answers = _answer_images(images, desk, pool)
    return [answers.get(id(each)) or _result(each, desk) for each in begun]


def _begun(
    references: Sequence[ObjectRef], desk: Desk, pool: ThreadPoolExecutor
) -> list[ObjectResult | Future[Begun | ObjectResult]]:
    """S3 is asked about all of them at a time; models are found in this thread, which is the one that runs nets."""
    begun: list[ObjectResult | Future[Begun | ObjectResult]] = []
    for found in list(pool.map(lambda reference: look(reference, desk), references)):
        if isinstance(found, ObjectResult):
            begun.append(found)
            continue
        begun.append(pool.submit(begin, found, route(found, desk), desk))
    return begun


def _result(each: Begun | ObjectResult, desk: Desk) -> ObjectResult:
    return go_on(each, desk) if isinstance(each, Begun) else each


def is_new_image(begun: Begun) -> bool:
    """Whether an object is an image of which nothing has been done: it may be answered together with others."""
    is_new = begun.progress.next_row == 0 and not begun.progress.complete
    return is_new and is_one_image(begun.reference, begun.facts)


def _answer_images(images: Sequence[Begun], desk: Desk, pool: ThreadPoolExecutor) -> dict[int, ObjectResult]:
    """Each image's result, by the identity of what was begun."""
    endings: dict[int, Future[ObjectResult]] = {}
    for model in dict.fromkeys(begun.served.name for begun in images):
        mine = [begun for begun in images if begun.served.name == model]
        for cut in _cuts([begun.facts.size for begun in mine]):  # not all events tell the sizes
            for begun, done in _answered_images(mine[cut], desk, pool):
                endings[id(begun)] = pool.submit(_ended, begun, done, desk)
    untouched = {id(begun): ObjectResult(begun.reference, "untouched") for begun in images}
    return untouched | {key: ending.result() for key, ending in endings.items()}


def _answered_images(images: Sequence[Begun], desk: Desk, pool: ThreadPoolExecutor) -> Iterator[tuple[Begun, Answered]]:
    """The images of one model, answered as if they were the rows of one object; which ones come together changes no bit of an answer."""
    served = images[0].served
    rows = [pool.submit(_only_row, begun, desk) for begun in images]
    numbered = (row.result()._replace(number=at) for at, row in enumerate(rows))
    with closing(answered(numbered, served.batcher, size=min(served.size, SAME_BITS))) as batches, _cancelling(rows):
        began, is_told = time.perf_counter(), False
        while desk.deadline.has_time() and (batch := next(batches, None)) is not None:
            for each in batch:
                begun, done = images[each.row.number], each._replace(row=each.row._replace(number=0))
                is_told = is_told or log_first_failure(begun.reference, [done])
                yield begun, done
            desk.deadline.note((time.perf_counter() - began) * 1000)
            began = time.perf_counter()


@contextmanager
def _cancelling(rows: Sequence[Future[Row]]) -> Iterator[None]:
    """Fetch nothing more in the end: whoever ends the pool would wait for it, with no time left."""
    try:
        yield
    finally:
        for row in rows:
            row.cancel()


def _only_row(begun: Begun, desk: Desk) -> Row:
    try:
        return next(rows_left(begun, desk))
    except GluonLambdaError as error:
        return Row(0, None, error)


def _ended(begun: Begun, done: Answered, desk: Desk) -> ObjectResult:
    """Write one image's outputs; none where S3 did not give it."""
    error = done.error
    try:
        if isinstance(error, ObjectError) and (isinstance(error, ObjectDenied) or not isinstance(error, ObjectRefused)):
            return failed(begun.reference, error, desk, begun.facts)
        take(begun.progress, done)
        ended = begun.progress.finish(has_time=desk.deadline.has_time, invocations=begun.reference.hand_overs + 1)
    except GluonLambdaError as error:
        return failed(begun.reference, error, desk, begun.facts)
    return done_result(begun.reference, ended) if ended else ObjectResult(begun.reference, "untouched")


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
