"""An exported net on its way into an archive: its files, its signature, and the proof that it computes the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from archives.manifests import as_json
from archives.pack import PackError
from gluon_lambda.errors import GluonLambdaError
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.types import TensorSpec

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = Mapping[str, Array]

# MXNet fuses operators when it loads a net, which changes the last bits; what is beyond this is another net.
RELATIVE = 1e-3
ABSOLUTE = 1e-4


class ExportedNet(NamedTuple):
    """A net as MXNet exports it.

    Attributes:
        symbol: The ``*-symbol.json`` file's bytes.
        parameters: The ``*.params`` file's bytes.
        inputs: What it takes; 0 for any size.
        outputs: What it gives; 0 for any size.
    """

    symbol: bytes
    parameters: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def write_net(folder: Path, net: ExportedNet, model_name: str) -> None:
    """Write the net's files into ``folder``, and a ``signature.json`` for tensors as JSON where there is none yet."""
    (folder / f"{model_name}-symbol.json").write_bytes(net.symbol)
    (folder / f"{model_name}-0000.params").write_bytes(net.parameters)
    signature = folder / "signature.json"
    if not signature.exists():
        signature.write_bytes(as_json(tensor_signature(net)))


def tensor_signature(net: ExportedNet) -> dict[str, Any]:
    """The signature with which the built-in service takes and gives plain tensors."""
    return {
        "input_type": "application/json",
        "output_type": "application/json",
        "inputs": [declaration(spec) for spec in net.inputs],
        "outputs": [declaration(spec) for spec in net.outputs],
    }


def declaration(spec: TensorSpec) -> dict[str, Any]:
    """An input or output as ``signature.json`` has it."""
    return {"data_name": spec.name, "data_shape": list(spec.shape), "data_type": spec.dtype}


def made_up_inputs(inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """An array for each input, the same each time: noise for floats, small counting numbers otherwise; 0 becomes 2."""
    noise = np.random.default_rng(20)
    arrays = {}
    for spec in inputs:
        shape = tuple(size or 2 for size in spec.shape)
        is_float = np.issubdtype(np.dtype(spec.dtype), np.floating)
        values = noise.standard_normal(shape) if is_float else noise.integers(0, 2, shape)
        arrays[spec.name] = np.asarray(values, dtype=spec.dtype)
    return arrays


def require_agreement(net: ExportedNet, reference: Callable[[Arrays], Sequence[Array]], *, what: str) -> None:
    """Run the net as it will be served, and refuse it unless it answers as ``reference`` does.

    Args:
        net: The net.
        reference: Computes the outputs from the same inputs another way.
        what: What it was made from, for errors.

    Raises:
        PackError: The net does not run, or its answers differ; says by how much.
    """
    arrays = made_up_inputs(net.inputs)
    expected = reference(arrays)
    try:
        predictor = Engine.open()(name=what, symbol=net.symbol, params=net.parameters, inputs=net.inputs)
        outputs = predictor.predict(arrays)
        predictor.close()
    except GluonLambdaError as error:
        raise PackError(f"{what}: the net does not run in MXNet: {error}") from error
    if len(outputs) != len(expected):
        raise PackError(f"{what}: the net gives {len(outputs)} outputs instead of {len(expected)}. Nothing was packed.")
    for number, (ours, theirs) in enumerate(zip(outputs, expected, strict=True)):
        require_close(ours, np.asarray(theirs), what=f"{what}: output {number}")


def require_close(ours: Any, theirs: Any, *, what: str) -> None:
    """Refuse an output that differs from what was expected.

    Raises:
        PackError: Names shapes, or the largest difference.
    """
    if ours.shape != theirs.shape:
        raise PackError(f"{what} has the shape {ours.shape} instead of {theirs.shape}. Nothing was packed.")
    if not np.allclose(ours, theirs, rtol=RELATIVE, atol=ABSOLUTE):
        difference = float(np.max(np.abs(np.asarray(ours, "float64") - np.asarray(theirs, "float64"))))
        raise PackError(f"{what} differs from the original's by up to {difference:.3g}. Nothing was packed.")
