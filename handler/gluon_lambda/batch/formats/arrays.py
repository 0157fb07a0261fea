"""NumPy's ``.npy`` and ``.npz``: a row for each entry of the first axis, as a ``.npy`` file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from gluon_lambda.batch.formats import zip_members
from gluon_lambda.batch.formats.rows import Limits, Reading, Source, read_fully
from gluon_lambda.batch_records import Row
from gluon_lambda.errors import ArchiveCorrupt, ObjectRefused
from gluon_lambda.services.tensors import NPY_MAGIC, NPY_TYPE
from gluon_lambda.types import Part, Payload

if TYPE_CHECKING:
    from gluon_lambda.types import Array

_VERSION_BYTES = len(NPY_MAGIC) + 2
# By the format's major version: the size of the header's length, and what parses it. Version 3 is for names of fields that no net has.
_LENGTH_BYTES = {1: 2, 2: 4}
_LONGEST_HEADER = 10_000
# NumPy's own reader and writer of headers, which have no types.
_FORMAT: Any = np.lib.format


class Layout(NamedTuple):
    """How an array lies in its file.

    Attributes:
        dtype: Its numbers' type.
        rows: How many there are.
        row_shape: The shape of one.
        begin: Where its numbers begin, in bytes.
        fortran: Whether the first axis varies fastest, so that a row lies scattered.
    """

    dtype: np.dtype[Any]
    rows: int
    row_shape: tuple[int, ...]
    begin: int
    fortran: bool

    @property
    def row_bytes(self) -> int:
        """How many bytes a row's numbers take."""
        return prod(self.row_shape) * self.dtype.itemsize


def rows(reading: Reading) -> Iterator[Row]:
    """A row for each entry of a ``.npy`` file.

    Raises:
        ObjectRefused: It is no such file, holds Python objects, breaks off or goes on behind its array.
    """
    layout = read_layout(reading.source, where=reading.where, limits=reading.limits)
    first = min(reading.start.row, layout.rows)
    for number, content in enumerate(_contents(reading.source, layout, first, where=reading.where), first):
        offset = 0 if layout.fortran else reading.offset(layout.begin + (number + 1) * layout.row_bytes)
        yield Row(number, Payload((Part("body", content, NPY_TYPE),)), offset=offset)


def named_rows(reading: Reading) -> Iterator[Row]:
    """A row for each entry of the arrays of a ``.npz`` file together, a part for each array.

    Raises:
        ObjectRefused: As for ``rows``; or the arrays differ in length, or there is none.
    """
    try:
        for number, parts in _side_by_side(reading):
            yield Row(number, Payload(parts))
    except ArchiveCorrupt as error:
        raise ObjectRefused(f"{reading.where}: {error}") from error


def _side_by_side(reading: Reading) -> Iterator[tuple[int, tuple[Part, ...]]]:
    where = reading.where
    streams = list(zip_members.arrays(reading))
    layouts = [read_layout(stream, where=f"{where}: {name}", limits=reading.limits) for name, stream in streams]
    counts = {layout.rows for layout in layouts}
    if len(counts) != 1:
        found = ", ".join(f"{name} has {layout.rows} rows" for (name, _), layout in zip(streams, layouts, strict=True))
        raise ObjectRefused(
            f"{where}: the arrays of a .npz are read row by row, side by side; but {found or 'it has none'}."
        )
    first = min(reading.start.row, *counts)
    contents = [
        _contents(stream, layout, first, where=f"{where}: {name}")
        for (name, stream), layout in zip(streams, layouts, strict=True)
    ]
    for number, entries in enumerate(zip(*contents, strict=True), first):
        named = zip(streams, entries, strict=True)
        yield number, tuple(Part(name.removesuffix(".npy"), entry, NPY_TYPE, name) for (name, _), entry in named)


def read_layout(source: Source, *, where: str, limits: Limits) -> Layout:
    """Read the header of the ``.npy`` file that ``source`` is at the start of.

    Raises:
        ObjectRefused: It is no such file, or one that is not read row by row.
    """
    head = read_fully(source, _VERSION_BYTES)
    major = head[len(NPY_MAGIC)] if len(head) == _VERSION_BYTES else 0
    if not head.startswith(NPY_MAGIC) or major not in _LENGTH_BYTES:
        raise ObjectRefused(f"{where} is no .npy file of version 1 or 2, as numpy.save writes them.")
    length = read_fully(source, _LENGTH_BYTES[major])
    size = int.from_bytes(length, "little")
    if size > _LONGEST_HEADER:
        raise ObjectRefused(f"{where}: its .npy header of {size:,} bytes is longer than that of any array of numbers.")
    shape, fortran, dtype = _parsed(major, length + read_fully(source, size), where=where)
    layout = Layout(
        dtype, shape[0] if shape else 1, shape[1:], len(head) + len(length) + size, fortran and len(shape) > 1
    )
    _check_layout(layout, where=where, limits=limits)
    return layout


def _parsed(major: int, header: bytes, *, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    from tokenize import TokenError  # lazy: NumPy parses a garbled header as old Python source

    read = _FORMAT.read_array_header_1_0 if major == 1 else _FORMAT.read_array_header_2_0
    try:
        shape, fortran, dtype = read(BytesIO(header))
    except (ValueError, TypeError, SyntaxError, KeyError, MemoryError, RecursionError, TokenError) as error:
        raise ObjectRefused(f"{where}: its .npy header is damaged or cut short: {error}") from error
    return shape, fortran, dtype


def _check_layout(layout: Layout, *, where: str, limits: Limits) -> None:
    if layout.dtype.hasobject:
        raise ObjectRefused(f"{where} holds Python objects, which are not read; save numbers.")
    if layout.row_bytes > limits.row_bytes:
        raise ObjectRefused(
            f"{where}: a row takes {layout.row_bytes:,} bytes, over the limit of {limits.row_bytes:,}. Its first axis must be that of the examples."
        )
    if min(layout.rows, *layout.row_shape, 0) < 0 or (layout.rows and not layout.row_bytes):
        raise ObjectRefused(f"{where}: its rows are empty: its shape is {[layout.rows, *layout.row_shape]}.")
    if layout.fortran and layout.rows * layout.row_bytes > limits.file_bytes:
        raise ObjectRefused(
            f"{where} is in Fortran's order, in which rows lie scattered, and larger than {limits.file_bytes:,} bytes; "
            "save numpy.ascontiguousarray of it."
        )


def _contents(source: Source, layout: Layout, first: int, *, where: str) -> Iterator[bytes]:
    """Each row from ``first`` on as a ``.npy`` file."""
    header = _row_header(layout)
    raw = (
        _scattered(source, layout, first, where=where)
        if layout.fortran
        else _rows_in_order(source, layout, first, where=where)
    )
    for numbers in raw:
        yield header + numbers
    if source.read(1):
        raise ObjectRefused(f"{where}: something follows the array. Save one array to a file.")


def _row_header(layout: Layout) -> bytes:
    header = BytesIO()
    descr = _FORMAT.dtype_to_descr(layout.dtype)
    fields = {"descr": descr, "fortran_order": False, "shape": layout.row_shape}
    _FORMAT.write_array_header_1_0(header, fields)
    return header.getvalue()


def _rows_in_order(source: Source, layout: Layout, first: int, *, where: str) -> Iterator[bytes]:
    source.seek(layout.begin + first * layout.row_bytes)
    for number in range(first, layout.rows):
        numbers = read_fully(source, layout.row_bytes)
        if len(numbers) < layout.row_bytes:
            _refuse_cut(number, layout, where=where)
        yield numbers


def _scattered(source: Source, layout: Layout, first: int, *, where: str) -> Iterator[bytes]:
    size = layout.rows * layout.row_bytes
    numbers = read_fully(source, size)
    if len(numbers) < size:
        _refuse_cut(0, layout, where=where)
    array: Array = np.frombuffer(numbers, layout.dtype).reshape((layout.rows, *layout.row_shape), order="F")
    for number in range(first, layout.rows):
        yield array[number].tobytes()


def _refuse_cut(number: int, layout: Layout, *, where: str) -> NoReturn:
    raise ObjectRefused(f"{where}: the array breaks off in row {number + 1} of {layout.rows}. Upload it again.")
