"""CSV (RFC 4180): a row is a record, and becomes JSON.

The first record is the header, unless every cell of it is a number. A cell that is a number is one in JSON too, any other is a text.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from gluon_lambda.batch.formats.json_lines import JSON_TYPE
from gluon_lambda.batch.formats.lines import Line, decoded, read_lines, without_last_blanks
from gluon_lambda.batch.formats.rows import Reading, made
from gluon_lambda.batch_records import Row
from gluon_lambda.errors import InputMismatch, MalformedBody, ObjectRefused, PayloadTooLarge, RequestError
from gluon_lambda.types import Part, Payload

# 007 is the name of something.
_NUMBER = re.compile(r"([+-]?)(?:(0|[1-9][0-9]*)(?:\.([0-9]*))?|\.([0-9]+))([eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
# A line of nothing else holds neither quotes nor texts: JSON's parser then tells whether all its cells are numbers.
_OF_DIGITS = re.compile(r"[-0-9.eE,]+")

# An encoder that is made once takes a quarter of the time of json.dumps.
_as_text = json.JSONEncoder(ensure_ascii=False).encode

OBJECT, NUMBERS, OBJECTS = "object", "numbers", "objects"


class Columns(NamedTuple):
    """What a model makes of a table's columns.

    Attributes:
        inputs: The inputs that its signature declares; empty where there is none.
        otherwise: What a row becomes where the header does not name all of ``inputs``: ``object``, its cells by the columns' names;
            ``numbers``, the list of its cells; ``objects``, a list with that object alone, as MMS 0.4's services take it.
    """

    inputs: tuple[str, ...] = ()
    otherwise: str = OBJECT


class Record(NamedTuple):
    """One record.

    Attributes:
        cells: Its cells; empty where it is blank or at fault.
        end: Where the next one begins, in bytes.
        error: What is wrong with it.
    """

    cells: list[str]
    end: int
    error: RequestError | None = None


Body = Callable[[list[str]], str]


def rows(reading: Reading, columns: Columns, delimiter: str) -> Iterator[Row]:
    """A row for each record after the header.

    Raises:
        ObjectRefused: The first record cannot be a header: it does not parse, or a name in it is missing or there twice.
    """
    _allow_long_cells(reading.limits.row_bytes)
    first = next(_records(reading, 0, delimiter), None)
    if first is None:
        return iter(())
    _check_first(first, where=reading.where)
    if all(_is_number(cell) for cell in first.cells):
        return _rows(reading, 0, delimiter, partial(_list_body, names=None, count=len(first.cells)))
    return _rows(reading, first.end, delimiter, _body(tuple(first.cells), columns))


def _allow_long_cells(size: int) -> None:
    import csv  # lazy: only CSV needs it

    # The limit is the process's; an archive's own code may count on what it has set, so it only ever grows.
    csv.field_size_limit(max(size, csv.field_size_limit()))


def _rows(reading: Reading, begin: int, delimiter: str, body: Body) -> Iterator[Row]:
    start = reading.start
    first = start.row if start.offset else 0
    for number, record in enumerate(_records(reading, start.offset or begin, delimiter), first):
        if number >= start.row:
            make = partial(_payload, record, number + 1, body)
            yield made(number, make, offset=reading.offset(record.end))


def _payload(record: Record, number: int, body: Body) -> Payload:
    called = f"Row {number}"
    if record.error is not None:
        raise type(record.error)(f"{called}: {record.error}")
    if len(record.cells) < 2 and not "".join(record.cells).strip():
        raise MalformedBody(f"{called} is blank")
    try:
        text = body(record.cells)
    except InputMismatch as error:
        raise InputMismatch(f"{called}: {error}") from error
    return Payload((Part("body", text.encode(), JSON_TYPE),))


def _check_first(first: Record, *, where: str) -> None:
    if first.error is not None:
        raise ObjectRefused(f"{where}: the first line of the CSV does not parse: {first.error}")
    twice = (
        [name for name in first.cells if first.cells.count(name) > 1]
        if len(set(first.cells)) < len(first.cells)
        else []
    )
    if not all(map(_is_number, first.cells)) and (twice or "" in first.cells):
        reason = f"{twice[0]!r} is there twice" if twice and twice[0] else "one name is missing"
        raise ObjectRefused(f"{where}: the CSV's first line is its header, unless all of it is numbers; but {reason}.")


def _body(names: tuple[str, ...], columns: Columns) -> Body:
    """What turns a row of these columns into JSON."""
    as_object = partial(_object_body, keys=tuple(f"{_as_text(name)}:" for name in names), names=names)
    if columns.otherwise == OBJECT or (columns.inputs and set(columns.inputs) <= set(names)):
        return as_object
    if columns.otherwise == NUMBERS:
        return partial(_list_body, names=names, count=len(names))
    return lambda cells: f"[{as_object(cells)}]"


def _object_body(cells: list[str], *, keys: tuple[str, ...], names: tuple[str, ...]) -> str:
    _check_count(cells, len(names))
    values = (
        cells
        if _are_numbers(cells, ",".join(cells))
        else [_json_cell(cell, names[at]) for at, cell in enumerate(cells)]
    )
    return "{" + ",".join(map(str.__add__, keys, values)) + "}"


def _list_body(cells: list[str], *, names: tuple[str, ...] | None, count: int) -> str:
    _check_count(cells, count)
    text = ",".join(cells)
    return f"[{text}]" if _are_numbers(cells, text) else f"[{','.join(_numbers(cells, names))}]"


def _numbers(cells: list[str], names: tuple[str, ...] | None) -> Iterator[str]:
    for at, cell in enumerate(cells):
        column = names[at] if names else str(at + 1)
        value = _json_cell(cell, column)
        if value.startswith('"'):
            raise InputMismatch(f"column {column} is {_shown(cell)}, which is no number")
        yield value


def _are_numbers(cells: list[str], joined: str) -> bool:
    """Whether all cells are numbers as JSON writes them."""
    if not _OF_DIGITS.fullmatch(joined):
        return False
    try:
        # A cell may hold commas itself.
        return len(json.loads(f"[{joined}]")) == len(cells)
    except ValueError:
        return False


def _check_count(cells: list[str], count: int) -> None:
    if len(cells) != count:
        raise InputMismatch(f"it has {len(cells)} columns, and the first line has {count}")


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip()) is not None


def _json_cell(cell: str, column: str) -> str:
    number = _NUMBER.fullmatch(cell.strip())
    if number:
        sign, whole, fraction, bare_fraction, exponent = number.groups(default="")
        digits = fraction or bare_fraction
        return f"{sign.strip('+')}{whole or '0'}{'.' if digits else ''}{digits}{exponent}"
    if _NOT_FINITE.fullmatch(cell.strip()):
        raise InputMismatch(f"column {column} is {cell.strip()}, which is no number that a model takes")
    return _as_text(cell)


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else f"{cell[:40]}…")


class _LineTooLong(Exception):
    """A record that is not held."""


def _records(reading: Reading, begin: int, delimiter: str) -> Iterator[Record]:
    """The records from byte ``begin`` on. One that does not parse costs its first line alone: the next line begins another."""
    reading.source.seek(begin)
    longest = reading.limits.row_bytes
    lines = without_last_blanks(read_lines(reading.source, start=begin, longest=longest))
    waiting: deque[Line] = deque()
    while waiting or (line := next(lines, None)) is not None:
        if not waiting and line is not None:
            waiting.append(line)
        yield _record(waiting, lines, delimiter, longest)


def _record(waiting: deque[Line], lines: Iterator[Line], delimiter: str, longest: int) -> Record:
    """The next record; ``waiting`` are the lines before ``lines``, at least one of them."""
    import csv  # lazy: only CSV needs it

    taken: list[Line] = []
    try:
        # The reader takes no more lines than the record has.
        cells = next(csv.reader(_texts(waiting, lines, taken, longest), delimiter=delimiter, strict=True))
        return Record(cells, taken[-1].end)
    except (csv.Error, MalformedBody, _LineTooLong) as error:
        waiting.extendleft(reversed(taken[1:]))
        return Record([], taken[0].end, _fault(error, taken, longest))


def _texts(waiting: deque[Line], lines: Iterator[Line], taken: list[Line], longest: int) -> Iterator[str]:
    held = 0
    while (line := waiting.popleft() if waiting else next(lines, None)) is not None:
        taken.append(line)
        held += longest + 1 if line.content is None else len(line.content)
        if line.content is None or held > longest:
            raise _LineTooLong
        # Texts end their lines with \r\n where the file does.
        yield decoded(line.content, called="it") + "\n"


def _fault(error: Exception, taken: list[Line], longest: int) -> RequestError:
    if taken[0].content is None:
        return PayloadTooLarge(f"it is longer than the {longest:,} bytes that a row may have")
    if isinstance(error, MalformedBody) and len(taken) == 1:
        return error
    if len(taken) > 1:
        return MalformedBody("it opens a quote that is not closed as CSV has it")
    return MalformedBody(f"it is not CSV: {error}")
