"""What is done of one object, from its first row to its summary.

A small object needs no more than its outputs. Of one that is not finished at once, this lies under the place's prefix of parts:

    plan.json                              the batch size, which all runs of the object keep; there before any part
    <batch size>/<see parts.py>.results    lines of rows that follow one another
    <batch size>/<rows>.end                says that no row is missing: only the outputs are; .refused where the object cannot be read any further

Then, in this order: the parts are joined to the results, the results' error lines become the errors (where there are any), the summary
is written, and the prefix is emptied. Every object is written on condition that it is not there, and the first one counts for all runs, so
a run can end anywhere, and any number of them can work on one object at a time: what the next one finds is a state of this list.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gluon_lambda.batch.lines import Line
from gluon_lambda.batch.objects import ObjectStore
from gluon_lambda.batch.outputs import (
    JSON_TYPE,
    LINES_TYPE,
    SCHEMA,
    Content,
    Done,
    Ending,
    Outputs,
    Tally,
    Work,
    read_own,
)
from gluon_lambda.batch.parts import Part, Stored, end_name, stored_parts
from gluon_lambda.batch.places import Place
from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.errors import DeadlineExceeded, ObjectDenied, ObjectMissing, ObjectReplaced, ObjectUnavailable

PLAN = "plan.json"


def open_progress(
    store: ObjectStore, place: Place, work: Work, *, is_one_row: bool = False, clock: Callable[[], float] = time.time
) -> Progress | Done:
    """How far an object is.

    Args:
        store: S3.
        place: Where the outputs go.
        work: What is to be done.
        is_one_row: Whether the object is one row, of which no parts can lie there: then nobody asks for them.
        clock: Seconds since 1970.

    Returns:
        Done where the summary is there, once leftovers are removed; otherwise what is to be gone on with.

    Raises:
        ObjectError: As the store does; ObjectRefused, too, where a plan or a summary is there that cannot be read.
    """
    with _needed():
        done = Outputs(store, place, work).done()
        if done is not None:
            return done
        plan = None if is_one_row else store.read_small(place.bucket, place.parts + PLAN)
        return Progress(store, place, work, clock, plan=plan)


@contextmanager
def _needed() -> Iterator[None]:
    """An input that is missing, or denied, is at fault itself; where outputs cannot be, it waits for somebody to see to that."""
    try:
        yield
    except (ObjectMissing, ObjectReplaced, ObjectDenied) as error:
        raise ObjectUnavailable(f"Outputs cannot be written: {error}") from error


class Progress:
    """An object's work that is not done. One run's: not to be shared by threads.

    Rows are given in order by ``add``, from ``next_row`` on; ``store_part`` keeps them, ``finish`` writes the outputs.
    """

    def __init__(
        self, store: ObjectStore, place: Place, work: Work, clock: Callable[[], float], *, plan: bytes | None
    ) -> None:
        self._store = store
        self._place = place
        self._work = work
        self._outputs = Outputs(store, place, work)
        self._clock = clock
        self._started = float(clock())
        self._batch_size = work.batch_size
        self._stored = Stored()
        self._forget_pending()
        self._planned = plan is not None
        if plan is not None:
            batch_size, self._started = self._read_plan(plan)
            self._follow(batch_size)

    @property
    def batch_size(self) -> int:
        """How many rows a micro-batch has; another run may have settled it."""
        return self._batch_size

    @property
    def stored_rows(self) -> int:
        """How many rows the next run will find done."""
        return self._stored.parts[-1].end if self._stored.parts else 0

    @property
    def stored_failed(self) -> int:
        """How many of these are errors."""
        return sum(part.failed for part in self._stored.parts)

    @property
    def next_row(self) -> int:
        """The row that ``add`` takes next."""
        return self.stored_rows + len(self._pending)

    @property
    def offset(self) -> int:
        """Where in the input row ``next_row`` begins, in bytes; 0 where reading can only begin at the start."""
        return self._offset

    @property
    def complete(self) -> bool:
        """Whether every row is stored already: nothing is to be read or computed, only ``finish`` is missing."""
        return self._stored.complete

    @property
    def pending_bytes(self) -> int:
        """How long the lines are that are not stored yet."""
        return self._pending_bytes

    def add(self, line: Line, *, offset: int) -> None:
        """Take row ``next_row``'s line.

        Args:
            line: The line.
            offset: Where in the input the row after it begins, in bytes; 0 where reading can only begin at the start.
        """
        self._pending.append(line.text)
        self._pending_bytes += len(line.text)
        self._pending_failed += line.failed
        self._offset = offset

    def refuse(self, line: Line) -> None:
        """Take the last line of an object that cannot be read, or not any further."""
        self.add(line, offset=0)
        self._pending_refused = True

    def store_part(self) -> bool:
        """Store the lines that are not stored yet.

        Returns:
            False where another run works by another batch size, which counts for all: this run's lines are forgotten, and it goes on at
            ``next_row`` and ``offset`` with ``batch_size``, as they are now.

        Raises:
            ObjectError: As the store does; the lines are kept.
        """
        with _needed():
            if not self._settle():
                return False
            if self._pending:
                self._store_pending()
            return True

    def finish(self, *, has_time: Callable[[], bool], invocations: int) -> Done | None:
        """Write results, errors and summary, and remove the parts. Every row of the object has been added.

        Args:
            has_time: Whether there is time for another block of some megabytes, asked again and again.
            invocations: How many invocations have worked on the object, as far as is known.

        Returns:
            None where there is no time: all is stored, and the next invocation goes on (``complete``); or where another run works by another
            batch size (not ``complete``): see ``store_part``.

        Raises:
            ObjectError: As the store does.
        """
        with _needed():
            try:
                return self._finish(Ending(self._started, self._clock, has_time, invocations))
            except DeadlineExceeded:
                self._store_all()
                return None

    def _forget_pending(self) -> None:
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._pending_failed = 0
        self._pending_refused = False
        self._offset = self._stored.parts[-1].offset if self._stored.parts else 0

    def _settle(self) -> bool:
        """See to it that there is a plan; False where it is one of another batch size, which is followed from here on."""
        if self._planned:
            return True
        key = self._place.parts + PLAN
        plan = {"schema": SCHEMA, "batch_size": self._batch_size, "started": self._started, **self._work.described()}
        written = self._outputs.write(key, [json.dumps(plan).encode()], JSON_TYPE)
        # One that was there, and has gone again, was of a run that has ended the work: finish() will see its summary.
        other = None if written else self._store.read_small(self._place.bucket, key)
        batch_size, started = (self._batch_size, self._started) if other is None else self._read_plan(other)
        self._started = started
        self._planned = True
        if batch_size == self._batch_size:
            return True
        self._follow(batch_size)
        return False

    def _read_plan(self, content: bytes) -> tuple[int, float]:
        uri = self._place.uri(self._place.parts + PLAN)
        plan = read_own(content, uri, {"batch_size": int, "started": float})
        return plan["batch_size"], plan["started"]

    def _follow(self, batch_size: int) -> None:
        """Go on by a plan's batch size, after what is stored."""
        self._batch_size = batch_size
        self._stored = stored_parts(self._store.list(self._place.bucket, self._folder))
        self._forget_pending()

    @property
    def _folder(self) -> str:
        # Parts that a run wrote after the end of the work may be of another batch size.
        return f"{self._place.parts}{self._batch_size}/"

    def _store_pending(self) -> None:
        refused = self._pending_refused
        if refused:
            # Before the part: a run that found it alone would read on behind the last line, and be refused once more.
            self._outputs.write(self._folder + end_name(self.next_row, refused=True), [], LINES_TYPE)
        self._stored = Stored((*self._stored.parts, self._write_part()), complete=refused, refused=refused)
        self._forget_pending()

    def _write_part(self) -> Part:
        part = Part(self.stored_rows, self.next_row, self._offset, self._pending_failed, self._pending_bytes)
        key = self._folder + part.name
        if self._outputs.write(key, self._pending, LINES_TYPE):
            return part
        # The other run's lines may be of another length, where an error's text is another one.
        return part._replace(size=self._store.facts(ObjectRef(self._place.bucket, key)).size)

    def _store_all(self) -> bool:
        """Store what is left, and that nothing comes after it."""
        if not self.store_part():
            return False
        if not self._stored.complete:
            self._outputs.write(self._folder + end_name(self.stored_rows), [], LINES_TYPE)
            self._stored = self._stored._replace(complete=True)
        return True

    def _finish(self, ending: Ending) -> Done | None:
        if not self._planned and ending.has_time():
            return self._write_outputs(Content(lambda: iter(self._pending)), ending)
        if not self._store_all() or not ending.has_time():
            return None
        return self._join(ending._replace(started=self._started))  # a plan of another run's may say an earlier one

    def _join(self, ending: Ending) -> Done:
        try:
            return self._outputs.done() or self._write_outputs(Content(lambda: self._joined(ending.has_time)), ending)
        except ObjectMissing:
            # Parts go once the summary is there: another run has been faster.
            done = self._outputs.done()
            if done is None:
                raise
            return done

    def _write_outputs(self, content: Content, ending: Ending) -> Done:
        refused = self._stored.refused or self._pending_refused
        tally = Tally(self.next_row, self.stored_failed + self._pending_failed, refused)
        return self._outputs.write_all(content, tally, ending, has_parts=self._planned)

    def _joined(self, has_time: Callable[[], bool]) -> Iterator[memoryview]:
        for part in self._stored.parts:
            yield from self._outputs.blocks(self._folder + part.name, part.size, has_time)
