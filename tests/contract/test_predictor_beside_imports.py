"""Nets whose first run shares its CPUs with INIT's imports: what OpenBLAS multiplies must not wait for threads that OpenMP does not give it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gluon_lambda.runtime.symbol_checks import does_without_openblas, parse_symbol
from gluon_lambda.types import TensorSpec
from tests.conftest import ExportedNet
from tests.lone_engine import LoneEngine
from tests.net_samples import noise, of_symbol

SIZE = 1024


@pytest.fixture(scope="module")
def beside_imports() -> Iterator[LoneEngine]:
    engine = LoneEngine(seconds=30, environ={"OMP_NUM_THREADS": "2", "SHARES_CPUS": "1"})
    yield engine
    engine.close()


def dense(mx: Any, data: Any, weights: Any, **attributes: Any) -> Any:
    return mx.sym.FullyConnected(data, weights, no_bias=True, num_hidden=SIZE, **attributes)


# By what is multiplied: the net, its input's shape and the type of its numbers. Each product is large enough to be shared among threads.
NETS: dict[str, tuple[Callable[[Any, Any, Any], Any], tuple[int, ...], str]] = {
    "dot": (lambda mx, data, weights: mx.sym.dot(data, weights, transpose_b=True), (0, SIZE), "float32"),
    "linalg": (lambda mx, data, weights: mx.sym.linalg_gemm2(data, weights, transpose_b=True), (4, SIZE), "float32"),
    "dense, float64": (dense, (4, SIZE), "float64"),
    "dense, five dimensions": (lambda *net: dense(*net, flatten=False), (2, 2, 2, 2, SIZE), "float32"),
}


@pytest.mark.parametrize("name", NETS)
def test_a_product_of_openblas_ends(name: str, beside_imports: LoneEngine, mx: Any) -> None:
    make, shape, dtype = NETS[name]
    weights = noise(SIZE, SIZE, dtype=dtype)
    net = make(mx, mx.sym.var("data", dtype=dtype), mx.sym.var("weights", dtype=dtype))
    symbol, params = of_symbol(net, {"arg:weights": weights})
    inputs = (TensorSpec("data", shape, dtype),)
    predictor = beside_imports(name=name, symbol=symbol, params=params, inputs=inputs)
    data = noise(*(size or 4 for size in shape), dtype=dtype)
    np.testing.assert_allclose(predictor.predict({"data": data})[0], data @ weights.T, rtol=1e-3, atol=1e-3)
    predictor.close()


IMAGE = TensorSpec("data", (0, 1, 8, 8))


def test_a_convolutional_net_is_known_to_do_without_openblas(small_net: ExportedNet) -> None:
    assert does_without_openblas(parse_symbol(small_net.symbol, where="net"), [IMAGE], {"float32"})


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        (IMAGE, {"float32", "float64"}),
        (IMAGE._replace(dtype="float64"), {"float32"}),
        (IMAGE._replace(shape=(0, 1, 8, 8, 8)), {"float32"}),
    ],
)
def test_with_other_types_or_more_dimensions_it_is_not(
    spec: TensorSpec, types: set[str], small_net: ExportedNet
) -> None:
    assert not does_without_openblas(parse_symbol(small_net.symbol, where="net"), [spec], types)
