"""NumPy arrays into the engine and out of it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gluon_lambda.errors import InputMismatch
from gluon_lambda.runtime.libmxnet import Library
from gluon_lambda.runtime.net_checks import fits
from gluon_lambda.runtime.params_file import spec_of
from gluon_lambda.types import TensorSpec

if TYPE_CHECKING:
    from gluon_lambda.runtime.symbol_graph import Shape
    from gluon_lambda.types import Array


def as_declared(spec: TensorSpec, arrays: Mapping[str, Array]) -> Array:
    """The array for one input: there, of the right shape, contiguous, of the right element type.

    Raises:
        InputMismatch: It is missing, or of a shape or element type that the input does not take.
    """
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


def refuse_unknown(inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> None:
    """Refuse arrays that the net has no input for; raises InputMismatch."""
    known = [spec.name for spec in inputs]
    unknown = [name for name in arrays if name not in known]
    if unknown:
        raise InputMismatch(
            f"There is no input {', '.join(map(repr, unknown))}; the net takes {', '.join(map(repr, known))}"
        )


def copy_out(library: Library, handle: int) -> Array:
    """The output as an array of our own, in the element type that the engine says it has."""
    spec = spec_of(library, handle, "output")
    array: Array = np.empty(spec.shape, spec.dtype)
    if array.size:
        library.call("MXNDArraySyncCopyToCPU", handle, address(array), array.size)
    return array


def address(array: Array) -> int:
    """Where a contiguous array's elements lie. By the buffer, in a quarter of the time of ``array.ctypes``, which has all of it in Python."""
    if array.flags.writeable and array.size:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type] # any writable buffer will do
    return array.ctypes.data


def _shown(shape: Shape) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"
