"""An object's rows through a model, a micro-batch at a time, with reading and decoding ahead of the engine.

**Boundaries** are fixed: rows [k · size, (k + 1) · size) of the object, whatever was done before, so a retry computes the very same batches.

**Threads.** One reads rows and hands them on to as many as there are CPUs, two at most, that decode; at most two micro-batches wait. The
caller's thread runs the net. The engine's own threads then share the CPUs with those that decode. With one decoder that was no faster than doing
one after another, since the whole team waits for its slowest; with two, which are soon done and then wait, it was 5 to 15 %.

**A batch that fails** is halved until the rows that fail stand alone; the others are answered. A row that fails costs about log2(size) runs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from gluon_lambda.errors import GluonLambdaError, MalformedBody
from gluon_lambda.pending import Pending, begin
from gluon_lambda.runtime.openmp import leave_binding

if TYPE_CHECKING:
    from gluon_lambda.batch_records import Row
    from gluon_lambda.services.batching import Prepared, RowBatcher

# Micro-batches that are read and decoded while one is computed.
AHEAD = 2
_MOST_DECODERS = 2
# How long a reader may take to notice that nobody wants its rows: it may be waiting for S3, and the invocation's time is nearly up.
_FAREWELL_SECONDS = 1.0


class Answered(NamedTuple):
    """A row that is done.

    Attributes:
        row: Without its payload, which may be large.
        value: What the model answers; None where there is an error.
        error: Why there is no answer.
    """

    row: Row
    value: Any = None
    error: Exception | None = None


class _Begun(NamedTuple):
    """A row that is being decoded; ``prepared`` is None where it is at fault already."""

    row: Row
    prepared: Pending[Prepared] | None


def answered(
    rows: Iterator[Row], batcher: RowBatcher, *, size: int, start: int = 0
) -> Generator[list[Answered], None, None]:
    """Answer rows, a micro-batch at a time.

    Closing the generator early stops its threads, and closes ``rows`` where that is a generator; micro-batches that it has not given yet are
    computed anew by whoever starts there.

    Args:
        rows: In order, each number one more than the one before. Read in another thread.
        batcher: The model's; run in the calling thread.
        size: How many rows a micro-batch has.
        start: Rows before this number are passed over.

    Raises:
        Exception: What ``rows`` raised, after the rows before it have been answered.
    """
    stream = _Stream(rows, batcher.prepare, size=size, start=start)
    try:
        while (batch := stream.next_batch()) is not None:
            yield answer_batch(batch, batcher)
    finally:
        stream.close()


class _Stream:
    """Rows that are read and decoded ahead."""

    def __init__(self, rows: Iterator[Row], prepare: Callable[[Any], Prepared], *, size: int, start: int) -> None:
        self._rows, self._prepare, self._size, self._start = rows, prepare, size, start
        self._batches: SimpleQueue[list[_Begun] | None] = SimpleQueue()
        self._calls: SimpleQueue[Pending[Any] | None] = SimpleQueue()
        # For the next one when the one before it is read.
        self._room = threading.Semaphore(AHEAD - 1)
        self._closed = threading.Event()
        self._decoders = [begin("decode", _decode, self._calls) for _ in range(_decoder_count())]
        self._reading = begin("rows", self._read)

    def next_batch(self) -> list[_Begun] | None:
        """The next micro-batch; None at the end. Raises what reading raised, at the end."""
        batch = self._batches.get()
        if batch is None:
            self._reading.result()
            return None
        self._room.release()
        return batch

    def close(self) -> None:
        """Stop the threads."""
        self._closed.set()
        self._room.release()
        self._reading.wait(_FAREWELL_SECONDS)
        with suppress(Empty):
            while True:
                self._calls.get_nowait()
        for _ in self._decoders:
            self._calls.put(None)

    def _read(self) -> None:
        leave_binding()
        batch: list[_Begun] = []
        try:
            for row in self._rows:
                if row.number >= self._start:
                    batch.append(self._begin(row))
                if batch and (row.number + 1) % self._size == 0:
                    self._batches.put(batch)
                    batch = []
                    self._room.acquire()
                if self._closed.is_set():
                    return
        finally:
            # However it ends: what came before an error is whole.
            if batch:
                self._batches.put(batch)
            self._batches.put(None)
            getattr(self._rows, "close", _nothing)()

    def _begin(self, row: Row) -> _Begun:
        if row.payload is None:
            return _Begun(row, None)
        # MMS 1.x handlers tell the requests of a batch apart by their ids.
        payload = row.payload if row.payload.request_id else row.payload._replace(request_id=str(row.number))
        pending = Pending(self._prepare, payload)
        self._calls.put(pending)
        return _Begun(row._replace(payload=None), pending)


def _nothing() -> None:
    """Stand in for ``close`` where rows have none."""


def _decoder_count() -> int:
    return min(os.cpu_count() or 1, _MOST_DECODERS)


def _decode(calls: SimpleQueue[Pending[Any] | None]) -> None:
    leave_binding()
    while (call := calls.get()) is not None:
        call.run()
        # Not while waiting for the next one: what it made may be large.
        del call


def answer_batch(batch: Sequence[_Begun], batcher: RowBatcher) -> list[Answered]:
    """Run a micro-batch's sound rows, and put all in order again."""
    errors = [_error_of(begun) for begun in batch]
    sound = [
        begun.prepared.result() for begun, error in zip(batch, errors, strict=True) if begun.prepared and not error
    ]
    values = iter(run_isolated(sound, batcher))
    return [
        Answered(begun.row, error=error) if error else _answered(begun.row, next(values))
        for begun, error in zip(batch, errors, strict=True)
    ]


def run_isolated(rows: Sequence[Prepared], batcher: RowBatcher) -> list[Any]:
    """Run rows so that one that fails costs that one only.

    Returns:
        For each row its value or its error.
    """
    values: list[Any] = []
    for first in range(0, len(rows), batcher.most):
        values += _bisected(rows[first : first + batcher.most], batcher)
    return values


def _bisected(rows: Sequence[Prepared], batcher: RowBatcher) -> list[Any]:
    try:
        return batcher.run(rows)
    except GluonLambdaError as error:
        _forget_frames(error)
        if len(rows) == 1:
            return [error]
    # After the error is gone, and with it what the failed attempt held: it may have been for want of memory.
    half = 1 << (len(rows) - 1).bit_length() - 1
    return [*_bisected(rows[:half], batcher), *_bisected(rows[half:], batcher)]


def _error_of(begun: _Begun) -> Exception | None:
    if begun.prepared is None:
        return begun.row.error or MalformedBody("There is nothing in the row.")
    begun.prepared.wait()
    error = begun.prepared.error
    if not isinstance(error, Exception):
        return None  # where it is the interpreter's end, ``result`` raises it
    _forget_frames(error)
    return error


def _forget_frames(error: Exception) -> None:
    """A service's frames hold the error that went through them as well as the batch's arrays, which would wait for the garbage collector."""
    error.__traceback__ = None


def _answered(row: Row, value: Any) -> Answered:
    return Answered(row, error=value) if isinstance(value, GluonLambdaError) else Answered(row, value)
