"""A net's symbol: its arguments, its auxiliary states, and what shapes and element types they must have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_uint32
from typing import Any, NamedTuple

from gluon_lambda.errors import ArchiveCorrupt
from gluon_lambda.runtime.dtypes import dtype_flag, dtype_name
from gluon_lambda.runtime.libmxnet import Handle, Library, MXNetError, strings

Shape = tuple[int, ...]


class SymbolGraph(NamedTuple):
    """An opened ``*-symbol.json``.

    Attributes:
        handle: MXNet's handle.
        arguments: Names of inputs and parameters, in the symbol's order.
        auxiliary: Names of the auxiliary states (batch norm's moving averages).
        numpy_shape: True for nets that were exported under ``npx.set_np()``: 0 and () are real sizes there, and unknown is -1.
    """

    handle: Handle
    arguments: tuple[str, ...]
    auxiliary: tuple[str, ...]
    numpy_shape: bool


def open_symbol(library: Library, symbol: bytes, *, where: str) -> SymbolGraph:
    """Parse a ``*-symbol.json``.

    Args:
        library: The engine.
        symbol: The file's bytes.
        where: What to call the file in errors.

    Raises:
        ArchiveCorrupt: It does not parse, or has an operator that MXNet 1.9.1 does not know.
    """
    handle = Handle()
    try:
        library.call("MXSymbolCreateFromJSON", symbol, byref(handle))
    except MXNetError as error:
        raise ArchiveCorrupt(f"{where}: not a readable symbol file ({len(symbol)} bytes): {error}") from error
    return SymbolGraph(
        handle,
        _names(library, "MXSymbolListArguments", handle),
        _names(library, "MXSymbolListAuxiliaryStates", handle),
        # Written by gluon's export as a graph attribute: "is_np_shape": ["int", 1].
        b'"is_np_shape": ["int", 1]' in symbol,
    )


def input_names(library: Library, handle: Handle) -> tuple[str, ...]:
    """Arguments and auxiliary states in the one order that a cached operator takes them."""
    count, names = c_uint32(), POINTER(c_char_p)()
    library.call("NNSymbolListInputNames", handle, 0, byref(count), byref(names))
    return tuple((names[index] or b"").decode() for index in range(count.value))


@contextmanager
def numpy_shapes(library: Library, *, on: bool) -> Iterator[None]:
    """Run the body with NumPy's shape semantics, which are a state of the calling thread, where ``on``."""
    if not on:
        yield
        return
    previous = c_int()
    library.call("MXSetIsNumpyShape", 1, byref(previous))
    try:
        yield
    finally:
        library.call("MXSetIsNumpyShape", previous.value, byref(c_int()))


def infer_shapes(library: Library, symbol: SymbolGraph, known: Mapping[str, Shape]) -> dict[str, Shape]:
    """What the ``known`` shapes say about those of all arguments and auxiliary states.

    Args:
        library: The engine.
        symbol: The net.
        known: Shapes by name; 0 for a size that is not known.

    Returns:
        Shapes by name, 0 for a size that stays open; names whose rank stays open are left out.

    Raises:
        MXNetError: The known shapes contradict one another.
    """
    unknown = -1 if symbol.numpy_shape else 0
    given = {name: tuple(size or unknown for size in shape) for name, shape in known.items()}
    starts = [0]
    for shape in given.values():
        starts.append(starts[-1] + len(shape))
    sizes = [size for shape in given.values() for size in shape]
    tables = [_ShapeTable() for _ in range(3)]
    library.call(
        "MXSymbolInferShapePartialEx",
        symbol.handle,
        len(given),
        strings([name.encode() for name in given]),
        (c_uint32 * len(starts))(*starts),
        (c_int * len(sizes))(*sizes),
        *[pointer for table in tables for pointer in table.pointers()],
        byref(c_int()),
    )
    arguments, _, auxiliary = (table.shapes(numpy_shape=symbol.numpy_shape) for table in tables)
    found = zip((*symbol.arguments, *symbol.auxiliary), (*arguments, *auxiliary), strict=True)
    return {name: shape for name, shape in found if shape is not None}


class _ShapeTable:
    """One of the three tables of shapes (arguments, outputs, auxiliary states) that shape inference fills."""

    def __init__(self) -> None:
        self._count = c_uint32()
        self._ranks = POINTER(c_int)()
        self._sizes = POINTER(POINTER(c_int))()

    def pointers(self) -> list[Any]:
        return [byref(self._count), byref(self._ranks), byref(self._sizes)]

    def shapes(self, *, numpy_shape: bool) -> list[Shape | None]:
        open_rank = -1 if numpy_shape else 0
        return [
            None
            if self._ranks[i] == open_rank
            else tuple(max(self._sizes[i][axis], 0) for axis in range(self._ranks[i]))
            for i in range(self._count.value)
        ]


def infer_types(library: Library, symbol: SymbolGraph, known: Mapping[str, str]) -> dict[str, str]:
    """What the ``known`` element types say about those of all arguments and auxiliary states; those that stay open are left out.

    Raises:
        MXNetError: The known types contradict one another.
    """
    tables = [(c_uint32(), POINTER(c_int)()) for _ in range(3)]
    library.call(
        "MXSymbolInferTypePartial",
        symbol.handle,
        len(known),
        strings([name.encode() for name in known]),
        (c_int * len(known))(*[dtype_flag(name) for name in known.values()]),
        *[byref(field) for table in tables for field in table],
        byref(c_int()),
    )
    arguments, _, auxiliary = ([flags[i] for i in range(count.value)] for count, flags in tables)
    found = zip((*symbol.arguments, *symbol.auxiliary), (*arguments, *auxiliary), strict=True)
    return {name: dtype_name(flag) for name, flag in found if flag >= 0}


def _names(library: Library, function: str, handle: Handle) -> tuple[str, ...]:
    count, names = c_uint32(), POINTER(c_char_p)()
    library.call(function, handle, byref(count), byref(names))
    return tuple((names[index] or b"").decode() for index in range(count.value))
