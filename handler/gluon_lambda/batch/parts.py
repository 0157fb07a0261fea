"""The names of parts, and which of them make up the most of an object's work.

A part's name says all that has to be known of it: ``<first row>-<row after the last>-<offset>-<failed>.results``, where offset is where
in the input the row after the last begins, and failed is how many of the lines tell of errors. So one listing shows what is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from gluon_lambda.batch.objects import Listed

_PART = re.compile(r"([0-9]{12,})-([0-9]{12,})-([0-9a-f]+)-([0-9]+)\.results")
_END = re.compile(r"([0-9]{12,})\.(end|refused)")


class Part(NamedTuple):
    """Lines of some rows that follow one another, as one object.

    Attributes:
        start: The first row.
        end: The row after the last.
        offset: Where in the input row ``end`` begins, in bytes; 0 where reading can only begin at the start.
        failed: How many of the lines tell of errors.
        size: In bytes.
    """

    start: int
    end: int
    offset: int
    failed: int
    size: int

    @property
    def name(self) -> str:
        """The last part of its key."""
        return f"{self.start:012d}-{self.end:012d}-{self.offset:x}-{self.failed}.results"


class Stored(NamedTuple):
    """What lies there of an object's work.

    Attributes:
        parts: Parts that follow one another from row 0 on, as far as any of them reach.
        complete: Whether no row comes after them.
        refused: Whether that is because the object cannot be read any further, as the last line says.
    """

    parts: tuple[Part, ...] = ()
    complete: bool = False
    refused: bool = False


def end_name(rows: int, *, refused: bool = False) -> str:
    """The name of the object that says how many rows there are, and whether the last one says that the object cannot be read any further."""
    return f"{rows:012d}.{'refused' if refused else 'end'}"


def stored_parts(listed: Iterable[Listed]) -> Stored:
    """What a listing shows; names of other forms are left alone."""
    names = [(entry.key.rpartition("/")[2], entry.size) for entry in listed]
    parts = farthest_chain(part for name, size in names if (part := _part(name, size)) is not None)
    ends = {int(mark[1]): mark[2] for name, _ in names if (mark := _END.fullmatch(name)) is not None}
    end = ends.get(parts[-1].end if parts else 0)
    return Stored(parts, complete=end is not None, refused=end == "refused")


def _part(name: str, size: int) -> Part | None:
    found = _PART.fullmatch(name)
    if found is None:
        return None
    start, end, offset, failed = found.groups()
    part = Part(int(start), int(end), int(offset, 16), int(failed), size)
    return part if part.end > part.start else None


def farthest_chain(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts that follow one another from row 0 on and reach farthest; long ones and few errors count where several do.

    Runs that work on one object at the same time leave parts that overlap. What comes to these never makes the chain shorter, so that no
    run finds less done than one before it.
    """
    best: dict[int, tuple[int, Part]] = {}
    # From the back: how far a part leads is known before those that lead to it are looked at.
    for part in sorted(parts, key=lambda part: (-part.start, part.end, -part.failed, part.offset)):
        reach = best[part.end][0] if part.end in best else part.end
        if part.start not in best or reach >= best[part.start][0]:
            best[part.start] = (reach, part)
    chain: list[Part] = []
    row = 0
    while row in best:
        chain.append(best[row][1])
        row = chain[-1].end
    return tuple(chain)
