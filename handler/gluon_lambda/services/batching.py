"""Many inputs at a time, whatever kind of service a model has: what batches ask instead of ``predict``.

- **Built-in services**: one forward pass for all rows, if the net takes that. Where the rows of a batch meet inside the net, or its outputs do not
  have the batch first, they are asked one by one; that is found out by running it.
- **MMS 1.x handlers**: one call with a list of requests, as MMS's own batches were.
- **MMS 0.4 and native services** take one input at a time.

A row's value is what HTTP answers for it, without the envelope ``{"prediction": …}`` of the form ``mms-0.4``: results are the same for both forms.
"""

from __future__ import annotations

import json
import time
from binascii import b2a_base64
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from gluon_lambda.archive_store.manifest import FORM_0_4
from gluon_lambda.errors import GluonLambdaError, InferenceError, InputMismatch
from gluon_lambda.services import labels
from gluon_lambda.services.base import run_phase
from gluon_lambda.services.builtin import BuiltinService
from gluon_lambda.services.inputs import Inputs
from gluon_lambda.services.mms_0_4 import Mms04Service
from gluon_lambda.services.mms_1_x import Mms1xService, read_request
from gluon_lambda.services.model_thread import ModelThread, ServiceOnThread
from gluon_lambda.services.models import resident_bytes
from gluon_lambda.services.native import NativeServiceRunner
from gluon_lambda.services.tensors import batch_axis

if TYPE_CHECKING:
    from gluon_lambda.types import Array, Payload, Prediction, Service

# Beyond it no net that was measured gets any faster, and each row more takes memory.
LARGEST = 64
# Where it cannot be measured: within 5 % of the best for convolutional nets, and little memory.
USUAL = 8
# From 2 to so many rows at a time give each of them the same bits, on one machine.
SAME_BITS = 8
# A size that reaches so much of the best throughput is as good, and smaller.
_GOOD_ENOUGH = 0.99
# Of a batch so full the rest is filled up; an emptier one is run in parts.
_FULL = 7 / 8
_MOST_TIMINGS = 5
_SHARE_OF_A_SIZE = 1 / 6
# After so many sizes that were no better, larger ones will not be either: what they compute does not fit the CPU's caches any more.
_WORSE_IN_A_ROW = 2
_FIRST_ERROR_STATUS = 400
# How far the answers of one row, alone and beside another, may lie apart: kernels differ by the batch's size, but not by more.
_RELATIVE, _OF_THE_GREATEST = 1e-3, 1e-4

# What ``prepare`` makes of a row, and ``run`` takes; each batcher's own.
Prepared = Any


class RowBatcher(Protocol):
    """A model as batches ask it."""

    @property
    def most(self) -> int:
        """The most rows that ``run`` should be given; 1 where the service takes one input at a time."""
        ...

    @property
    def sample(self) -> Prepared | None:
        """A prepared row of zeros, to measure with; None where none can be made up."""
        ...

    def prepare(self, payload: Payload) -> Prepared:
        """Read one row, as far as that can be done without the model. Several threads may do so at a time.

        Raises:
            RequestError: The row is at fault.
            OutOfMemory: It does not fit.
        """
        ...

    def run(self, rows: Sequence[Prepared]) -> list[Any]:
        """Answer prepared rows; they may be run again afterwards.

        Returns:
            For each row its value (JSON-able, NumPy included), or an error of ours that is that row's own.

        Raises:
            GluonLambdaError: What failed for all of them; which row is to blame shows when they are run in parts.
        """
        ...


def batcher_of(service: Service, *, in_pairs: bool = True) -> RowBatcher:
    """The batcher of a model's service; to be kept with it, since it looks into the net once.

    Args:
        service: The model's.
        in_pairs: Whether no net is run on a single row: what a row is answered then does not depend, to the last bit, on how many rows come
            with it, up to ``SAME_BITS`` of them. oneDNN takes other kernels for one row than for several, and others again for many.

    Raises:
        TypeError: A service of no kind that is known.
    """
    match service:
        case ServiceOnThread():
            return _OnThread(batcher_of(service.service, in_pairs=in_pairs), service.thread)
        case BuiltinService():
            return BuiltinRows(service, in_pairs=in_pairs)
        case Mms1xService():
            return Mms1xRows(service)
        case Mms04Service() | NativeServiceRunner():
            return OneByOne(service)
    raise TypeError(f"no batches are known for {type(service).__name__}")


class BuiltinRows:
    """Rows of a built-in service: joined to one batch, and the net's outputs taken apart again."""

    def __init__(self, service: BuiltinService, *, in_pairs: bool = True) -> None:
        """Ask ``service``'s net; a row that is left alone beside itself, where ``in_pairs``."""
        self._service = service
        self._smallest = 2 if in_pairs else 1
        self._axes = {spec.name: batch_axis(spec.shape) for spec in service.net.inputs}

    @cached_property
    def most(self) -> int:
        """See ``RowBatcher``; the net is run to find it out."""
        return LARGEST if self._rows_stand_alone() else 1

    @property
    def sample(self) -> Prepared | None:
        """See ``RowBatcher``."""
        return self._made_up(np.zeros)

    def prepare(self, payload: Payload) -> Inputs:
        """See ``RowBatcher``: what ``predict`` does before the net."""
        inputs: Inputs = run_phase("preprocess", [], self._service.reader, payload)
        return inputs

    def run(self, rows: Sequence[Inputs]) -> list[Any]:
        """See ``RowBatcher``. A row that is itself a batch is run alone."""
        joins = [row.batch is None and self.most > 1 for row in rows]
        joined = iter(self._joined([row for row, join in zip(rows, joins, strict=True) if join]))
        return [next(joined) if join else self._alone(row) for row, join in zip(rows, joins, strict=True)]

    def _alone(self, row: Inputs) -> Any:
        return self._answer(run_phase("inference", [], self._service.net.predict, row.arrays), row.batch)

    def _joined(self, rows: Sequence[Inputs]) -> list[Any]:
        answers = []
        for portion in portions(len(rows), self._smallest):
            part = rows[portion.first : portion.first + portion.rows]
            filled = [*part, *[part[-1]] * (portion.size - len(part))]
            outputs = run_phase("inference", [], self._outputs, filled)
            answers += [self._answer([output[at : at + 1] for output in outputs], None) for at in range(len(part))]
        return answers

    def _outputs(self, rows: Sequence[Inputs]) -> list[Array]:
        arrays = {
            name: np.concatenate([row.arrays[name] for row in rows], axis=axis or 0)
            for name, axis in self._axes.items()
        }
        outputs = self._service.net.predict(arrays)
        if any(output.shape[:1] != (len(rows),) for output in outputs):
            raise InferenceError(f"The net's outputs are not those of {len(rows)} rows.", phase="inference")
        return outputs

    def _answer(self, outputs: list[Array], batch: int | None) -> Any:
        return run_phase("postprocess", [], labels.answer, outputs, self._service.steps, batch)

    def _rows_stand_alone(self) -> bool:
        """Whether two unlike rows get the same answers together as each alone."""
        random = np.random.default_rng(1)
        # The second as whole numbers, which a net may take for indices: every table has a second row.
        made_up = self._made_up(random.random), self._made_up(lambda shape: random.integers(0, 2, shape))
        rows = [row for row in made_up if row is not None]
        if not rows or None in self._axes.values():
            return False
        try:
            together = self._outputs(rows)
            apart = [self._outputs([row]) for row in rows]
        except (InferenceError, InputMismatch):  # a batch of one is all that it takes
            return False
        return all(_alike(both, np.concatenate(single)) for both, *single in zip(together, *apart, strict=True))

    def _made_up(self, values: Callable[[tuple[int, ...]], Any]) -> Inputs | None:
        shapes = self._service.shapes
        if not all(size for shape in shapes.values() for size in shape):
            return None
        net = self._service.net
        return Inputs(
            {spec.name: np.asarray(values(shapes[spec.name])).astype(spec.dtype) for spec in net.inputs}, None
        )


def _alike(some: Array, others: Array) -> bool:
    if some.shape != others.shape:
        return False
    scale = float(np.max(np.abs(np.nan_to_num(others)), initial=0))
    return bool(np.allclose(some, others, rtol=_RELATIVE, atol=_OF_THE_GREATEST * scale, equal_nan=True))


class Portion(NamedTuple):
    """Some rows of a batch, run at a time.

    Attributes:
        first: Which row is the first.
        rows: How many there are.
        size: As a batch of how many they are run; the rest is filled up.
    """

    first: int
    rows: int
    size: int


def portions(count: int, smallest: int = 1) -> Iterator[Portion]:
    """Cut ``count`` rows into batches whose sizes are powers of two, of ``smallest`` or more rows.

    A net is made ready for each size that it meets, with memory of its own: rows that fall out must not bring ever new ones.
    """
    first = 0
    while left := count - first:
        size = max(1 << (left - 1).bit_length(), smallest)
        if left < size * _FULL and size > smallest:
            size //= 2
        yield Portion(first, min(left, size), size)
        first += min(left, size)


class Mms1xRows:
    """Rows of an MMS 1.x handler: one call for all. One that is not written for batches says so: it raises, or gives another number of answers."""

    most = LARGEST
    # Nobody knows what a handler takes.
    sample = None

    def __init__(self, service: Mms1xService) -> None:
        """Ask ``service``."""
        self._service = service

    def prepare(self, payload: Payload) -> Payload:
        """See ``RowBatcher``. Reads the request to see that it can be; the handler gets one of its own, and may change it."""
        read_request(payload)
        return payload

    def run(self, rows: Sequence[Payload]) -> list[Any]:
        """See ``RowBatcher``."""
        return [_row_value(each, self._service.form) for each in self._service.predict_batch(rows)]


class OneByOne:
    """Rows of a service that takes one input at a time."""

    most = 1
    sample = None

    def __init__(self, service: Mms04Service | NativeServiceRunner) -> None:
        """Ask ``service``."""
        self._service = service

    def prepare(self, payload: Payload) -> Payload:
        """See ``RowBatcher``."""
        return payload

    def run(self, rows: Sequence[Payload]) -> list[Any]:
        """See ``RowBatcher``."""
        return [_row_value(self._service.predict(row), self._service.form) for row in rows]


class _OnThread:
    """A batcher whose rows are run on the model thread."""

    def __init__(self, batcher: RowBatcher, thread: ModelThread) -> None:
        self._batcher = batcher
        self._thread = thread
        self.prepare = batcher.prepare

    @property
    def most(self) -> int:
        return self._batcher.most

    @property
    def sample(self) -> Prepared | None:
        return self._batcher.sample

    def run(self, rows: Sequence[Prepared]) -> list[Any]:
        return self._thread.run(self._batcher.run, rows)


def _row_value(prediction: Prediction, form: str) -> Any:
    """What a service answered, as a row's value; where it set a status that says that it failed, an error."""
    value = _text_or_base64(prediction) if prediction.raw else prediction.value
    if form == FORM_0_4 and not prediction.raw:
        value = value["prediction"]
    if prediction.status < _FIRST_ERROR_STATUS:
        return value
    return InferenceError(
        f"The handler answered with the status {prediction.status}: {value}", phase="handle", status=prediction.status
    )


def _text_or_base64(prediction: Prediction) -> Any:
    """As a direct invoke gets it: text, the JSON value that it says to be, or ``{"content_type", "base64"}`` for other bytes."""
    value, content_type = prediction.value, prediction.content_type
    if isinstance(value, bytes):
        if not (content_type.startswith("text/") or "json" in content_type):
            encoded = b2a_base64(value, newline=False).decode("ascii")
            return {"content_type": content_type or "application/octet-stream", "base64": encoded}
        value = value.decode(errors="replace")
    return _parsed(value) if "json" in content_type.partition(";")[0] else value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class Measuring(NamedTuple):
    """How far the measuring of a size may go.

    Attributes:
        room_bytes: How much memory the net may take meanwhile; a size that would take more is not tried.
        budget_seconds: No larger size is tried after so long.
        clock: Seconds, monotonic.
        resident: What the process holds in memory now, in bytes.
    """

    room_bytes: int
    budget_seconds: float = 1.0
    clock: Callable[[], float] = time.perf_counter
    resident: Callable[[], int] = resident_bytes


def measure_size(batcher: RowBatcher, within: Measuring) -> int:
    """The batch size that a net likes: the smallest power of two that comes within 1 % of the best throughput on this machine.

    Returns:
        From 1 to ``LARGEST``; ``USUAL`` where there is nothing to measure with.
    """
    if batcher.most == 1:
        return 1
    sample = batcher.sample
    if sample is None:
        return min(USUAL, batcher.most)
    try:
        per_second = dict(_throughputs(batcher, sample, within))
    except GluonLambdaError:  # a net may fail on zeros alone
        return min(USUAL, batcher.most)
    return smallest_good(per_second)


def smallest_good(per_second: dict[int, float]) -> int:
    """The smallest size that comes near the best; sizes from small to large, with their rows a second."""
    return next(size for size, rate in per_second.items() if rate >= max(per_second.values()) * _GOOD_ENOUGH)


def _throughputs(batcher: RowBatcher, sample: Prepared, within: Measuring) -> Iterator[tuple[int, float]]:
    """Sizes and their rows a second, as long as they get better, and there are time and memory for the next one."""
    until, limit = within.clock() + within.budget_seconds, within.resident() + within.room_bytes
    size, best, worse = 1, 0.0, 0
    while True:
        before = within.resident()
        rate = _rate(batcher, [sample] * size, within)
        yield size, rate
        worse = 0 if rate * _GOOD_ENOUGH > best else worse + 1
        best, size, after = max(best, rate), size * 2, within.resident()
        # The next size takes twice the memory that this one took.
        fits = after + 2 * max(after - before, 0) <= limit
        # The usual size is tried in any case: a moment in which the machine is busy must not leave a net with batches of one.
        hopeless = worse >= _WORSE_IN_A_ROW and size > USUAL
        if size > batcher.most or hopeless or within.clock() >= until or not fits:
            return


def _rate(batcher: RowBatcher, rows: list[Prepared], within: Measuring) -> float:
    """Rows a second at best, after a run that makes the net ready for the size."""
    until = within.clock() + within.budget_seconds * _SHARE_OF_A_SIZE
    batcher.run(rows)
    times = [_timed(batcher, rows, within.clock)]
    while len(times) < _MOST_TIMINGS and within.clock() < until:
        times.append(_timed(batcher, rows, within.clock))
    return len(rows) / min(times)


def _timed(batcher: RowBatcher, rows: list[Prepared], clock: Callable[[], float]) -> float:
    began = clock()
    batcher.run(rows)
    return max(clock() - began, 1e-9)
