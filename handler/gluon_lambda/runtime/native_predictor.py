"""Exported nets (``*-symbol.json`` + ``*.params``) through libmxnet's C API, without the ``mxnet`` package.

The general API (symbols, arrays, cached operators) and not the predict API: the latter takes a missing parameter for uninitialised
memory, sizes over 2 GiB for negative ones, every output for float32, and keeps two copies of the parameters. Measured on mobilenet1.0,
the general one also loads in half the time (docs/decisions/0001-general-c-api.md).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from ctypes import POINTER, byref, c_int, c_uint32, c_void_p
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np

from gluon_lambda.errors import (
    ArchiveCorrupt,
    InferenceError,
    InputMismatch,
    OutOfMemory,
    ParametersMismatch,
    SignatureInvalid,
    tells_of_memory,
)
from gluon_lambda.runtime.dtypes import dtype_flag, is_known
from gluon_lambda.runtime.libmxnet import Handle, Library, MXNetError, strings
from gluon_lambda.runtime.net_checks import check_net, fits
from gluon_lambda.runtime.params_file import Parameter, free_arrays, load_parameters, spec_of
from gluon_lambda.runtime.symbol_graph import Shape, infer_shapes, input_names, numpy_shapes, open_symbol
from gluon_lambda.types import TensorSpec

if TYPE_CHECKING:
    from gluon_lambda.types import Array

_CPU = 1
# Plans kept for different input shapes (batch sizes); each holds its own intermediate arrays, so not many.
_KEPT_PLANS = 4


class _Plan(NamedTuple):
    """The net made ready for one set of input shapes.

    Attributes:
        operator: The cached operator.
        arrays: What it takes, in its order: inputs, parameters, auxiliary states.
        owned: Handles of the arrays that belong to this plan, by name: the inputs, and a training symbol's labels.
    """

    operator: Handle
    arrays: list[int]
    owned: dict[str, int]


class NativePredictor:
    """A loaded exported net; implements ``types.Predictor``."""

    def __init__(
        self, library: Library, *, name: str, symbol: bytes, params: bytes | memoryview, inputs: Sequence[TensorSpec]
    ) -> None:
        """Load, check and fuse the net; see ``types.PredictorFactory`` for arguments and errors."""
        _check_types_are_known(inputs, where=name)
        self._library = library
        self._name = name
        self._inputs = tuple(inputs)
        self._outputs: tuple[TensorSpec, ...] = ()
        self._plans: OrderedDict[tuple[Shape, ...], _Plan] = OrderedDict()
        self._lock = threading.Lock()
        self._symbol = open_symbol(library, symbol, where=name)
        self._parameters, self._fused = self._load(params)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the net takes, as declared."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the net gave when it was warmed up; empty where it was not."""
        return self._outputs

    def predict(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Run the net once; see ``types.Predictor``."""
        ready = [_ready(spec, arrays) for spec in self._inputs]
        _refuse_unknown(self._inputs, arrays)
        with self._lock, numpy_shapes(self._library, on=self._symbol.numpy_shape):
            try:
                return self._run(ready)
            except MXNetError as error:
                _raise_inference_error(self._name, error)

    def warm_up(self) -> None:
        """Run once on zeros, batch of one, so that the first request finds everything in place; skipped where a size is open.

        Raises:
            SignatureInvalid: The net fails on them.
            OutOfMemory: It needs more memory than there is; a store may let go of another model and try again.
        """
        if not all(size for spec in self._inputs for size in spec.shape[1:]):
            return
        zeros = {spec.name: np.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in self._inputs}
        try:
            outputs = self.predict(zeros)
        except OutOfMemory:
            raise
        except InferenceError as error:
            raise SignatureInvalid(f"{self._name}: the net fails on zeros of the declared shapes: {error}") from error
        self._outputs = tuple(TensorSpec(f"output{at}", out.shape, out.dtype.name) for at, out in enumerate(outputs))

    def close(self) -> None:
        """Give the engine's memory back."""
        with self._lock:
            while self._plans:
                self._free(self._plans.popitem()[1])
            free_arrays(self._library, [parameter.handle for parameter in self._parameters.values()])
            self._parameters = {}
            for handle in {self._fused.value, self._symbol.handle.value}:
                self._library.call("MXSymbolFree", handle)

    def _load(self, params: bytes | memoryview) -> tuple[dict[str, Parameter], Handle]:
        with numpy_shapes(self._library, on=self._symbol.numpy_shape), ExitStack() as on_failure:
            on_failure.callback(self._library.call, "MXSymbolFree", self._symbol.handle)
            loaded = load_parameters(self._library, params, where=self._name)
            on_failure.callback(free_arrays, self._library, [parameter.handle for parameter in loaded.values()])
            specs = {name: parameter.spec for name, parameter in loaded.items()}
            check_net(self._library, self._symbol, specs, self._inputs, where=self._name)
            fused = self._fuse({spec.dtype for spec in (*self._inputs, *specs.values())})
            on_failure.pop_all()
        return loaded, fused

    def _fuse(self, types: set[str]) -> Handle:
        """The symbol with convolution, batch norm and activation joined into one operator each (oneDNN's subgraphs).

        oneDNN has float32 only; a net that has anything in another float type stays as it is.
        """
        if types & {"float16", "float64"}:
            return self._symbol.handle
        fused = Handle()
        try:
            self._library.call("MXGenBackendSubgraph", self._symbol.handle, b"MKLDNN", byref(fused))
        except MXNetError as error:
            raise ArchiveCorrupt(f"{self._name}: the symbol's operators cannot be fused: {error}") from error
        return fused

    def _run(self, ready: Sequence[Array]) -> list[Array]:
        plan = self._plan_for(tuple(array.shape for array in ready))
        for spec, array in zip(self._inputs, ready, strict=True):
            self._library.call("MXNDArraySyncCopyFromCPU", plan.owned[spec.name], array.ctypes.data, array.size)
        count, outputs, kinds = c_int(0), POINTER(c_void_p)(), POINTER(c_int)()
        arrays = (c_void_p * len(plan.arrays))(*plan.arrays)
        self._library.call(
            "MXInvokeCachedOpEx", plan.operator, len(plan.arrays), arrays, byref(count), byref(outputs), byref(kinds)
        )
        handles = [outputs[index] for index in range(count.value)]
        try:
            return [_copy_out(self._library, handle) for handle in handles]
        finally:
            free_arrays(self._library, handles)

    def _plan_for(self, shapes: tuple[Shape, ...]) -> _Plan:
        plan = self._plans.get(shapes)
        if plan is None:
            while len(self._plans) >= _KEPT_PLANS:
                self._free(self._plans.popitem(last=False)[1])
            plan = self._plans[shapes] = self._make_plan(shapes)
        self._plans.move_to_end(shapes)
        return plan

    def _make_plan(self, shapes: tuple[Shape, ...]) -> _Plan:
        concrete = [spec._replace(shape=shape) for spec, shape in zip(self._inputs, shapes, strict=True)]
        owned: dict[str, int] = {}
        with ExitStack() as on_failure:
            on_failure.callback(lambda: free_arrays(self._library, list(owned.values())))
            for spec in (*concrete, *self._labels(concrete)):
                owned[spec.name] = _new_zeros(self._library, spec)
            held = owned | {name: parameter.handle for name, parameter in self._parameters.items()}
            arrays = [held[name] for name in input_names(self._library, self._fused)]
            plan = _Plan(_cached_operator(self._library, self._fused), arrays, owned)
            on_failure.pop_all()
        return plan

    def _labels(self, inputs: Sequence[TensorSpec]) -> list[TensorSpec]:
        """Arguments that are neither input nor parameter: the labels of a symbol made for training."""
        names = {spec.name for spec in inputs} | self._parameters.keys()
        open_names = [name for name in self._symbol.arguments if name not in names]
        if not open_names:
            return []
        known = {
            spec.name: spec.shape for spec in (*inputs, *(parameter.spec for parameter in self._parameters.values()))
        }
        shapes = infer_shapes(self._library, self._symbol, known)
        return [TensorSpec(name, shapes[name]) for name in open_names if name in shapes]

    def _free(self, plan: _Plan) -> None:
        self._library.call("MXFreeCachedOp", plan.operator)
        free_arrays(self._library, list(plan.owned.values()))


def _ready(spec: TensorSpec, arrays: Mapping[str, Array]) -> Array:
    """The array for one input: there, of the right shape, contiguous, of the right element type."""
    array = arrays.get(spec.name)
    if array is None:
        raise InputMismatch(f"Input {spec.name!r} is missing: it takes {spec.dtype} of shape {_shown(spec.shape)}")
    if not fits(array.shape, spec.shape) or 0 in array.shape:
        raise InputMismatch(
            f"Input {spec.name!r} has shape {_shown(array.shape)}; it takes {_shown(spec.shape)} (0 is any size but none)"
        )
    if not np.can_cast(array.dtype, spec.dtype, casting="same_kind"):
        raise InputMismatch(f"Input {spec.name!r} is {array.dtype}; it takes {spec.dtype}")
    return np.ascontiguousarray(array, dtype=spec.dtype)


def _refuse_unknown(inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> None:
    known = [spec.name for spec in inputs]
    unknown = [name for name in arrays if name not in known]
    if unknown:
        raise InputMismatch(
            f"There is no input {', '.join(map(repr, unknown))}; the net takes {', '.join(map(repr, known))}"
        )


def _shown(shape: Shape) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def _check_types_are_known(inputs: Sequence[TensorSpec], *, where: str) -> None:
    for spec in inputs:
        if not is_known(spec.dtype):
            raise ParametersMismatch(
                f"{where}: input {spec.name!r} is declared as {spec.dtype!r}, which MXNet does not have"
            )


def _new_zeros(library: Library, spec: TensorSpec) -> int:
    handle = Handle()
    shape = (c_uint32 * len(spec.shape))(*spec.shape)
    library.call("MXNDArrayCreateEx", shape, len(spec.shape), _CPU, 0, 0, dtype_flag(spec.dtype), byref(handle))
    zeros = np.zeros(spec.shape, spec.dtype)
    library.call("MXNDArraySyncCopyFromCPU", handle, zeros.ctypes.data, zeros.size)
    return handle.value or 0


def _cached_operator(library: Library, symbol: Handle) -> Handle:
    operator = Handle()
    keys, values = strings([b"static_alloc", b"static_shape"]), strings([b"true", b"true"])
    library.call("MXCreateCachedOpEx", symbol, 2, keys, values, byref(operator))
    return operator


def _copy_out(library: Library, handle: int) -> Array:
    """The output as an array of our own, in the element type that the engine says it has."""
    spec = spec_of(library, handle, "output")
    array: Array = np.empty(spec.shape, spec.dtype)
    if array.size:
        library.call("MXNDArraySyncCopyToCPU", handle, array.ctypes.data, array.size)
    return array


def _raise_inference_error(name: str, error: MXNetError) -> NoReturn:
    message = f"{name}: the engine failed: {error}"
    if tells_of_memory(str(error)):
        raise OutOfMemory(message, phase="inference") from error
    raise InferenceError(message, phase="inference") from error
