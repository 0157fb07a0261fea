"""Reads a ``*.params`` file (MXNet's NDArray list format) through libmxnet: names, shapes, element types, and the arrays themselves."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_ssize_t, c_uint32, c_void_p
from typing import NamedTuple

from gluon_lambda.errors import ArchiveCorrupt, OutOfMemory, tells_of_memory
from gluon_lambda.runtime.dtypes import dtype_name
from gluon_lambda.runtime.libmxnet import Library, MXNetError
from gluon_lambda.runtime.params_layout import check_layout
from gluon_lambda.types import TensorSpec


class Parameter(NamedTuple):
    """One entry of a params file: what it is, and MXNet's handle of the array that holds it."""

    spec: TensorSpec
    handle: int


def load_parameters(library: Library, params: bytes | memoryview, *, where: str) -> dict[str, Parameter]:
    """Copy every entry of the file into the engine.

    Args:
        library: The engine.
        params: The file's bytes; of any size, read in place.
        where: What to call the file in errors.

    Returns:
        The entries by name, without the ``arg:`` and ``aux:`` prefixes. The caller frees the handles.

    Raises:
        ArchiveCorrupt: The file does not parse, or holds arrays without names or a name twice.
        OutOfMemory: It does not fit into what memory there is.
    """
    handles, names = _load(library, params, where=where)
    parameters = {
        _bare(name): Parameter(spec_of(library, handle, _bare(name)), handle)
        for name, handle in zip(names, handles, strict=False)
    }
    if len(names) != len(handles) or len(parameters) != len(handles):
        free_arrays(library, handles)
        raise ArchiveCorrupt(
            f"{where}: holds {len(handles)} arrays under {len(parameters)} different names; each needs one of its own"
        )
    return parameters


def describe_parameters(library: Library, params: bytes | memoryview, *, where: str) -> tuple[TensorSpec, ...]:
    """Names, shapes and element types of the file's entries; nothing stays in the engine. Raises as ``load_parameters``."""
    parameters = load_parameters(library, params, where=where)
    free_arrays(library, [parameter.handle for parameter in parameters.values()])
    return tuple(parameter.spec for parameter in parameters.values())


def free_arrays(library: Library, handles: list[int]) -> None:
    """Give the arrays' memory back to the engine."""
    for handle in handles:
        library.call("MXNDArrayFree", handle)


def spec_of(library: Library, handle: int, name: str) -> TensorSpec:
    """Shape and element type of the array behind ``handle``."""
    rank, sizes, flag = c_int(), POINTER(c_int)(), c_int()
    library.call("MXNDArrayGetShapeEx", handle, byref(rank), byref(sizes))
    library.call("MXNDArrayGetDType", handle, byref(flag))
    return TensorSpec(name, tuple(sizes[axis] for axis in range(max(rank.value, 0))), dtype_name(flag.value))


def _load(library: Library, params: bytes | memoryview, *, where: str) -> tuple[list[int], list[str]]:
    check_layout(params, where=where)
    count, handles = c_uint32(), POINTER(c_void_p)()
    name_count, names = c_uint32(), POINTER(c_char_p)()
    try:
        with _address(params) as address:
            library.call(
                "MXNDArrayLoadFromBuffer",
                address,
                len(params),
                byref(count),
                byref(handles),
                byref(name_count),
                byref(names),
            )
    except MXNetError as error:
        if tells_of_memory(str(error)):
            raise OutOfMemory(f"{where}: its {len(params):,} bytes of parameters ran out of memory") from error
        raise ArchiveCorrupt(f"{where}: not a readable params file ({len(params)} bytes): {error}") from error
    return _pointers(handles, count.value), [
        (names[i] or b"").decode(errors="replace") for i in range(name_count.value)
    ]


class _Buffer(ctypes.Structure):
    """Python's ``Py_buffer`` (C API, "Buffer Protocol")."""

    _fields_ = (
        ("address", c_void_p),
        ("owner", c_void_p),
        ("length", c_ssize_t),
        ("item_size", c_ssize_t),
        ("read_only", c_int),
        ("dimensions", c_int),
        *((name, c_void_p) for name in ("format", "shape", "strides", "suboffsets", "internal")),
    )


@contextmanager
def _address(data: bytes | memoryview) -> Iterator[int | None]:
    """The address of a buffer, an mmap of the archive included, without a copy; held in place while the body runs.

    By Python's C API: ctypes itself takes no read-only buffer, and NumPy, which would, is still being imported meanwhile.
    """
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(data), byref(buffer), 0)
    try:
        yield buffer.address if buffer.length else None
    finally:
        ctypes.pythonapi.PyBuffer_Release(byref(buffer))


def _pointers(array: ctypes._Pointer[c_void_p], count: int) -> list[int]:
    return [array[index] or 0 for index in range(count)]


def _bare(name: str) -> str:
    """``arg:conv0_weight`` and ``aux:bn0_moving_mean`` are written by export; Gluon's own files have bare names."""
    kind, colon, rest = name.partition(":")
    return rest if colon and kind in ("arg", "aux") else name
