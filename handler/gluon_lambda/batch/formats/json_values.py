"""A JSON file: a row for each element of an array, one row for any other value.

The array is taken apart by its brackets, commas and texts alone, an element at a time; what is in an element is parsed afterwards. So an
element that is no JSON costs itself only, and no more than an element is held.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from gluon_lambda.batch.formats import json_lines
from gluon_lambda.batch.formats.lines import BLANKS, BYTE_ORDER_MARK
from gluon_lambda.batch.formats.rows import Limits, Reading, Source, made, read_fully
from gluon_lambda.batch_records import Row
from gluon_lambda.errors import MalformedBody, ObjectRefused, PayloadTooLarge
from gluon_lambda.types import Payload

_CHUNK_BYTES = 256 << 10
# How much is looked at for a first line.
_LOOK_BYTES = 1 << 20
# What matters at the array's own depth, within an element, and within a text.
_BETWEEN = re.compile(rb'["\[\]{},]')
_WITHIN = re.compile(rb'["\[\]{}]')
_IN_TEXT = re.compile(rb'["\\]')
_OPENING, _CLOSING, _QUOTE, _BACKSLASH = b"[{", b"]}", b'"', b"\\"


class Element(NamedTuple):
    """One element of an array.

    Attributes:
        content: Its bytes; None where there are more than are accepted.
        end: Where the comma or the bracket after it stands, in bytes.
    """

    content: bytes | None
    end: int


def rows(reading: Reading) -> Iterator[Row]:
    """A row for each element of an array, for each line of JSON Lines, or one row.

    Raises:
        ObjectRefused: The array breaks off, or something follows it.
    """
    if _is_lines(reading.source):
        return json_lines.rows(reading)
    begin = _array_start(reading.source)
    return _one_row(reading) if begin is None else _element_rows(reading, begin)


def _is_lines(source: Source) -> bool:
    """Whether the first line is a whole value, and another line follows: many programs call JSON Lines .json."""
    source.seek(0)
    head = read_fully(source, _LOOK_BYTES).removeprefix(BYTE_ORDER_MARK).lstrip(BLANKS)
    first, _, rest = head.partition(b"\n")
    return bool(rest.strip(BLANKS)) and _is_json(first)


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True


def _array_start(source: Source) -> int | None:
    """Where the array's first element begins, in bytes; None where it is no array."""
    source.seek(0)
    position = 0
    while chunk := source.read(_CHUNK_BYTES):
        content = chunk.removeprefix(BYTE_ORDER_MARK) if position == 0 else chunk
        rest = content.lstrip(BLANKS)
        if rest:
            return position + len(chunk) - len(rest) + 1 if rest.startswith(b"[") else None
        position += len(chunk)
    return None


def _one_row(reading: Reading) -> Iterator[Row]:
    if reading.start.row == 0:
        reading.source.seek(0)
        yield made(0, partial(_whole, reading.source, reading.limits))


def _whole(source: Source, limits: Limits) -> Payload:
    content = read_fully(source, limits.row_bytes + 1)
    if len(content) > limits.row_bytes:
        raise PayloadTooLarge(f"The value is longer than the {limits.row_bytes:,} bytes that a row may have")
    return json_lines.json_payload(content.removeprefix(BYTE_ORDER_MARK), called="The object")


def _element_rows(reading: Reading, begin: int) -> Iterator[Row]:
    start = reading.start
    reading.source.seek(start.offset or begin)
    first = start.row if start.offset else 0
    found = _elements(reading, start.offset or begin, is_resumed=start.offset > 0)
    for number, element in enumerate(found, first):
        if number >= start.row:
            make = partial(_payload, element, number + 1, reading.limits)
            yield made(number, make, offset=reading.offset(element.end))


def _payload(element: Element, number: int, limits: Limits) -> Payload:
    if element.content is None:
        raise PayloadTooLarge(f"Element {number} is longer than the {limits.row_bytes:,} bytes that a row may have")
    if not element.content.strip(BLANKS):
        raise MalformedBody(f"Element {number} is empty: a comma too many")
    return json_lines.json_payload(element.content, called=f"Element {number}")


def _elements(reading: Reading, position: int, *, is_resumed: bool) -> Iterator[Element]:
    """The elements from ``position`` on: after the opening bracket, or where the comma or bracket after another element stands."""
    ends = _ends(reading, position)
    if is_resumed:
        next(ends)
    is_first = not is_resumed
    for element, is_last in ends:
        # [] has no element, and [1,] a second one that is empty.
        if not (is_first and is_last and element.content is not None and not element.content.strip(BLANKS)):
            yield element
        is_first = False


class _Depth:
    """How deep in brackets and texts the reading is."""

    def __init__(self) -> None:
        self._brackets = 0
        self._in_text = False

    def next_end(self, chunk: bytes, begin: int) -> int:
        """Where the next comma or bracket stands that ends an element; from ``len(chunk)`` on where there is none, and reading goes on there."""
        at = begin
        while found := self._pattern().search(chunk, at):
            mark, at = found[0], found.end()
            if mark in b",]" and not self._brackets:
                return found.start()
            at += mark == _BACKSLASH
            self._pass(mark)
        return max(at, len(chunk))

    def _pass(self, mark: bytes) -> None:
        if mark == _QUOTE:
            self._in_text = not self._in_text
        elif mark in _OPENING:
            self._brackets += 1
        elif mark in _CLOSING:
            self._brackets -= self._brackets > 0

    def _pattern(self) -> re.Pattern[bytes]:
        if self._in_text:
            return _IN_TEXT
        return _WITHIN if self._brackets else _BETWEEN


def _ends(reading: Reading, position: int) -> Iterator[tuple[Element, bool]]:
    """Each element, and whether the closing bracket follows it."""
    longest, depth = reading.limits.row_bytes, _Depth()
    pieces: list[bytes] = []
    held = look = 0
    while chunk := reading.source.read(_CHUNK_BYTES):
        begin = 0
        while (end := depth.next_end(chunk, look)) < len(chunk):
            pieces.append(chunk[begin:end])
            held += end - begin
            is_last = chunk[end : end + 1] == b"]"
            yield Element(None if held > longest else b"".join(pieces), position + end), is_last
            if is_last:
                return _refuse_rest(reading, chunk[end + 1 :])
            pieces, held, begin, look = [], 0, end + 1, end + 1
        held += len(chunk) - begin
        pieces = [] if held > longest else [*pieces, chunk[begin:]]
        position, look = position + len(chunk), end - len(chunk)
    raise ObjectRefused(f"{reading.where}: the JSON array breaks off: it has no closing bracket. Upload it again.")


def _refuse_rest(reading: Reading, rest: bytes) -> None:
    while not rest.strip(BLANKS):
        rest = reading.source.read(_CHUNK_BYTES)
        if not rest:
            return
    raise ObjectRefused(
        f"{reading.where}: something follows the JSON array. Values on lines of their own are JSON Lines."
    )
