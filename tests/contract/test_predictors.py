"""One suite over every predictor: the real one on libmxnet's C API, beside the ``mxnet`` package and without it, and the fake
that stands for it in other tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from gluon_lambda.errors import InputMismatch
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.runtime.fake import FakePredictor
from gluon_lambda.types import Predictor, PredictorFactory, TensorSpec
from tests.conftest import ExportedNet
from tests.lone_engine import LoneEngine

SPEC = TensorSpec("data", (0, 1, 8, 8))


@pytest.fixture(scope="module")
def alone() -> Iterator[LoneEngine]:
    engine = LoneEngine()
    yield engine
    engine.close()


@pytest.fixture(params=["native", "alone", "fake"])
def predictor(
    request: pytest.FixtureRequest,
    engine: Engine,
    alone: LoneEngine,
    small_net: ExportedNet,
    small_block: Any,
    mx: Any,
) -> Predictor:
    if request.param != "fake":
        make: PredictorFactory = engine if request.param == "native" else alone
        return make(name="small.model", symbol=small_net.symbol, params=small_net.params, inputs=[SPEC])

    def compute(arrays: Mapping[str, Any]) -> list[Any]:
        return [small_block(mx.nd.array(arrays["data"])).asnumpy()]

    return FakePredictor([SPEC], compute)


def images(count: int, dtype: str = "float32") -> Any:
    return np.random.default_rng(3).random((count, 1, 8, 8)).astype(dtype)


def test_it_answers_as_the_block_does(predictor: Predictor, small_block: Any, mx: Any) -> None:
    expected = small_block(mx.nd.array(images(3))).asnumpy()
    answer = predictor.predict({"data": images(3)})
    assert len(answer) == 1
    np.testing.assert_allclose(answer[0], expected, rtol=1e-5, atol=1e-6)


def test_it_tells_its_inputs(predictor: Predictor) -> None:
    assert predictor.inputs == (SPEC,)


def test_what_it_tells_of_its_outputs_is_what_it_gives(predictor: Predictor) -> None:
    for spec, output in zip(predictor.outputs, predictor.predict({"data": images(1)}), strict=bool(predictor.outputs)):
        assert (spec.shape, spec.dtype) == (output.shape, output.dtype.name)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_batch_size_goes(predictor: Predictor, count: int) -> None:
    assert predictor.predict({"data": images(count)})[0].shape == (count, 4)


def test_each_row_of_a_batch_gets_what_it_gets_alone(predictor: Predictor) -> None:
    together = predictor.predict({"data": images(4)})[0]
    alone = np.concatenate([predictor.predict({"data": images(4)[row : row + 1]})[0] for row in range(4)])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_answers_are_copies_that_later_predictions_leave_alone(predictor: Predictor) -> None:
    first = predictor.predict({"data": images(1)})[0]
    kept = first.copy()
    predictor.predict({"data": images(1) * 5})
    np.testing.assert_array_equal(first, kept)


def test_other_float_types_and_integers_are_converted(predictor: Predictor) -> None:
    expected = predictor.predict({"data": np.ones((1, 1, 8, 8), "float32")})[0]
    for dtype in ("float64", "int64", "uint8"):
        np.testing.assert_allclose(predictor.predict({"data": np.ones((1, 1, 8, 8), dtype)})[0], expected, rtol=1e-6)


def test_arrays_that_are_not_contiguous_are_read_right(predictor: Predictor) -> None:
    strided = images(2).transpose(0, 1, 3, 2)
    np.testing.assert_allclose(
        predictor.predict({"data": strided})[0], predictor.predict({"data": strided.copy()})[0], rtol=1e-6
    )


BAD: dict[str, Callable[[], Mapping[str, Any]]] = {
    "nothing": dict,
    "another name": lambda: {"image": images(1)},
    "one too many": lambda: {"data": images(1), "more": images(1)},
    "no batch axis": lambda: {"data": images(1)[0]},
    "another size": lambda: {"data": np.zeros((1, 1, 8, 9), "float32")},
    "no rows": lambda: {"data": images(0)},
    "complex numbers": lambda: {"data": images(1).astype("complex64")},
    "text": lambda: {"data": np.full((1, 1, 8, 8), "a")},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_inputs_that_the_net_does_not_take_are_refused(
    predictor: Predictor, bad: Callable[[], Mapping[str, Any]]
) -> None:
    with pytest.raises(InputMismatch):
        predictor.predict(bad())
    assert predictor.predict({"data": images(1)})[0].shape == (1, 4), "it still answers afterwards"


@pytest.mark.parametrize("nets", [1, 2])
def test_two_threads_at_once_get_what_each_gets_alone(alone: LoneEngine, small_net: ExportedNet, nets: int) -> None:
    """On one net, and on two; with batches of other sizes, so that they want other memory."""
    loaded = [
        alone(name="small.model", symbol=small_net.symbol, params=small_net.params, inputs=[SPEC]) for _ in range(nets)
    ]
    given = [{"data": images(2)}, {"data": images(5) * 3}]
    expected = [loaded[0].predict(arrays)[0] for arrays in given]
    numbers = [loaded[0].number, loaded[-1].number]
    for answers, right in zip(alone.ask("from_threads", numbers, given, 200), expected, strict=True):
        for (answer,) in answers:
            np.testing.assert_array_equal(answer, right)
