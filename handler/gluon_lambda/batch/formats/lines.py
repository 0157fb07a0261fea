"""Lines of text of any length, of which no more is held than is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gluon_lambda.batch.formats.rows import Source
from gluon_lambda.errors import MalformedBody

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A byte order mark of UTF-16 or UTF-32, which Windows calls Unicode.
WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")

BLANKS = b" \t\r\n"
CHUNK_BYTES = 256 << 10
# How much of a run of blank lines is held until it is known whether anything follows.
_BLANKS_HELD = 1000
_BLANK_BYTES = 80


class Line(NamedTuple):
    """One line.

    Attributes:
        content: Without its line feed; None where it is longer than is accepted.
        end: Where the next line begins, in bytes.
    """

    content: bytes | None
    end: int


def read_lines(source: Source, *, start: int, longest: int) -> Iterator[Line]:
    """Every line from byte ``start`` on, where ``source`` stands; of one that is longer than ``longest`` bytes only the end is looked for."""
    pieces: list[bytes] = []
    held, position = 0, start
    while chunk := source.read(CHUNK_BYTES):
        begin = 0
        while (feed := chunk.find(b"\n", begin)) >= 0:
            pieces.append(chunk[begin:feed])
            held += feed - begin
            position += held + 1
            yield Line(None if held > longest else _joined(pieces, is_first=position - held == 1), position)
            pieces, held, begin = [], 0, feed + 1
        held += len(chunk) - begin
        pieces = [] if held > longest else [*pieces, chunk[begin:]]
    if held:
        content = None if held > longest else _joined(pieces, is_first=position == 0)
        yield Line(content, position + held)


def _joined(pieces: list[bytes], *, is_first: bool) -> bytes:
    line = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return line.removeprefix(BYTE_ORDER_MARK) if is_first else line


def without_last_blanks(lines: Iterator[Line]) -> Iterator[Line]:
    """The lines without the blank ones at the end of the object: those are rows of no one's."""
    held: list[Line] = []
    more = 0
    for line in lines:
        if not is_blank(line):
            yield from held
            # Nobody counts on where each of a thousand blank lines ends, so these can only be come to from the start.
            yield from (Line(b"", 0) for _ in range(more))
            held, more = [], 0
            yield line
        elif len(held) < _BLANKS_HELD:
            held.append(line)
        else:
            more += 1


def is_blank(line: Line) -> bool:
    """Whether there is nothing in the line but blanks; one of thousands of blanks is not taken for blank, since blank ones are held."""
    return line.content is not None and len(line.content) < _BLANK_BYTES and not line.content.strip(BLANKS)


def decoded(content: bytes, *, called: str) -> str:
    """UTF-8 as text.

    Raises:
        MalformedBody: It is not UTF-8; says what is not, by ``called``, and where.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise MalformedBody(f"{called} is not UTF-8: byte {error.start + 1} is 0x{content[error.start]:02x}") from error
