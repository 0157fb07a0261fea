"""Nets of every kind that a user may bring, exported by the real MXNet, each with arrays to ask it with and what the stock engine answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from gluon_lambda.types import TensorSpec

Arrays = Mapping[str, Any]
# An NDArray list of nothing, as MXNet writes it: magic, reserved, no arrays, no names.
NO_PARAMETERS = (0x112).to_bytes(8, "little") + bytes(24)

# Of the largest value of an output: its zeros have no relative error, and who reads scores compares them with one another.
RELATIVE = 1e-5


class Sample(NamedTuple):
    """A net and what to ask it.

    Attributes:
        symbol: The ``*-symbol.json`` file's bytes.
        params: The ``*.params`` file's bytes.
        inputs: As a signature would declare them.
        arrays: One for each input.
        others: Names of arguments that are neither parameters nor declared (training labels), which SymbolBlock wants as inputs all the same.
        numpy: Whether it was exported under ``npx.set_np()``.
    """

    symbol: bytes
    params: bytes
    inputs: tuple[TensorSpec, ...]
    arrays: Arrays
    others: Arrays = {}  # noqa: RUF012 - never written
    numpy: bool = False


def noise(*shape: int, seed: int = 1, dtype: str = "float32") -> Any:
    """Normal noise, the same each time."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def of_symbol(symbol: Any, parameters: Mapping[str, Any] | None = None) -> tuple[bytes, bytes]:
    """The two files of a symbol; parameters by name, with ``arg:`` or ``aux:``."""
    import mxnet as mx

    if not parameters:
        return symbol.tojson().encode(), NO_PARAMETERS
    with TemporaryDirectory() as folder:
        path = f"{folder}/net.params"
        mx.nd.save(
            path, {name: mx.nd.array(value, dtype=np.asarray(value).dtype) for name, value in parameters.items()}
        )
        return symbol.tojson().encode(), Path(path).read_bytes()


def of_block(block: Any, *arrays: Any) -> tuple[bytes, bytes]:
    """The two files of a Gluon block, initialised here with seeded noise, after a forward pass on the arrays."""
    import mxnet as mx

    mx.random.seed(3)
    block.initialize(mx.init.Xavier())
    array = mx.np.array if mx.util.is_np_array() else mx.nd.array
    given = [array(each, dtype=np.asarray(each).dtype) for each in arrays]
    block(*given)
    spread_parameters(block)
    return export(block, *given)


def spread_parameters(block: Any) -> None:
    """Seeded values for a block's parameters: weights that keep the signal's size, and norms and biases unlike those of a new net."""
    import mxnet as mx

    noise_of = np.random.default_rng(5)
    array = mx.np.array if mx.util.is_np_array() else mx.nd.array
    for name, parameter in block.collect_params().items():
        shape = parameter.shape
        if name.endswith(("gamma", "running_var")):
            values = noise_of.uniform(0.5, 1.5, shape)
        elif name.endswith(("beta", "bias", "running_mean")):
            values = noise_of.uniform(-0.5, 0.5, shape)
        else:
            values = noise_of.standard_normal(shape, dtype="float32") * np.sqrt(2 / max(1, np.prod(shape[1:])))
        parameter.set_data(array(values.astype(parameter.dtype), dtype=parameter.dtype))


def export(block: Any, *arrays: Any) -> tuple[bytes, bytes]:
    """Hybridize, run once, and export."""
    import mxnet as mx

    block.hybridize()
    block(*arrays)
    mx.nd.waitall()
    with TemporaryDirectory() as folder:
        block.export(f"{folder}/net", 0)
        return Path(folder, "net-symbol.json").read_bytes(), Path(folder, "net-0000.params").read_bytes()


def stock_block(sample: Sample) -> Callable[[Arrays], list[Any]]:
    """The net as the stock package loads it."""
    import mxnet as mx

    names = [*(spec.name for spec in sample.inputs), *sample.others]
    with TemporaryDirectory() as folder, _semantics(sample):
        Path(folder, "symbol").write_bytes(sample.symbol)
        Path(folder, "params").write_bytes(sample.params)
        has_parameters = sample.params != NO_PARAMETERS
        block = mx.gluon.SymbolBlock.imports(f"{folder}/symbol", names, f"{folder}/params" if has_parameters else None)
        if not has_parameters:
            block.initialize()

    def answer(arrays: Arrays) -> list[Any]:
        with _semantics(sample):
            array = mx.np.array if sample.numpy else mx.nd.array
            given = {**arrays, **sample.others}
            output = block(*(array(given[name], dtype=given[name].dtype) for name in names))
            return [each.asnumpy() for each in _flat(output)]

    return answer


def require_same(ours: list[Any], stocks: list[Any]) -> None:
    """Equal numbers of outputs, shapes and types, and values within the bound."""
    described = [[(each.shape, each.dtype.name) for each in outputs] for outputs in (ours, stocks)]
    assert described[0] == described[1]
    for one, other in zip(ours, stocks, strict=True):
        one, other = one.astype("float64"), other.astype("float64")
        np.testing.assert_allclose(one, other, rtol=0, atol=RELATIVE * float(np.abs(other).max(initial=0)))


@contextmanager
def _semantics(sample: Sample) -> Iterator[None]:
    with numpy_semantics() if sample.numpy else nullcontext():
        yield


@contextmanager
def numpy_semantics() -> Iterator[None]:
    """Run the body under ``npx.set_np()``."""
    import mxnet as mx

    mx.npx.set_np()
    try:
        yield
    finally:
        mx.npx.reset_np()


def _flat(output: Any) -> list[Any]:
    return [each for item in output for each in _flat(item)] if isinstance(output, (list, tuple)) else [output]
