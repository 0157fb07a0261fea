"""What all formats share: where reading begins, how much of an object is held at a time, and how a row at fault is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from gluon_lambda.batch_records import Row
from gluon_lambda.errors import RequestError
from gluon_lambda.types import Payload


class Source(Protocol):
    """What rows are read from: the object, or what is in its gzip."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; none at the end."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go on reading at ``offset``, in bytes from the start (``whence`` 0) or from the end (2); says where that is."""
        ...


class Start(NamedTuple):
    """Where reading begins.

    Attributes:
        row: The first row that is wanted.
        offset: Where it begins in the object, in bytes; 0 where that is not known, so that the rows before it are read over.
    """

    row: int = 0
    offset: int = 0


class Limits(NamedTuple):
    """How much is held in memory for one row.

    Attributes:
        row_bytes: A JSON value, a CSV row, an entry of an array.
        file_bytes: A file: an image, or a member of a zip or tar, unpacked.
        ratio: Unpacked to packed size of a member;
        ratio_from_bytes: but up to this unpacked size any ratio goes, since a blank BMP is packed a thousandfold.
    """

    row_bytes: int = 16 << 20
    file_bytes: int = 64 << 20
    ratio: int = 200
    ratio_from_bytes: int = 16 << 20


class Reading(NamedTuple):
    """One reading of an object.

    Attributes:
        source: Its content, inflated; at the start.
        where: What to call it in errors.
        start: Where to begin.
        limits: How much may be held.
        is_inflated: Whether ``source`` is what a gzip holds, so that no offset in it is one in the object.
    """

    source: Source
    where: str
    start: Start
    limits: Limits
    is_inflated: bool = False

    def offset(self, position: int) -> int:
        """What a row says of where the next one begins."""
        return 0 if self.is_inflated else position


def made(number: int, make: Callable[[], Payload], *, name: str = "", offset: int = 0) -> Row:
    """The row that ``make`` gives; where it raises a RequestError, one with that error."""
    try:
        return Row(number, make(), None, name, offset)
    except RequestError as error:
        return at_fault(number, error, name=name, offset=offset)


def at_fault(number: int, error: RequestError, *, name: str = "", offset: int = 0) -> Row:
    """A row with an error."""
    # Traceback and cause hold what was being read, which may be megabytes for each row of a batch.
    error.__cause__ = error.__context__ = None
    return Row(number, None, error.with_traceback(None), name, offset)


def read_fully(source: Source, size: int) -> bytes:
    """The next ``size`` bytes; fewer where the source ends before."""
    first = source.read(size)
    if len(first) == size or not first:
        return first
    pieces, missing = [first], size - len(first)
    while missing and (piece := source.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
