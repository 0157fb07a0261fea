"""Holds a params file and declared inputs against the symbol they are said to belong to.

libmxnet itself does not: a missing or renamed parameter is left as uninitialised memory, and the net answers with whatever comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gluon_lambda.errors import ParametersMismatch
from gluon_lambda.runtime.dtypes import is_known
from gluon_lambda.runtime.libmxnet import Library, MXNetError
from gluon_lambda.runtime.symbol_graph import Shape, SymbolGraph, infer_shapes, infer_types
from gluon_lambda.types import TensorSpec

# How many names an error lists before it says "and N more".
_LISTED = 8


def check_net(
    library: Library, symbol: SymbolGraph, params: Mapping[str, TensorSpec], inputs: Sequence[TensorSpec], *, where: str
) -> None:
    """Check that every argument of ``symbol`` is either a parameter of the file or a declared input, and that all of them fit.

    Raises:
        ParametersMismatch: Parameters are missing, extra or misshapen, have another element type, or an input is not the symbol's.
    """
    check_names(symbol, params, inputs, where=where)
    try:
        _check_shapes(_inferred_shapes(library, symbol, inputs), params, inputs, where=where)
        _inferred_shapes(library, symbol, (*inputs, *params.values()))
        _check_types(infer_types(library, symbol, {spec.name: spec.dtype for spec in inputs}), params, where=where)
        infer_types(library, symbol, {spec.name: spec.dtype for spec in (*inputs, *params.values())})
    except MXNetError as error:
        raise ParametersMismatch(
            f"{where}: parameters and declared inputs ({_list(inputs)}) do not fit the symbol: {error}"
        ) from error


def _inferred_shapes(library: Library, symbol: SymbolGraph, specs: Sequence[TensorSpec]) -> dict[str, Shape]:
    """What the specs' shapes say about all others; nothing, where an operator cannot reckon with sizes left open.

    Raises:
        MXNetError: The shapes contradict one another.
    """
    declared = {spec.name: spec.shape for spec in specs}
    of_one = {name: (shape[0] or 1, *shape[1:]) if shape else shape for name, shape in declared.items()}
    try:
        return infer_shapes(library, symbol, declared)
    except MXNetError:
        if declared == of_one:
            raise
    # Some operators take no open size at all; a batch of one says the same of the parameters.
    try:
        return infer_shapes(library, symbol, of_one)
    except MXNetError:
        if any(0 in shape for shape in of_one.values()):
            return {}
        raise


def check_names(
    symbol: SymbolGraph, params: Mapping[str, TensorSpec], inputs: Sequence[TensorSpec], *, where: str
) -> None:
    """Check the names alone; raises ParametersMismatch."""
    wanted = {*symbol.arguments, *symbol.auxiliary}
    declared = {spec.name for spec in inputs}
    strange = [name for name in declared if name not in wanted or name in params]
    if strange:
        free = [name for name in symbol.arguments if name not in params]
        raise ParametersMismatch(
            f"{where}: the signature's {_names(strange)} is no input of the symbol; its inputs are {_names(free)}"
        )
    missing = [name for name in wanted if name not in params and name not in declared and not is_label(name)]
    if missing:
        raise ParametersMismatch(
            f"{where}: the symbol needs {_names(missing)}, which the params file does not hold and the signature does not declare as input"
        )
    extra = [name for name in params if name not in wanted]
    if extra:
        raise ParametersMismatch(f"{where}: the params file holds {_names(extra)}, which the symbol does not have")


def is_label(name: str) -> bool:
    """Whether an argument is a training label (``softmax_label``): symbols made for training keep them, and answers do not depend on them."""
    return name.endswith("label")


def _check_shapes(
    inferred: Mapping[str, Shape], params: Mapping[str, TensorSpec], inputs: Sequence[TensorSpec], *, where: str
) -> None:
    wrong = [
        f"{spec.name} has {spec.shape} and needs {inferred[spec.name]}"
        for spec in params.values()
        if spec.name in inferred and not fits(spec.shape, inferred[spec.name])
    ]
    if wrong:
        raise ParametersMismatch(
            f"{where}: for the declared inputs ({_list(inputs)}) the params file has other shapes: {_shorten(wrong)}"
        )


def _check_types(inferred: Mapping[str, str], params: Mapping[str, TensorSpec], *, where: str) -> None:
    wrong = [
        f"{spec.name} is {spec.dtype} and has to be {inferred.get(spec.name, 'a type that NumPy has')}"
        for spec in params.values()
        if not is_known(spec.dtype) or inferred.get(spec.name, spec.dtype) != spec.dtype
    ]
    if wrong:
        raise ParametersMismatch(f"{where}: the params file has other element types than the symbol: {_shorten(wrong)}")


def fits(shape: Shape, wanted: Shape) -> bool:
    """Whether ``shape`` has the rank of ``wanted`` and each of its sizes, where 0 in ``wanted`` stands for any."""
    return len(shape) == len(wanted) and all(want in (0, size) for size, want in zip(shape, wanted, strict=True))


def _names(names: Sequence[str]) -> str:
    return _shorten(sorted(names)) if names else "none"


def _shorten(words: Sequence[str]) -> str:
    rest = len(words) - _LISTED
    return ", ".join(words[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _list(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.shape} {spec.dtype}" for spec in specs)
