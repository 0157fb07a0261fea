"""Exported nets (``*-symbol.json`` + ``*.params``) through libmxnet's C API, without the ``mxnet`` package.

The general API (symbols, arrays, cached operators) and not the predict API: the latter takes a missing parameter for uninitialised
memory, sizes over 2 GiB for negative ones, every output for float32, and keeps two copies of the parameters. Measured on mobilenet1.0,
the general one also loads in half the time (docs/decisions/0001-general-c-api.md).

Loading and warming up do without NumPy, which is imported meanwhile.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from ctypes import POINTER, byref, c_int, c_uint32, c_void_p, cast, create_string_buffer
from math import prod
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from gluon_lambda.errors import (
    InferenceError,
    OutOfMemory,
    ParametersMismatch,
    SignatureInvalid,
    tells_of_memory,
)
from gluon_lambda.runtime.dtypes import dtype_flag, dtype_size, is_known
from gluon_lambda.runtime.fusing import fused
from gluon_lambda.runtime.libmxnet import Handle, Library, MXNetError, strings
from gluon_lambda.runtime.net_checks import check_net
from gluon_lambda.runtime.params_file import Parameter, free_arrays, load_parameters, spec_of
from gluon_lambda.runtime.symbol_checks import ParsedSymbol, does_without_openblas, parse_symbol
from gluon_lambda.runtime.symbol_graph import Shape, infer_shapes, input_names, numpy_shapes, open_symbol
from gluon_lambda.types import NetOptions, TensorSpec

if TYPE_CHECKING:
    from gluon_lambda.types import Array

T = TypeVar("T")

_CPU = 1
# Plans kept for different input shapes (batch sizes); each holds its own intermediate arrays, so not many.
_KEPT_PLANS = 4


class _Plan(NamedTuple):
    """The net made ready for one set of input shapes.

    Attributes:
        operator: The cached operator.
        arrays: Handles of what it takes, in its order: inputs, parameters, auxiliary states; as C has them.
        owned: Handles of the arrays that belong to this plan, by name: the inputs, and a training symbol's labels.
    """

    operator: Handle
    arrays: ctypes.Array[c_void_p]
    owned: dict[str, int]


class NativePredictor:
    """A loaded exported net; implements ``types.Predictor``.

    Attributes:
        does_without_openblas: Whether none of its operators computes with OpenBLAS.
    """

    def __init__(
        self,
        library: Library,
        options: NetOptions,
        *,
        name: str,
        symbol: bytes,
        params: bytes | memoryview,
        inputs: Sequence[TensorSpec],
    ) -> None:
        """Load, check and fuse the net; see ``types.PredictorFactory`` for arguments and errors."""
        _check_types_are_known(inputs, where=name)
        self._library = library
        self._options = options
        self._name = name
        self._inputs = tuple(inputs)
        self._outputs: tuple[TensorSpec, ...] = ()
        self._plans: OrderedDict[tuple[Shape, ...], _Plan] = OrderedDict()
        self._lock = threading.Lock()
        parsed = parse_symbol(symbol, where=name)
        self._symbol = open_symbol(library, symbol, where=name)
        self._parameters, self._fused = self._load(params, parsed)
        types = {parameter.spec.dtype for parameter in self._parameters.values()}
        self.does_without_openblas = does_without_openblas(parsed, self._inputs, types)
        self._output_count = len(parsed.heads)

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
        # Here and not above: it needs NumPy, which is still being imported while the net is loaded.
        from gluon_lambda.runtime.array_exchange import address, as_declared, copy_out, refuse_unknown

        ready = [as_declared(spec, arrays) for spec in self._inputs]
        refuse_unknown(self._inputs, arrays)
        try:
            with self._lock, numpy_shapes(self._library, on=self._symbol.numpy_shape):
                plan = self._plan_for(tuple(array.shape for array in ready))
                for spec, array in zip(self._inputs, ready, strict=True):
                    self._library.call("MXNDArraySyncCopyFromCPU", plan.owned[spec.name], address(array), array.size)
                return self._run(plan, lambda handle, _at: copy_out(self._library, handle))
        except MXNetError as error:
            raise self._inference_error(error) from error

    def warm_up(self) -> None:
        """Run once on zeros, batch of one, so that the first request finds everything in place; skipped where a size is open.

        Raises:
            SignatureInvalid: The net fails on them.
            OutOfMemory: It needs more memory than there is; a store may let go of another model and try again.
        """
        if not all(size for spec in self._inputs for size in spec.shape[1:]):
            return
        try:
            with self._lock, numpy_shapes(self._library, on=self._symbol.numpy_shape):
                # The arrays of a new plan are zeros.
                plan = self._plan_for(tuple(tuple(size or 1 for size in spec.shape) for spec in self._inputs))
                specs = self._run(plan, self._output_spec)
        except MXNetError as error:
            if tells_of_memory(str(error)):
                raise self._inference_error(error) from error
            raise SignatureInvalid(f"{self._name}: the net fails on zeros of the declared shapes: {error}") from error
        self._outputs = tuple(specs)

    def close(self) -> None:
        """Give the engine's memory back."""
        with self._lock:
            while self._plans:
                self._free(self._plans.popitem()[1])
            free_arrays(self._library, [parameter.handle for parameter in self._parameters.values()])
            self._parameters = {}
            for handle in {self._fused.value, self._symbol.handle.value}:
                self._library.call("MXSymbolFree", handle)

    def _load(self, params: bytes | memoryview, parsed: ParsedSymbol) -> tuple[dict[str, Parameter], Handle]:
        with numpy_shapes(self._library, on=self._symbol.numpy_shape), ExitStack() as on_failure:
            on_failure.callback(self._library.call, "MXSymbolFree", self._symbol.handle)
            loaded = load_parameters(self._library, params, where=self._name)
            on_failure.callback(free_arrays, self._library, [parameter.handle for parameter in loaded.values()])
            specs = {name: parameter.spec for name, parameter in loaded.items()}
            check_net(self._library, self._symbol, specs, self._inputs, where=self._name)
            symbol, types = self._symbol.handle, {spec.dtype for spec in specs.values()}
            if self._options.fuse:
                symbol = fused(self._library, symbol, parsed, self._inputs, types, where=self._name)
            on_failure.pop_all()
        return loaded, symbol

    def _run(self, plan: _Plan, read: Callable[[int, int], T]) -> list[T]:
        """Run the net on what is in the plan's arrays, and read each output, by its handle and number.

        Outputs are made here and not by MXNet, which forgets those that it has made when the net then fails.
        """
        count = self._output_count
        outputs = (c_void_p * count)(*(_new_handle(self._library) for _ in range(count)))
        try:
            self._library.call(
                "MXInvokeCachedOpEx",
                plan.operator,
                len(plan.arrays),
                plan.arrays,
                byref(c_int(count)),
                byref(cast(outputs, POINTER(c_void_p))),
                byref(POINTER(c_int)()),
            )
            return [read(handle, at) for at, handle in enumerate(outputs)]
        finally:
            free_arrays(self._library, list(outputs))

    def _output_spec(self, handle: int, at: int) -> TensorSpec:
        self._library.call("MXNDArrayWaitAll")
        return spec_of(self._library, handle, f"output{at}")

    def _inference_error(self, error: MXNetError) -> InferenceError:
        message = f"{self._name}: the engine failed: {error}"
        kind = OutOfMemory if tells_of_memory(str(error)) else InferenceError
        return kind(message, phase="inference")

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
            handles = [held[name] for name in input_names(self._library, self._fused)]
            arrays = (c_void_p * len(handles))(*handles)
            plan = _Plan(_cached_operator(self._library, self._fused, self._options), arrays, owned)
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
    size = prod(spec.shape)
    zeros = create_string_buffer(size * dtype_size(spec.dtype) or 1)
    library.call("MXNDArraySyncCopyFromCPU", handle, zeros, size)
    return handle.value or 0


def _new_handle(library: Library) -> int:
    """An array that has no memory yet."""
    handle = Handle()
    library.call("MXNDArrayCreateNone", byref(handle))
    return handle.value or 0


def _cached_operator(library: Library, symbol: Handle, options: NetOptions) -> Handle:
    operator = Handle()
    keys = strings([b"static_alloc", b"static_shape"])
    values = strings([b"true" if on else b"false" for on in (options.static_alloc, options.static_shape)])
    library.call("MXCreateCachedOpEx", symbol, 2, keys, values, byref(operator))
    return operator
