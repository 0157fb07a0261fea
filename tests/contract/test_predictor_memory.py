"""What a predictor holds on to: nothing, over thousands of predictions, of batch sizes, of failures, and over hundreds of loads.

Measured in a process of its own, so that nothing but the predictor lives there, and by a line through many measurements: what
grows with each prediction shows in its slope, however much the allocator keeps back once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gluon_lambda.types import TensorSpec
from tests.lone_engine import LoneEngine
from tests.net_samples import Sample, noise, of_block, of_symbol

SIDE = 32
# The small net's one output array; one that stayed behind at each prediction would be seen as a slope of this size.
OUTPUT_BYTES = 8 * SIDE * SIDE * 4
INPUT = TensorSpec("data", (0, 1, SIDE, SIDE))


@pytest.fixture
def alone() -> Iterator[LoneEngine]:
    engine = LoneEngine(seconds=500)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def small(mx: Any) -> Sample:
    """A net whose output is large beside everything else that a prediction makes."""
    block = mx.gluon.nn.HybridSequential()
    block.add(mx.gluon.nn.Conv2D(8, 3, padding=1), mx.gluon.nn.BatchNorm(), mx.gluon.nn.Activation("relu"))
    picture = noise(1, 1, SIDE, SIDE)
    return Sample(*of_block(block, picture), (INPUT,), {"data": picture})


def growth(engine: LoneEngine, work: str, sample: Sample, times: int) -> float:
    """Bytes by which the process grows each time that it does this work, by the line through what it measured."""
    held = engine.ask("repeat", work, sample.symbol, sample.params, list(sample.inputs), dict(sample.arrays), times)
    # The first quarter is for pools to fill.
    settled = held[len(held) // 4 :]
    at = np.linspace(0, times, len(held))[len(held) // 4 :]
    return float(np.polyfit(at, settled, 1)[0])


@pytest.mark.slow
@pytest.mark.parametrize("work", ["predict", "predict_other_batches", "fail_in_the_engine", "fail_before_it"])
def test_ten_thousand_predictions_leave_nothing_behind(work: str, alone: LoneEngine, small: Sample, mx: Any) -> None:
    sample = failing(mx) if work == "fail_in_the_engine" else small
    assert growth(alone, work, sample, 10_000) < 50, "bytes a prediction"


@pytest.mark.slow
@pytest.mark.parametrize("work", ["load_and_close", "fail_to_load"])
def test_loading_and_closing_leaves_nothing_behind(work: str, alone: LoneEngine, small: Sample) -> None:
    parameters = len(small.params)
    assert growth(alone, work, small, 400) < parameters


@pytest.mark.slow
def test_an_array_that_stays_behind_at_each_prediction_is_seen(alone: LoneEngine, small: Sample) -> None:
    """That the measurement can fail: the same, with the output arrays not freed."""
    alone.ask("keep_outputs")
    assert growth(alone, "predict", small, 2000) == pytest.approx(OUTPUT_BYTES, rel=0.2)


def failing(mx: Any) -> Sample:
    """A net that multiplies a matrix with itself, and is asked with one that is not square."""
    data = mx.sym.var("data")
    return Sample(*of_symbol(mx.sym.dot(data, data)), (TensorSpec("data", (0, 0)),), {"data": noise(30, 40)})


def test_a_batch_size_is_made_ready_without_the_parameters_being_read_again(alone: LoneEngine, small: Sample) -> None:
    net = (small.symbol, small.params, list(small.inputs), dict(small.arrays))
    loading, of_one, *of_others = alone.ask("calls_of_batches", *net, [1, 2, 5, 9])
    assert loading["MXNDArrayLoadFromBuffer"] == 1
    for of_this_batch in of_others:
        assert "MXNDArrayLoadFromBuffer" not in of_this_batch
        assert of_this_batch["MXNDArrayCreateEx"] == 1, "an array for the input"
        assert of_this_batch["MXNDArraySyncCopyFromCPU"] == 2, "zeros for it, then the input itself; no parameter"
    assert "MXNDArrayCreateEx" not in of_one, "the warm-up has made it"
    assert of_one["MXNDArraySyncCopyFromCPU"] == 1
