"""Small ONNX models, made with onnx's own helpers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def initializer(name: str, *shape: int) -> Any:
    """A parameter of seeded noise."""
    values = np.random.default_rng(len(name)).standard_normal(shape).astype("float32")
    return numpy_helper.from_array(values, name)


def save(path: Path, nodes: list[Any], initializers: list[Any], shapes: dict[str, Any], *, opset: int = 9) -> Path:
    """Save a model with the input ``data`` and the output ``answer``; initializers are not listed as inputs."""
    data, answer = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in ("data", "answer"))
    graph = helper.make_graph(nodes, "net", [data], [answer], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def convolutional(path: Path) -> Path:
    """Convolution, batch normalisation, pooling and a dense layer; any batch size."""
    nodes = [
        helper.make_node("Conv", ["data", "weight", "bias"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "variance"], ["n"], epsilon=1e-3),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "dense", "shift"], ["g"], transB=1),
        helper.make_node("Softmax", ["g"], ["answer"], axis=1),
    ]
    positive = numpy_helper.from_array(np.linspace(0.5, 2, 4, dtype="float32"), "variance")
    parameters = [initializer("weight", 4, 1, 3, 3), *(initializer(n, 4) for n in ("bias", "gamma", "beta", "mean"))]
    dense = [initializer("dense", 10, 64), initializer("shift", 10)]
    return save(path, nodes, [*parameters, positive, *dense], {"data": ["N", 1, 8, 8], "answer": ["N", 10]})


def unsupported(path: Path) -> Path:
    """Two operators that MXNet has no conversion for."""
    nodes = [
        helper.make_node("Mish", ["data"], ["m"]),
        helper.make_node("Einsum", ["m"], ["answer"], equation="ij->ji"),
    ]
    return save(path, nodes, [], {"data": [2, 3], "answer": [3, 2]}, opset=18)


def rounded_up(path: Path) -> Path:
    """Pooling that rounds its output's size up, which MXNet's importer passes over."""
    node = helper.make_node("MaxPool", ["data"], ["answer"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    return save(path, [node], [], {"data": [1, 1, 5, 5], "answer": [1, 1, 3, 3]}, opset=10)


def padded(path: Path) -> Path:
    """Averages that leave padding out, where MXNet's importer counts it in."""
    node = helper.make_node("AveragePool", ["data"], ["answer"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return save(path, [node], [], {"data": [1, 1, 5, 5], "answer": [1, 1, 5, 5]})


def too_new(path: Path) -> Path:
    """Squeeze of opset 13: its axes are an input, where MXNet's importer looks for an attribute."""
    axes = numpy_helper.from_array(np.array([1], dtype="int64"), "axes")
    node = helper.make_node("Squeeze", ["data", "axes"], ["answer"])
    return save(path, [node], [axes], {"data": [2, 1, 3], "answer": [2, 3]}, opset=13)
