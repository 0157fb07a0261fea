"""Turn an ``.onnx`` file into an exported net, at pack time only: nothing that serves needs ``onnx``.

MXNet's own importer does the conversion (``mxnet.contrib.onnx``). It looks for every initializer among the graph's
inputs, as ONNX IR version 3 listed them; newer files do not, so they are listed here first. What it converts wrongly it
converts silently: the result counts only once it answers as ONNX's reference evaluator does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from archives.nets import Arrays, ExportedNet, require_agreement
from archives.pack import PackError
from gluon_lambda.runtime import stock_mxnet
from gluon_lambda.types import TensorSpec


def import_onnx(path: Path) -> ExportedNet:
    """Convert the file, and prove by one prediction that nothing was lost.

    Raises:
        PackError: The file is not ONNX, uses operators or types that MXNet does not have (named), or the converted net
            answers otherwise than ONNX's reference evaluator.
    """
    model = load_model(path)
    refuse_unsupported(model, path)
    inputs = tuple(tensor_spec(value, path) for value in data_inputs(model.graph))
    outputs = tuple(tensor_spec(value, path) for value in model.graph.output)
    symbol, parameters = convert(model, path)
    net = ExportedNet(symbol, parameters, inputs, outputs)
    require_agreement(net, lambda arrays: evaluate(model, arrays), what=str(path))
    return net


def load_model(path: Path) -> Any:
    """Read and check the file."""
    try:
        import onnx
    except ImportError as error:
        raise PackError(f"{path}: reading ONNX needs the package onnx: pip install -r requirements-dev.txt") from error
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError) as error:
        raise PackError(f"{path}: no valid ONNX file: {error}") from error
    return model


def refuse_unsupported(model: Any, path: Path) -> None:
    """Name every operator that MXNet's importer does not know.

    Raises:
        PackError: There are some.
    """
    known = converters()
    unknown = sorted({node.op_type for node in model.graph.node} - set(known))
    if unknown:
        raise PackError(
            f"{path}: MXNet has no conversion for {', '.join(unknown)}. Export the model without "
            f"{'this operator' if len(unknown) == 1 else 'these operators'}, or with an older opset."
        )


def converters() -> dict[str, Any]:
    """MXNet's conversions by ONNX operator."""
    stock_mxnet.install()
    from mxnet.contrib.onnx.onnx2mx._import_helper import _convert_map

    known: dict[str, Any] = _convert_map
    return known


def data_inputs(graph: Any) -> Iterable[Any]:
    """The graph's inputs that are no parameters."""
    parameters = {initializer.name for initializer in graph.initializer}
    return [value for value in graph.input if value.name not in parameters]


def tensor_spec(value: Any, path: Path) -> TensorSpec:
    """An input or output of the graph; a dimension without a number takes any size."""
    import onnx

    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise PackError(f"{path}: {value.name!r} is no tensor. Only tensors go in and out of a net.")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = tuple(size.dim_value for size in tensor.shape.dim)
    return TensorSpec(value.name, shape, np.dtype(dtype).name)


def convert(model: Any, path: Path) -> tuple[bytes, bytes]:
    """Symbol and parameters, as MXNet's export would write them."""
    import mxnet
    from mxnet.contrib.onnx.onnx2mx.import_onnx import GraphProto

    opset = max(entry.version for entry in model.opset_import)
    try:
        symbol, arguments, states = GraphProto().from_onnx(with_listed_initializers(model.graph), opset)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise PackError(
            f"{path}: MXNet's importer failed on this model (opset {opset}): {reason}. Export it with an older opset."
        ) from error
    wanted = {*symbol.list_arguments(), *symbol.list_auxiliary_states()}
    arrays = {f"arg:{name}": array for name, array in arguments.items() if name in wanted}
    arrays |= {f"aux:{name}": array for name, array in states.items() if name in wanted}
    with tempfile.TemporaryDirectory() as folder:
        mxnet.nd.save(f"{folder}/net.params", arrays)
        return symbol.tojson().encode(), Path(folder, "net.params").read_bytes()


def with_listed_initializers(graph: Any) -> Any:
    """The graph with every initializer listed among its inputs (measured: ``KeyError`` otherwise)."""
    import onnx

    listed = type(graph)()
    listed.CopyFrom(graph)
    names = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if tensor.name not in names:
            listed.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return listed


def evaluate(model: Any, arrays: Arrays) -> list[Any]:
    """What ONNX's reference evaluator answers."""
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(model, new_ops=[inference_normalization()]).run(None, dict(arrays)))


def inference_normalization() -> type:
    """BatchNormalization for the reference evaluator, which below opset 14 runs its own in training mode.

    ONNX Operators, BatchNormalization-9: with one output it is in test mode.
    """
    from onnx.reference.op_run import OpRun

    class BatchNormalization(OpRun):  # type: ignore[misc,unused-ignore]  # the name is how the evaluator finds it
        def _run(self, *values: Any, epsilon: float = 1e-5, **_: Any) -> tuple[Any]:
            x = values[0]
            scale, bias, mean, variance = (value.reshape(-1, *[1] * (x.ndim - 2)) for value in values[1:5])
            return ((scale * (x - mean) / np.sqrt(variance + epsilon) + bias).astype(x.dtype),)

    return BatchNormalization
