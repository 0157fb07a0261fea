"""Computes with MXNet's operators that call BLAS and LAPACK, and holds them against NumPy. Runs on arm64.

    python operators.py

Prints a JSON object: for each operator whether what it answered is right.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gluon_lambda.runtime import stock_mxnet

stock_mxnet.install()
import mxnet as mx  # noqa: E402

Array = NDArray[Any]
RANDOM = np.random.default_rng(3)


def close(found: Any, expected: Any) -> bool:
    return bool(np.allclose(found.asnumpy() if hasattr(found, "asnumpy") else found, expected, rtol=1e-4, atol=1e-4))


def definite(n: int) -> Array:
    a = RANDOM.standard_normal((n, n))
    return np.asarray(a @ a.T + n * np.eye(n))


def triangular(kind: str) -> tuple[Any, Array]:
    lower, b = np.linalg.cholesky(definite(5)), RANDOM.standard_normal((5, 4))
    found = getattr(mx.nd.linalg, kind)(mx.nd.array(lower, dtype="float64"), mx.nd.array(b, dtype="float64"), alpha=2.0)
    return found, 2 * (lower @ b if kind == "trmm" else np.linalg.solve(lower, b))


def of_definite(kind: str, expected: Callable[[Array], Any], dtype: str) -> tuple[Any, Any]:
    a = np.stack([definite(6), definite(6)])
    return getattr(mx.nd.linalg, kind)(mx.nd.array(a, dtype=dtype)), expected(a)


def gelqf() -> tuple[Any, Array]:
    a = RANDOM.standard_normal((3, 5))
    q, lower = mx.nd.linalg.gelqf(mx.nd.array(a, dtype="float64"))
    return mx.nd.dot(lower, q), a


def syevd() -> tuple[Any, Array]:
    a = definite(6)
    u, values = mx.nd.linalg.syevd(mx.nd.array(a, dtype="float64"))
    return (u.asnumpy().T * values.asnumpy()) @ u.asnumpy(), a


def gemm() -> tuple[Any, Array]:
    a, b, c = (RANDOM.standard_normal(shape).astype("float32") for shape in ((2, 7, 5), (2, 7, 6), (2, 5, 6)))
    found = mx.nd.linalg.gemm(*map(mx.nd.array, (a, b, c)), transpose_a=True, alpha=2.0, beta=0.5)
    return found, 2 * a.transpose(0, 2, 1) @ b + 0.5 * c


def syrk() -> tuple[Any, Array]:
    a = RANDOM.standard_normal((4, 6))
    return mx.nd.linalg.syrk(mx.nd.array(a, dtype="float64"), transpose=True), a.T @ a


def dot(dtype: str) -> tuple[Any, Array]:
    a, b = (RANDOM.standard_normal(shape).astype(dtype) for shape in ((70, 130), (130, 90)))
    return mx.nd.dot(mx.nd.array(a, dtype=dtype), mx.nd.array(b, dtype=dtype)), a @ b


def dense() -> tuple[Any, Array]:
    x, weight, bias = (RANDOM.standard_normal(shape).astype("float32") for shape in ((3, 40), (20, 40), (20,)))
    return mx.nd.FullyConnected(*map(mx.nd.array, (x, weight, bias)), num_hidden=20), x @ weight.T + bias


def convolution() -> tuple[Any, Array]:
    x, weight = (RANDOM.standard_normal(shape).astype("float32") for shape in ((1, 3, 6, 6), (4, 3, 3, 3)))
    found = mx.nd.Convolution(mx.nd.array(x), mx.nd.array(weight), kernel=(3, 3), num_filter=4, no_bias=True)
    shifted = [x[0, :, i : i + 4, j : j + 4] for i in range(3) for j in range(3)]
    return found, np.einsum("schw,ocs->ohw", np.stack(shifted), weight.reshape(4, 3, 9))[None]


def of_numpy(name: str, *arrays: Array) -> tuple[Any, Any]:
    """MXNet's function of NumPy's name, and NumPy's."""
    found = getattr(mx.np.linalg, name)(*(mx.np.array(each, dtype="float64") for each in arrays))
    return found, getattr(np.linalg, name)(*arrays)


def svd() -> tuple[Any, Array]:
    a = RANDOM.standard_normal((4, 6))
    u, values, v = mx.np.linalg.svd(mx.np.array(a, dtype="float64"))
    return (u.asnumpy() * values.asnumpy()) @ v.asnumpy(), a


def eigvals() -> tuple[Any, Array]:
    a = definite(5)
    return np.sort(mx.np.linalg.eigvals(mx.np.array(a, dtype="float64")).asnumpy()), np.linalg.eigvalsh(a)


SQUARE, RIGHT_HAND = definite(5) + RANDOM.standard_normal((5, 5)), RANDOM.standard_normal((5, 2))
OPERATORS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "nd.linalg.potrf": lambda: of_definite("potrf", np.linalg.cholesky, "float64"),
    "nd.linalg.potrf, float32": lambda: of_definite("potrf", np.linalg.cholesky, "float32"),
    "nd.linalg.inverse": lambda: of_definite("inverse", np.linalg.inv, "float64"),
    "nd.linalg.det": lambda: of_definite("det", np.linalg.det, "float64"),
    "nd.linalg.potri": lambda: of_definite(
        "potri", lambda a: np.linalg.inv(np.tril(a) @ np.tril(a).transpose(0, 2, 1)), "float64"
    ),
    "nd.linalg.gelqf": gelqf,
    "nd.linalg.syevd": syevd,
    "nd.linalg.trmm": lambda: triangular("trmm"),
    "nd.linalg.trsm": lambda: triangular("trsm"),
    "nd.linalg.gemm": gemm,
    "nd.linalg.syrk": syrk,
    "nd.dot, float32": lambda: dot("float32"),
    "nd.dot, float64": lambda: dot("float64"),
    "nd.FullyConnected": dense,
    "nd.Convolution": convolution,
    "np.linalg.svd": svd,
    "np.linalg.inv": lambda: of_numpy("inv", SQUARE),
    "np.linalg.solve": lambda: of_numpy("solve", SQUARE, RIGHT_HAND),
    "np.linalg.cholesky": lambda: of_numpy("cholesky", definite(5)),
    "np.linalg.eigvalsh": lambda: of_numpy("eigvalsh", definite(5)),
    "np.linalg.eigvals": eigvals,
    "np.linalg.det": lambda: of_numpy("det", SQUARE),
}


if __name__ == "__main__":
    print(json.dumps({name: close(*operator()) for name, operator in OPERATORS.items()}))
