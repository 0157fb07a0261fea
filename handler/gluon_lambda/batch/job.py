"""One object, from what S3 says of it to its summary: route, place, progress, rows, answers, outputs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import BinaryIO, NamedTuple, cast

from gluon_lambda.batch.deadline import Deadline
from gluon_lambda.batch.failures import is_transient
from gluon_lambda.batch.formats.csv_rows import Columns
from gluon_lambda.batch.formats.detection import is_image
from gluon_lambda.batch.formats.opening import open_rows
from gluon_lambda.batch.lines import error_line, prediction_line
from gluon_lambda.batch.micro_batches import Answered, answered
from gluon_lambda.batch.objects import PRODUCER, Facts, ObjectStore
from gluon_lambda.batch.outputs import Done, Work
from gluon_lambda.batch.places import OutputTemplate, is_our_output, place
from gluon_lambda.batch.progress import Progress, open_progress
from gluon_lambda.batch.reader import open_object
from gluon_lambda.batch.reports import report
from gluon_lambda.batch_records import ObjectRef, ObjectResult, Row
from gluon_lambda.errors import (
    BucketMissing,
    GluonLambdaError,
    ObjectDenied,
    ObjectMissing,
    ObjectRefused,
    ObjectReplaced,
)
from gluon_lambda.services.batching import RowBatcher

_LOGGER = logging.getLogger("gluon_lambda.batch")
# Lines are stored when there are so many, so that memory stays flat however many rows there are.
PART_BYTES = 1 << 20
# What comes of an object with what S3 says of it, so that most images take no request more. Those of a call's images are in memory together.
HEAD_BYTES = 256 << 10


class Served(NamedTuple):
    """The model that answers an object.

    Attributes:
        name: What it is served under.
        digest: The SHA-256 of its archive, as hex digits.
        batcher: Answers rows.
        size: How many rows make a micro-batch.
        columns: What it makes of a table's columns.
    """

    name: str
    digest: str
    batcher: RowBatcher
    size: int
    columns: Columns = Columns()


class Desk(NamedTuple):
    """What the objects of one call share.

    Attributes:
        store: S3.
        template: Where outputs go.
        serve: Finds the model that answers an object; raises ModelNotFound or LoadError.
        deadline: When to stop.
        producer: The function's name.
        part_bytes: How long the lines are, at least, that are stored at a time before there is need to.
        head_bytes: How much of an object comes with what S3 says of it.
        known: Finds the model that answers an object where it is loaded and measured already, None where not. For any thread.
    """

    store: ObjectStore
    template: OutputTemplate
    serve: Callable[[ObjectRef, Facts], Served]
    deadline: Deadline
    producer: str
    part_bytes: int = PART_BYTES
    head_bytes: int = HEAD_BYTES
    known: Callable[[ObjectRef, Facts], Served | None] = lambda *_: None


class Found(NamedTuple):
    """An object that is there, and is for us.

    Attributes:
        reference: The object.
        facts: What S3 says of it.
        head: Its first bytes.
    """

    reference: ObjectRef
    facts: Facts
    head: bytes | memoryview = b""


class Begun(NamedTuple):
    """An object that there is something to do for.

    Attributes:
        reference: The object.
        facts: What S3 says of it.
        served: Its model.
        progress: What has been done.
        head: The object's first bytes.
    """

    reference: ObjectRef
    facts: Facts
    served: Served
    progress: Progress
    head: bytes | memoryview = b""


def look(reference: ObjectRef, desk: Desk) -> Found | ObjectResult:
    """Ask S3 about an object; one that needs no answer has its result at once. Never raises an error of ours."""
    if not desk.deadline.has_time():
        return ObjectResult(reference, "untouched")
    if is_our_output(desk.template, reference):
        return ObjectResult(reference, "skipped", "it lies where outputs go")
    try:
        facts, head = desk.store.open(reference, desk.head_bytes)
    except GluonLambdaError as error:
        return failed(reference, error, desk)
    if PRODUCER in facts.metadata:
        return ObjectResult(reference, "skipped", f"it is an output of {facts.metadata[PRODUCER]}")
    return Found(reference, facts, head)


def route(found: Found, desk: Desk) -> Served | GluonLambdaError:
    """The object's model. For the thread that runs nets: a model may have to be loaded, and is measured. Never raises an error of ours."""
    try:
        return desk.serve(found.reference, found.facts)
    except GluonLambdaError as error:
        return error


def begin(found: Found, served: Served | GluonLambdaError, desk: Desk) -> Begun | ObjectResult:
    """See how far an object is; one that is done, or has no model, has its result at once. Never raises an error of ours."""
    reference, facts, head = found
    if isinstance(served, GluonLambdaError):
        return failed(reference, served, desk, facts)
    if not desk.deadline.has_time():
        return ObjectResult(reference, "untouched")
    target = place(desk.template, reference, facts, model=served.name, digest=served.digest)
    work = Work(reference, facts, served.name, served.digest, served.size, desk.producer)
    try:
        progress = open_progress(desk.store, target, work, is_one_row=is_one_image(reference, facts))
    except GluonLambdaError as error:
        return failed(reference, error, desk, facts)
    if isinstance(progress, Done):
        return done_result(reference, progress)
    return Begun(reference, facts, served, progress, head)


def is_one_image(reference: ObjectRef, facts: Facts) -> bool:
    """Whether an object is an image by its type or name, and not in a gzip."""
    is_plain = facts.content_encoding in ("", "identity", "aws-chunked") and not reference.key.endswith(".gz")
    return is_plain and is_image(facts.content_type, reference.key)


def go_on(begun: Begun, desk: Desk) -> ObjectResult:
    """Answer the rows that are not answered, as far as time allows, and end the work. Never raises an error of ours."""
    try:
        return _go_on(begun, desk)
    except GluonLambdaError as error:
        if is_transient(error):
            # What is finished need not be done again; the error that counts is the first.
            with suppress(GluonLambdaError):
                begun.progress.store_part()
        return failed(begun.reference, error, desk, begun.facts)


def _go_on(begun: Begun, desk: Desk) -> ObjectResult:
    reference, progress = begun.reference, begun.progress
    while desk.deadline.has_time():
        if not progress.complete and not _answer_rows(begun, desk):
            continue  # out of time; or another run has settled another batch size, which counts from now on
        done = progress.finish(has_time=desk.deadline.has_time, invocations=reference.hand_overs + 1)
        if done is not None:
            return done_result(reference, done)
    if progress.next_row == 0 and not reference.hand_overs:
        return ObjectResult(reference, "untouched")  # time was up when its turn came
    progress.store_part()
    return ObjectResult(reference, "continued", "", (), progress.stored_rows, progress.stored_failed)


def _answer_rows(begun: Begun, desk: Desk) -> bool:
    """Answer rows until there are no more; False where time ran out, or another run's batch size counts from now on."""
    progress = begun.progress
    with closing(answered(rows_left(begun, desk), begun.served.batcher, size=progress.batch_size)) as batches:
        began, is_told = time.perf_counter(), False
        while desk.deadline.has_time():
            batch = _whole(batches, progress.batch_size)
            if not batch:
                return True
            is_told = is_told or log_first_failure(batch, lambda row: f"{begun.reference.uri}, row {row.number}")
            for each in batch:
                take(progress, each)
            if progress.pending_bytes >= desk.part_bytes and not progress.store_part():
                return False
            desk.deadline.note((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
    return False


def log_first_failure(batch: Sequence[Answered], name_of: Callable[[Row], str]) -> bool:
    """Log what an archive's code raised, with its traceback, which is in no output; one row tells what all of them suffer from."""
    for each in batch:
        if each.error is not None and each.error.__cause__ is not None:
            _LOGGER.warning("%s: %s", name_of(each.row), each.error, exc_info=each.error)
            return True
    return False


def _whole(batches: Iterator[list[Answered]], size: int) -> list[Answered]:
    """The next micro-batch; empty at the end. One that an error has cut short is not kept: the next run computes it whole.

    Raises:
        Exception: What reading raised.
    """
    batch = next(batches, [])
    if batch and (batch[-1].row.number + 1) % size:
        next(batches, None)  # the object's end, or the error
    return batch


def rows_left(begun: Begun, desk: Desk) -> Iterator[Row]:
    """The rows that are left. An object that cannot be read any further ends in a row that says so.

    Raises:
        ObjectError: S3 does not give the object, or not the same one any more.
    """
    facts, start = begun.facts, (begun.progress.next_row, begun.progress.offset)
    number = start[0]
    with open_object(desk.store, begun.reference, facts, begun.head) as stream:
        try:
            for row in open_rows(
                cast(BinaryIO, stream),
                key=begun.reference.uri,
                content_type=facts.content_type,
                content_encoding=facts.content_encoding,
                start=start,
                columns=begun.served.columns,
            ):
                yield row
                number = row.number + 1
        except ObjectDenied:
            raise
        except ObjectRefused as error:
            yield Row(number, None, error)


def take(progress: Progress, answer: Answered) -> None:
    """Take a row's line; the last one, where it says that the object cannot be read any further."""
    row, error = answer.row, answer.error
    if error is None:
        progress.add(prediction_line(row.number, answer.value, name=row.name), offset=row.offset)
        return
    line = error_line(row.number, error, transient=is_transient(error), name=row.name)
    if isinstance(error, ObjectRefused):
        progress.refuse(line)
    else:
        progress.add(line, offset=row.offset)


def done_result(reference: ObjectRef, done: Done) -> ObjectResult:
    """The result of an object whose summary is written."""
    if done.refused:
        reason = "it cannot be read, or not to its end: the last of its error lines says why"
        return ObjectResult(reference, "permanent", reason, done.outputs, done.rows, done.failed)
    return ObjectResult(reference, "done", "", done.outputs, done.rows, done.failed)


def failed(reference: ObjectRef, error: GluonLambdaError, desk: Desk, facts: Facts | None = None) -> ObjectResult:
    """The result of an object that could not be worked on. Whoever replaced or deleted one has caused an event of its own.

    What will not pass is reported on S3, since its trigger forgets it; where not even that can be written, the trigger has to keep it.
    """
    if isinstance(error, (ObjectMissing, ObjectReplaced)) and not isinstance(error, BucketMissing):
        return ObjectResult(reference, "skipped", str(error))
    reason = f"{type(error).__name__}: {error}"
    if is_transient(error):
        return ObjectResult(reference, "transient", reason)
    try:
        outputs = report(desk.store, desk.template, reference, facts, error, producer=desk.producer)
    except GluonLambdaError as second:
        return ObjectResult(reference, "transient", f"{reason}; and that cannot be reported: {second}")
    return ObjectResult(reference, "permanent", reason, outputs)
