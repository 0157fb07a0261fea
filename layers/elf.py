"""Reads what a shared library asks of the system's loader, and cuts out what the loader never reads.

ELF-64, little-endian: System V ABI, chapters 4 and 5; symbol versions: Linux Standard Base, "Symbol Versioning".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEADER_SIZE = 64
_PROGRAM_HEADERS_AT = 32
_SECTION_HEADERS_AT = 40
_COUNTS_AT = 54  # e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRTAB, _SONAME, _RPATH, _RUNPATH, _VERNEED, _VERNEEDNUM = 1, 5, 14, 15, 29, 0x6FFFFFFE, 0x6FFFFFFF
# The loader maps whole pages.
_PAGE = 4096


class Segment(NamedTuple):
    """A program header's fields that matter here (Elf64_Phdr)."""

    kind: int
    offset: int
    address: int
    size: int
    alignment: int
    header_at: int


class Demands(NamedTuple):
    """What a library asks of the loader.

    Attributes:
        name: Its own (DT_SONAME), or None.
        needed: Names of the libraries that it needs.
        rpath: Folders to look in for what it, and whatever it loads, needs (DT_RPATH), as they stand there.
        runpath: Folders to look in for what it alone needs (DT_RUNPATH).
        versions: For each needed library the symbol versions that must be in it.
    """

    name: str | None
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    versions: dict[str, frozenset[str]]


def is_elf(path: Path) -> bool:
    """Whether the file is an ELF file."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def demands(path: Path) -> Demands:
    """Read a library's demands."""
    content = path.read_bytes()
    segments = list(_segments(content))
    entries = list(_dynamic_entries(content, segments))
    strings = _file_offset(next(value for tag, value in entries if tag == _STRTAB), segments)

    def text(tag: int) -> tuple[str, ...]:
        return tuple(_string(content, strings + value) for key, value in entries if key == tag)

    def folders(tag: int) -> tuple[str, ...]:
        return tuple(folder for paths in text(tag) for folder in paths.split(":"))

    versions = dict(_versions(content, segments, dict(entries), strings))
    return Demands(next(iter(text(_SONAME)), None), text(_NEEDED), folders(_RPATH), folders(_RUNPATH), versions)


def without_needed(content: bytes, name: str) -> bytes:
    """The library without its demand (DT_NEEDED) for another one, from which it must take nothing."""
    segments = list(_segments(content))
    entries = list(_dynamic_entries(content, segments))
    strings = _file_offset(next(value for tag, value in entries if tag == _STRTAB), segments)
    kept = [(tag, value) for tag, value in entries if tag != _NEEDED or _string(content, strings + value) != name]
    kept += [(0, 0)] * (len(entries) - len(kept))
    at = next(each.offset for each in segments if each.kind == _DYNAMIC)
    table = b"".join(struct.pack("<QQ", *entry) for entry in kept)
    return content[:at] + table + content[at + len(table) :]


def cut_unloaded(content: bytes) -> bytes:
    """The library without what no program header names: symbols for debuggers, and the table of sections.

    What follows a gap moves forward, each segment by a multiple of its alignment, which the loader insists on; addresses stay as they are.
    """
    segments = list(_segments(content))
    kept = _extents(content, segments)
    result = bytearray()
    moves: dict[int, int] = {}
    for start, end in kept:
        step = max([_PAGE, *(each.alignment for each in segments if each.kind == _LOAD and start <= each.offset < end)])
        new_start = start - (start - len(result)) // step * step
        result.extend(bytes(new_start - len(result)))
        moves[start] = start - new_start
        result.extend(content[start:end])
    _relocate(result, content, segments, moves)
    return bytes(result) if len(content) - len(result) >= _PAGE else content


def _extents(content: bytes, segments: list[Segment]) -> list[tuple[int, int]]:
    """Where the file is read: the loaded segments, the headers; those that touch or overlap are one."""
    extents: list[tuple[int, int]] = []
    headers_at, size, count = _program_headers(content)
    parts = [(each.offset, each.offset + each.size) for each in segments if each.size]
    for start, end in sorted([(0, _HEADER_SIZE), (headers_at, headers_at + size * count), *parts]):
        if extents and start < extents[-1][1] + _PAGE:
            extents[-1] = (extents[-1][0], max(end, extents[-1][1]))
        else:
            extents.append((start, end))
    return extents


def _relocate(result: bytearray, content: bytes, segments: list[Segment], moves: dict[int, int]) -> None:
    """Write the new offsets, and that there are no sections."""

    def moved(offset: int) -> int:
        return offset - next((by for start, by in reversed(moves.items()) if start <= offset), 0)

    headers_at, _, _ = _program_headers(content)
    struct.pack_into("<Q", result, _PROGRAM_HEADERS_AT, moved(headers_at))
    struct.pack_into("<Q", result, _SECTION_HEADERS_AT, 0)
    struct.pack_into("<HH", result, _COUNTS_AT + 6, 0, 0)
    for each in segments:
        if each.size:
            struct.pack_into("<Q", result, moved(each.header_at) + 8, moved(each.offset))


def _program_headers(content: bytes) -> tuple[int, int, int]:
    """Where they are, the size of one, and how many."""
    (offset,) = struct.unpack_from("<Q", content, _PROGRAM_HEADERS_AT)
    size, count = struct.unpack_from("<HH", content, _COUNTS_AT)
    return offset, size, count


def _segments(content: bytes) -> Iterator[Segment]:
    headers_at, header_size, count = _program_headers(content)
    for header_at in range(headers_at, headers_at + header_size * count, header_size):
        kind, _, offset, address, _, size, _, alignment = struct.unpack_from("<IIQQQQQQ", content, header_at)
        yield Segment(kind, offset, address, size, alignment, header_at)


def _dynamic_entries(content: bytes, segments: list[Segment]) -> Iterator[tuple[int, int]]:
    dynamic = next(each for each in segments if each.kind == _DYNAMIC)
    for position in range(dynamic.offset, dynamic.offset + dynamic.size, 16):
        tag, value = struct.unpack_from("<QQ", content, position)
        if tag == 0:
            return
        yield tag, value


def _file_offset(address: int, segments: list[Segment]) -> int:
    return next(
        each.offset + address - each.address
        for each in segments
        if each.kind == _LOAD and each.address <= address < each.address + each.size
    )


def _string(content: bytes, position: int) -> str:
    return content[position : content.index(b"\0", position)].decode()


def _versions(
    content: bytes, segments: list[Segment], entries: dict[int, int], strings: int
) -> Iterator[tuple[str, frozenset[str]]]:
    """Elf64_Verneed and its chain of Elf64_Vernaux, for each library."""
    if _VERNEED not in entries:
        return
    position = _file_offset(entries[_VERNEED], segments)
    for _ in range(entries[_VERNEEDNUM]):
        _, count, library, first, following = struct.unpack_from("<HHIII", content, position)
        names, at = set(), position + first
        for _ in range(count):
            _, _, _, name, step = struct.unpack_from("<IHHII", content, at)
            names.add(_string(content, strings + name))
            at += step
        yield _string(content, strings + library), frozenset(names)
        position += following
