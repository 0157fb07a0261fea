"""Walks through a ``*.params`` file (MXNet's list of arrays) without libmxnet: do its lengths add up to the file?

libmxnet believes them: a damaged length makes it ask for terabytes, or count to 2^40. The form is that of mxnet 1.9.1's NDArray::Save and
dmlc's serializer, all numbers little-endian:

    list      u64 0x112, u64 0, u64 arrays, array × arrays, u64 names, (u64 length, bytes) × names
    array     u32 magic, i32 storage, shape, and unless the shape is unknown: i32 device, i32 number, i32 element type, elements
    shape     i32 rank, i64 size × rank

Older arrays have no storage; the oldest (before MXNet 0.11) have no magic either, and sizes of four bytes.
"""

from __future__ import annotations

import struct
from math import prod
from struct import Struct

from gluon_lambda.errors import ArchiveCorrupt

_LIST = 0x112
# With NumPy's semantics, where rank 0 is a number and rank -1 unknown; with a storage type; without one.
_NUMPY, _STORED, _PLAIN = 0xF993FACA, 0xF993FAC9, 0xF993FAC8
_MOST_AXES = 32
_DENSE, _SPARSE = 0, (1, 2)
# Where a sparse array begins: the rest is left to libmxnet.
_LEFT = -1
# Bytes of an element, by MXNet's number of its type; the last is bfloat16.
_ELEMENT_BYTES = (4, 8, 2, 1, 4, 1, 8, 1, 2, 2, 4, 8, 2)

_LIST_HEAD, _LENGTH = Struct("<QQQ"), Struct("<Q")
_ARRAY_HEAD, _TYPE = Struct("<Iii"), Struct("<8xi")
_LONG_SIZES = [Struct(f"<{rank}q") for rank in range(_MOST_AXES + 1)]
_SHORT_SIZES = [Struct(f"<{rank}I") for rank in range(_MOST_AXES + 1)]


def check_layout(params: bytes | memoryview, *, where: str) -> None:
    """Check that the lengths in a params file add up to the file; a few microseconds an array.

    Args:
        params: The file's bytes; headers and names are read, elements are not.
        where: What to call the file in errors.

    Raises:
        ArchiveCorrupt: They do not; says what is damaged.
    """
    try:
        magic, _, count = _LIST_HEAD.unpack_from(params)
        if magic != _LIST:
            raise ValueError(f"it begins with {magic:#x} instead of {_LIST:#x}")
        at = _LIST_HEAD.size
        for number in range(count):
            at = _end_of_array(params, at, number)
            if at == _LEFT:
                return
        _check_names(params, at)
    except (ValueError, struct.error) as error:
        raise ArchiveCorrupt(f"{where}: not a readable params file ({len(params)} bytes): {error}") from error


def _end_of_array(params: bytes | memoryview, at: int, number: int) -> int:
    """Where array ``number``, which begins at ``at``, ends."""
    magic, first, second = _ARRAY_HEAD.unpack_from(params, at)
    if magic in (_NUMPY, _STORED):
        if first in _SPARSE:
            return _LEFT
        storage, rank, at, kinds = first, second, at + 12, _LONG_SIZES
    elif magic == _PLAIN:
        storage, rank, at, kinds = _DENSE, first, at + 8, _LONG_SIZES
    else:
        storage, rank, at, kinds = _DENSE, magic, at + 4, _SHORT_SIZES
    if rank == (-1 if magic == _NUMPY else 0):
        return at
    if storage != _DENSE or not 0 <= rank <= _MOST_AXES:
        raise ValueError(f"array {number} has {rank} axes in storage {storage}")
    return _end_of_elements(params, at, kinds[rank], number)


def _end_of_elements(params: bytes | memoryview, at: int, form: Struct, number: int) -> int:
    sizes = form.unpack_from(params, at)
    (kind,) = _TYPE.unpack_from(params, at + form.size)
    if not 0 <= kind < len(_ELEMENT_BYTES) or any(size < 0 for size in sizes):
        raise ValueError(f"array {number} has the shape {sizes} and elements of type {kind}")
    end: int = at + form.size + _TYPE.size + prod(sizes) * _ELEMENT_BYTES[kind]
    if end > len(params):
        raise ValueError(f"array {number}, of the shape {sizes}, goes on past the end")
    return end


def _check_names(params: bytes | memoryview, at: int) -> None:
    (count,) = _LENGTH.unpack_from(params, at)
    at += _LENGTH.size
    for number in range(count):
        (length,) = _LENGTH.unpack_from(params, at)
        at += _LENGTH.size + length
        if at > len(params):
            raise ValueError(f"name {number} goes on past the end")
