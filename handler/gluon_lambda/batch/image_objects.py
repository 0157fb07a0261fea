"""Objects of one image each, answered as if they were the rows of one object; which ones come together changes no bit of an answer.

Small ones, all of whose bytes come with what S3 says of them, are taken as they come, so that reading, decoding and writing never wait for one
another. Larger ones are fetched by as many threads as there are connections, a portion at a time, since all of a portion's are in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain

from gluon_lambda.batch.job import Begun, Desk, Served, done_result, failed, log_first_failure, rows_left, take
from gluon_lambda.batch.lookahead import Lookahead
from gluon_lambda.batch.micro_batches import Answered, answered
from gluon_lambda.batch_records import ObjectResult, Row
from gluon_lambda.errors import GluonLambdaError, ObjectDenied, ObjectError, ObjectRefused
from gluon_lambda.services.batching import SAME_BITS

# Images that are fetched and answered together; and their size.
_TOGETHER = 64
_TOGETHER_BYTES = 64 << 20

Results = Mapping[int, Future[ObjectResult]]


def answer_small_images(lookahead: Lookahead, desk: Desk, pool: ThreadPoolExecutor) -> Results:
    """Answer the small images that come next, and of one model.

    Returns:
        Results by the images' places in the call, their outputs still on the way; none for those that there was no time for.
    """
    first = lookahead.next_image()
    if first is None:
        return {}
    served = first[1].served
    under_way: dict[int, tuple[int, Begun]] = {}

    def rows() -> Iterator[Row]:
        # in the thread that reads ahead
        images = chain([first], iter(lambda: lookahead.next_image(served), None))
        for at, (number, begun) in enumerate(images):
            under_way[at] = number, begun
            yield _only_row(begun, desk)._replace(number=at)

    results: dict[int, Future[ObjectResult]] = {}
    for batch in _answered(rows(), served, desk, lambda at: under_way[at][1]):
        for each in batch:
            number, begun = under_way.pop(each.row.number)
            results[number] = pool.submit(_ended, begun, each, desk)
    return results


def answer_images(images: Mapping[int, Begun], desk: Desk, pool: ThreadPoolExecutor) -> Results:
    """Answer images of any size and model.

    Args:
        images: By their places in the call.
        desk: The call's.
        pool: Where they are fetched, and written.

    Returns:
        As ``answer_small_images``.
    """
    results: dict[int, Future[ObjectResult]] = {}
    for model in dict.fromkeys(begun.served.name for begun in images.values()):
        mine = [number for number, begun in images.items() if begun.served.name == model]
        for cut in portions([images[number].facts.size for number in mine]):
            portion = mine[cut]
            for batch in _answered_portion([images[number] for number in portion], desk, pool):
                for each in batch:
                    number = portion[each.row.number]
                    results[number] = pool.submit(_ended, images[number], each, desk)
    return results


def portions(sizes: Sequence[int]) -> Iterator[slice]:
    """Neighbours that are not too many and not too large together; one that is too large alone is alone."""
    first = total = 0
    for at, size in enumerate(sizes):
        if at > first and (at - first == _TOGETHER or total + size > _TOGETHER_BYTES):
            yield slice(first, at)
            first, total = at, 0
        total += size
    if sizes:
        yield slice(first, len(sizes))


def _answered_portion(images: Sequence[Begun], desk: Desk, pool: ThreadPoolExecutor) -> Iterator[list[Answered]]:
    rows = [pool.submit(_only_row, begun, desk) for begun in images]
    numbered = (row.result()._replace(number=at) for at, row in enumerate(rows))
    with _cancelling(rows):
        yield from _answered(numbered, images[0].served, desk, lambda at: images[at])


def _answered(
    rows: Iterator[Row], served: Served, desk: Desk, image_of: Callable[[int], Begun]
) -> Iterator[list[Answered]]:
    """Micro-batches, as long as there is time; ``image_of`` tells a row's image by its number."""
    with closing(answered(rows, served.batcher, size=min(served.size, SAME_BITS))) as batches:
        began, is_told = time.perf_counter(), False
        while desk.deadline.has_time() and (batch := next(batches, None)) is not None:
            is_told = is_told or log_first_failure(batch, lambda row: image_of(row.number).reference.uri)
            yield batch
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
        take(begun.progress, done._replace(row=done.row._replace(number=0)))
        ended = begun.progress.finish(has_time=desk.deadline.has_time, invocations=begun.reference.hand_overs + 1)
    except GluonLambdaError as error:
        return failed(begun.reference, error, desk, begun.facts)
    return done_result(begun.reference, ended) if ended else ObjectResult(begun.reference, "untouched")
