"""Export a Gluon HybridBlock, so that it is served without its source and without the ``mxnet`` package."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archives.nets import Array, Arrays, ExportedNet, require_agreement
from archives.pack import PackError
from gluon_lambda.runtime import stock_mxnet
from gluon_lambda.types import TensorSpec


def export_block(factory: str, parameters: Path | None, inputs: Sequence[TensorSpec]) -> ExportedNet:
    """Build a HybridBlock, load its parameters, and export it.

    Args:
        factory: ``file.py:function`` or ``package.module:function``; called without arguments, it returns the block.
        parameters: What ``save_parameters`` (or the older ``save_params``) wrote; None for a block that comes with its
            own, as a model zoo's does.
        inputs: What the block takes, in the order of its ``forward``; 0 for any size.

    Raises:
        PackError: The factory is not there or gives no HybridBlock, the parameters do not fit, or the exported net
            answers otherwise than the block.
    """
    if not inputs:
        raise PackError(f"{factory}: say what the block takes, e.g. --input data=0,3,224,224 (0 is any size).")
    stock_mxnet.install()
    import mxnet

    with mxnet.name.NameManager():  # names count from 0, so that the same block gives the same bytes
        block = load_block(factory)
        if parameters:
            load_parameters(block, parameters)
        return trace(block, inputs, what=factory)


def load_block(factory: str) -> Any:
    """Call the factory."""
    from mxnet.gluon import HybridBlock

    module, _, function = factory.rpartition(":")
    make = getattr(load_module(module), function, None)
    if not callable(make):
        raise PackError(f"{factory}: {module} has no function {function!r}. Name one that returns the block.")
    block = make()
    if not isinstance(block, HybridBlock):
        raise PackError(
            f"{factory}: it returned {type(block).__name__}, not a HybridBlock. Only those can be exported."
        )
    return block


def load_module(name: str) -> Any:
    """The module, from a file or from where Python finds it, the current folder first."""
    if not name.endswith(".py"):
        sys.path.insert(0, "")
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise PackError(f"{name}: {error}. Name a file.py:function, or run where the module is found.") from error
    path = Path(name).resolve()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise PackError(f"{name}: no such file. Name a file.py:function.")
    sys.path.insert(0, str(path.parent))  # what the file imports lies beside it
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def load_parameters(block: Any, parameters: Path) -> None:
    """Load the parameters file into the block."""
    if not parameters.is_file():
        raise PackError(f"{parameters}: no such file. Name the file that save_parameters wrote.")
    try:
        block.load_parameters(str(parameters))
    except (AssertionError, ValueError, RuntimeError, OSError) as error:  # MXNetError is a RuntimeError
        raise PackError(f"{parameters} does not fit the block: {str(error).splitlines()[0]}") from error


def trace(block: Any, inputs: Sequence[TensorSpec], *, what: str) -> ExportedNet:
    """Run the block once with inputs of the declared shapes, and take what MXNet exports then."""
    import mxnet

    block.hybridize()
    # Two sizes tell which of the outputs' dimensions follow the inputs'.
    first, second = (run_block(block, inputs, filled(inputs, size), what=what) for size in (2, 3))
    with tempfile.TemporaryDirectory() as folder:
        block.export(f"{folder}/net")
        symbol = rename_inputs(Path(folder, "net-symbol.json").read_bytes(), inputs, what=what)
        parameters = Path(folder, "net-0000.params").read_bytes()
    names = mxnet.sym.load_json(symbol.decode()).list_outputs()
    outputs = tuple(output_spec(*each) for each in zip(names, first, second, strict=True))
    net = ExportedNet(symbol, parameters, tuple(inputs), outputs)
    require_agreement(net, lambda arrays: run_block(block, inputs, arrays, what=what), what=what)
    return net


def filled(inputs: Sequence[TensorSpec], size: int) -> dict[str, Array]:
    """Inputs of zeros, ``size`` long where any size goes."""
    return {spec.name: np.zeros([each or size for each in spec.shape], spec.dtype) for spec in inputs}


def run_block(block: Any, inputs: Sequence[TensorSpec], arrays: Arrays, *, what: str) -> list[Array]:
    """The block's outputs."""
    import mxnet

    try:
        outputs = block(*(mxnet.nd.array(arrays[spec.name], dtype=spec.dtype) for spec in inputs))
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return [output.asnumpy() for output in outputs]
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:  # MXNetError is a RuntimeError
        shown = ", ".join(f"{spec.name}={','.join(map(str, spec.shape))}" for spec in inputs)
        reason = str(error).strip().splitlines()[0]
        raise PackError(f"{what}: the block does not run on --input {shown}: {reason}") from error


def rename_inputs(symbol: bytes, inputs: Sequence[TensorSpec], *, what: str) -> bytes:
    """The symbol with its inputs called as declared: Gluon exports ``data``, or ``data0``, ``data1`` and so on."""
    graph = json.loads(symbol)
    exported = ["data"] if len(inputs) == 1 else [f"data{number}" for number in range(len(inputs))]
    wanted = dict(zip(exported, (spec.name for spec in inputs), strict=True))
    taken = {node["name"] for node in graph["nodes"]} - set(wanted)
    clash = taken & set(wanted.values())
    if clash:
        raise PackError(f"{what}: the net has a parameter {min(clash)!r} already. Call the input otherwise.")
    for node in graph["nodes"]:
        if node["op"] == "null":
            node["name"] = wanted.get(node["name"], node["name"])
    return json.dumps(graph, indent=2).encode()


def output_spec(name: str, first: Array, second: Array) -> TensorSpec:
    """What is known of an output from two runs: a dimension that changed takes any size."""
    sizes = zip(first.shape, second.shape, strict=True)
    return TensorSpec(name, tuple(one if one == other else 0 for one, other in sizes), first.dtype.name)
