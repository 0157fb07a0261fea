"""The measured process: each event answered by the handler and, in the same round, its work done by a rival.

``python -m benchmarks.warm_pairs '{"predictor": "instant", …}' RESULT`` in Lambda's environment; started by
``benchmarks.warm_overhead``, which reads its log from a pipe. What *bare* is, is ``decode`` below, and with the real net
one forward behind it.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from base64 import b64decode
from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.bare_pixels import Box, bare_batch, middle
from benchmarks.rivals import image_steps
from benchmarks.workload import http_api_event
from gluon_lambda.bootstrap import create_handler
from gluon_lambda.invocation import Handler
from gluon_lambda.services.builtin import BuiltinService
from gluon_lambda.services.models import resident_bytes
from gluon_lambda.types import Predictor, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Batch = NDArray[np.float32]

INSTANT = "instant"
HANDLER, BARE, PLAIN = "lambda_handler", "bare", "plain"
# Not counted: what happens once, at the first calls.
UNCOUNTED = 20
SEED = 20


class Context:
    """Lambda's context object, as far as the handler asks it."""

    aws_request_id = "8f507cfc-0000-4000-8000-000000000001"
    _deadline_ms = int(time.time() * 1000) + 3_600_000

    def get_remaining_time_in_millis(self) -> int:
        """What is left until the deadline, from the clock as awslambdaric reads it."""
        return max(self._deadline_ms - int(time.time() * 1000), 0)


class InstantPredictor:
    """A net that has its answer before it is asked (``types.Predictor``)."""

    outputs = (TensorSpec("output0", (1, 1000)),)

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        """Take the inputs' specs as declared."""
        self.inputs = tuple(inputs)
        self.asked: Mapping[str, Batch] = {}
        self._answer = [np.random.default_rng(SEED).normal(0, 3, (1, 1000)).astype(np.float32)]

    def predict(self, arrays: Mapping[str, Batch]) -> list[Batch]:
        """The same logits each time."""
        self.asked = arrays
        return self._answer

    def close(self) -> None:
        """Nothing to give back."""


def make_instant(*, inputs: Sequence[TensorSpec], **_net: Any) -> InstantPredictor:
    """A ``types.PredictorFactory`` without an engine."""
    return InstantPredictor(inputs)


def decode(body: str, box: Box) -> Batch:
    """The bare work: base64, decode, resize and crop in one, normalise; float32 of shape (1, 3, 224, 224).

    Args:
        body: The event's body.
        box: See ``bare_pixels.middle``.
    """
    return bare_batch(a2b_base64(body), box)


class Timed(NamedTuple):
    """What was measured of one pair.

    Attributes:
        milliseconds: By contender, one value a round.
        grown_bytes: How much more memory the process held after the last round than before the first counted one.
    """

    milliseconds: dict[str, list[float]]
    grown_bytes: int


def in_rounds(contenders: Mapping[str, Callable[[], float]], rounds: int) -> Timed:
    """Have each of them make its call once a round, in an order drawn anew."""
    chance = random.Random(SEED)
    order = list(contenders)
    taken: dict[str, list[float]] = {name: [] for name in order}
    before = 0
    for turn in range(UNCOUNTED + rounds):
        chance.shuffle(order)
        if turn == UNCOUNTED:
            before = resident_bytes()
        for name in order:
            taken[name].append(contenders[name]())
    grown = resident_bytes() - before
    return Timed({name: values[UNCOUNTED:] for name, values in taken.items()}, grown)


class Side(NamedTuple):
    """The handler and its predictor.

    Attributes:
        handler: What Lambda would call.
        predictor: The one that the handler asks.
    """

    handler: Callable[[Any, Any], Any]
    predictor: Predictor


def start(kind: str) -> Side:
    """INIT as Lambda runs it, with this kind of predictor."""
    handler = create_handler(os.environ, make_instant if kind == INSTANT else None)
    assert isinstance(handler, Handler), "INIT took longer than Lambda gives it"
    (model,) = handler.models.loaded()
    assert isinstance(model.service, BuiltinService)
    return Side(handler, model.service.net)


def pairs_of(side: Side, jpeg: bytes) -> dict[str, dict[str, Callable[[], float]]]:
    """What is compared with one picture, the handler with each rival: every call returns its own milliseconds.

    A pair at a time, since whoever runs leaves the processor's caches behind as it needs them, and a third contender's would count against
    the other two.

    Raises:
        SystemExit: The bare work does not make the very array that the handler gives to its net, or the handler refuses.
    """
    event, context = json.loads(http_api_event(jpeg)), Context()
    box = middle(*Image.open(BytesIO(jpeg)).size)
    predict = side.predictor.predict
    check(side, event, decode(event["body"], box))
    rivals: dict[str, Callable[[], object]] = {BARE: lambda: predict({"data": decode(event["body"], box)})}
    if isinstance(side.predictor, InstantPredictor):
        rivals[PLAIN] = lambda: image_steps.to_batch(b64decode(event["body"]))
    return {
        name: {HANDLER: partial(stopwatch, lambda: side.handler(event, context)), name: partial(stopwatch, rival)}
        for name, rival in rivals.items()
    }


def stopwatch(call: Callable[[], object]) -> float:
    """How long a call takes, in milliseconds."""
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def check(side: Side, event: Any, batch: Batch) -> None:
    """See ``contenders_of``."""
    answer = side.handler(event, Context())
    if answer["statusCode"] != 200:
        raise SystemExit(f"the handler answers {answer['statusCode']}: {answer['body']}")
    if isinstance(side.predictor, InstantPredictor) and not np.array_equal(side.predictor.asked["data"], batch):
        raise SystemExit("the bare work makes another array than the handler")


def main(asked: Mapping[str, Any], result: str) -> None:
    """Measure what is asked, and write the series."""
    side = start(asked["predictor"])
    series = {}
    for picture, path in asked["pictures"].items():
        with open(path, "rb") as file:
            pairs = pairs_of(side, file.read())
        series[picture] = {name: in_rounds(pair, asked["rounds"])._asdict() for name, pair in pairs.items()}
    measured = sum(map(len, series.values()))
    invocations = len(series) + measured * (asked["rounds"] + UNCOUNTED)
    with open(result, "w", encoding="utf-8") as file:
        json.dump({"invocations": invocations, "series": series}, file)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2])
