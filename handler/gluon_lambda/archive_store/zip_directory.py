"""A minimal zip reader over a memory map (PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3).

The standard zipfile costs 7 ms to import, does not look for overlapping members, and cannot hand out a stored member
without copying it. This one parses the central directory, holds every member against its local header, and reads
members in place.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from gluon_lambda.archive_store.members import Limits, check_count, check_mode, check_name, check_sizes
from gluon_lambda.errors import ArchiveCorrupt, ArchiveRejected

LOCAL_MAGIC = b"PK\x03\x04"
# An archive without members starts with its end.
END_MAGIC = b"PK\x05\x06"

STORED = 0
DEFLATED = 8

# signature, version made by, system, version needed (2), flags, method, time, date, crc, packed, size, name length,
# extra length, comment length, disk, internal and external attributes, offset
CENTRAL = struct.Struct("<4s4B4H3L5H2L")
# signature, version needed, flags, method, time, date, crc, packed, size, name length, extra length
LOCAL = struct.Struct("<4s5H3L2H")
# signature, disk, directory's disk, entries here, entries, directory's size and offset, comment length
END = struct.Struct("<4s4H2LH")
# signature, disk, offset of the zip64 end, disks
END64_LOCATOR = struct.Struct("<4sLQL")
# signature, size, version made by, version needed, disk, directory's disk, entries here, entries, directory's size, offset
END64 = struct.Struct("<4sQ2H2L4Q")

LARGEST_COMMENT = 0xFFFF
IN_ZIP64_16 = 0xFFFF
IN_ZIP64_32 = 0xFFFFFFFF
ZIP64_EXTRA = 1

ENCRYPTED = 0x1 | 0x40 | 0x2000
SIZES_FOLLOW = 0x8
# Deflate's own bound: no stream unpacks to more.
DEFLATE_RATIO = 1032

CHUNK_BYTES = 1 << 20
# Small, because what the inflater has not consumed is copied at each step.
PACKED_CHUNK_BYTES = 1 << 16


class ZipMember(NamedTuple):
    """One file or folder of a zip.

    Attributes:
        name: As stored; a folder's ends with ``/``.
        method: 0 stored, 8 deflated.
        crc: CRC-32 of the content.
        packed: Bytes in the archive.
        size: Bytes unpacked.
        header: Where its local header starts.
        start: Where its content starts.
    """

    name: str
    method: int
    crc: int
    packed: int
    size: int
    header: int
    start: int = 0


class Directory(NamedTuple):
    """Where the central directory lies: offset and size in bytes, and its number of entries."""

    offset: int
    size: int
    entries: int


def read_directory(view: memoryview, *, where: str, limits: Limits) -> tuple[ZipMember, ...]:
    """Read and verify what a zip says is in it. No content is unpacked.

    Args:
        view: The whole archive.
        where: The archive, for errors.
        limits: How large it may grow.

    Returns:
        Its files; folders are left out, since a file's own name says in which folder it lies.

    Raises:
        ArchiveCorrupt: Truncated, garbled, or its two accounts of itself differ.
        ArchiveRejected: A member's name, kind, encryption or size is not accepted.
    """
    try:
        directory = find_directory(view, where=where)
        check_count(directory.entries, where=where, limits=limits)
        members = [place(view, member, where=where) for member in central_entries(view, directory, where=where)]
    except struct.error as error:
        raise ArchiveCorrupt(f"{where}: its zip directory is cut short or garbled. Fetch or pack it again.") from error
    refuse_overlaps(members, directory.offset, where=where)
    check_sizes(sum(member.size for member in members), len(view), where=where, limits=limits)
    return tuple(member for member in members if not member.name.endswith("/"))


def find_directory(view: memoryview, *, where: str) -> Directory:
    """Find the central directory from the end of the archive."""
    tail_start = max(0, len(view) - END.size - LARGEST_COMMENT)
    position = tail_start + bytes(view[tail_start:]).rfind(END_MAGIC)
    if position < tail_start:
        raise ArchiveCorrupt(
            f"{where}: it has no zip directory at its end, so it was cut short. Fetch or pack it again."
        )
    _, _, _, _, entries, size, offset, comment = END.unpack_from(view, position)
    directory = Directory(offset, size, entries)
    if entries == IN_ZIP64_16 or IN_ZIP64_32 in (size, offset):
        position, directory = find_directory_64(view, position, where=where)
    elif position + END.size + comment != len(view):
        raise ArchiveCorrupt(f"{where}: something follows its zip directory. Fetch or pack it again.")
    if directory.offset + directory.size != position:
        raise ArchiveCorrupt(f"{where}: its zip directory is not where its end says. Fetch or pack it again.")
    return directory


def find_directory_64(view: memoryview, end: int, *, where: str) -> tuple[int, Directory]:
    """Where a zip64 directory's end record lies, and what it says (for archives of 4 GiB, or 65,535 members)."""
    if end < END64_LOCATOR.size:
        raise ArchiveCorrupt(f"{where}: its zip64 directory is missing. Fetch or pack it again.")
    magic, _, position, _ = END64_LOCATOR.unpack_from(view, end - END64_LOCATOR.size)
    if magic != b"PK\x06\x07" or position > end - END64_LOCATOR.size - END64.size:
        raise ArchiveCorrupt(f"{where}: its zip64 directory is missing. Fetch or pack it again.")
    magic, _, _, _, _, _, _, entries, size, offset = END64.unpack_from(view, position)
    if magic != b"PK\x06\x06":
        raise ArchiveCorrupt(f"{where}: its zip64 directory is garbled. Fetch or pack it again.")
    return position, Directory(offset, size, entries)


def central_entries(view: memoryview, directory: Directory, *, where: str) -> Iterator[ZipMember]:
    """Each entry of the central directory, its name, kind and method checked."""
    position, count = directory.offset, 0
    while position < directory.offset + directory.size:
        fields = CENTRAL.unpack_from(view, position)
        name_end = position + CENTRAL.size + fields[12]
        extra_end = name_end + fields[13]
        if fields[0] != b"PK\x01\x02" or extra_end + fields[14] > directory.offset + directory.size:
            raise ArchiveCorrupt(f"{where}: entry {count} of its zip directory is garbled. Fetch or pack it again.")
        name = decode_name(bytes(view[position + CENTRAL.size : name_end]))
        check_entry(name, flags=fields[5], method=fields[6], mode=fields[17] >> 16, where=where)
        size, packed, header = widen(fields[11], fields[10], fields[18], extra=bytes(view[name_end:extra_end]))
        yield ZipMember(name, fields[6], fields[9], packed, size, header)
        position, count = extra_end + fields[14], count + 1
    if count != directory.entries:
        raise ArchiveCorrupt(f"{where}: it says {directory.entries} members and lists {count}. Fetch or pack it again.")


def decode_name(raw: bytes) -> str:
    """A member's name. Info-ZIP writes UTF-8 without the flag that says so; what is no UTF-8 is DOS's code page."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


def check_entry(name: str, *, flags: int, method: int, mode: int, where: str) -> None:
    """Refuse what is not served: unsafe names, links, encryption, other compression."""
    check_name(name, where=where)
    check_mode(mode, name, where=where)
    if flags & ENCRYPTED:
        raise ArchiveRejected(f"{where}: the member {name!r} is encrypted. Pack the archive without a password.")
    if method not in (STORED, DEFLATED):
        raise ArchiveRejected(
            f"{where}: the member {name!r} is compressed with zip method {method}. Pack it stored or deflated."
        )


def widen(*values: int, extra: bytes) -> Iterator[int]:
    """Size, packed size and offset, those that do not fit 32 bits taken from the zip64 field in this order."""
    wide = iter(zip64_values(extra))
    return iter([next(wide, IN_ZIP64_32) if value == IN_ZIP64_32 else value for value in values])


def zip64_values(extra: bytes) -> tuple[int, ...]:
    """The 64-bit numbers of an entry's zip64 extra field."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        body = extra[position + 4 : position + 4 + length]
        if kind == ZIP64_EXTRA:
            return struct.unpack(f"<{len(body) // 8}Q", body[: len(body) // 8 * 8])
        position += 4 + length
    return ()


def place(view: memoryview, member: ZipMember, *, where: str) -> ZipMember:
    """The member with the start of its content, its local header held against the directory."""
    magic, _, flags, method, _, _, crc, packed, size, name_length, extra_length = LOCAL.unpack_from(view, member.header)
    name_start = member.header + LOCAL.size
    name = decode_name(bytes(view[name_start : name_start + name_length]))
    differs = magic != LOCAL_MAGIC or name != member.name or method != member.method or flags & ENCRYPTED
    if not flags & SIZES_FOLLOW:
        differs = differs or crc != member.crc or size not in (member.size, IN_ZIP64_32)
        differs = differs or packed not in (member.packed, IN_ZIP64_32)
    if differs or is_impossible(member):
        raise ArchiveCorrupt(
            f"{where}: the member {member.name!r} is not what the zip directory says (name, size or checksum). "
            "Fetch or pack it again."
        )
    return member._replace(start=name_start + name_length + extra_length)


def is_impossible(member: ZipMember) -> bool:
    """Whether a member's two sizes contradict its method."""
    if member.method == STORED:
        return member.size != member.packed
    return member.size > DEFLATE_RATIO * member.packed


def refuse_overlaps(members: list[ZipMember], directory_offset: int, *, where: str) -> None:
    """Refuse members that share bytes, as quadratic zip bombs do, or that reach into the directory."""
    spans = sorted((member.header, member.start + member.packed, member.name) for member in members)
    for (_, end, name), (following, _, _) in pairwise([*spans, (directory_offset, 0, "")]):
        if end > following:
            raise ArchiveRejected(
                f"{where}: the member {name!r} overlaps what follows it, as zip bombs do. Pack the archive again."
            )


def member_chunks(view: memoryview, member: ZipMember, *, where: str) -> Iterator[bytes | memoryview]:
    """A member's content in pieces, its size and checksum verified after the last one.

    Raises:
        ArchiveCorrupt: The content does not unpack, or is not what the directory says.
    """
    content = view[member.start : member.start + member.packed]
    chunks = stored_chunks(content) if member.method == STORED else inflated_chunks(content, member, where=where)
    crc = size = 0
    for chunk in chunks:
        crc = zlib.crc32(chunk, crc)
        size += len(chunk)
        if size > member.size:
            break
        yield chunk
    if size != member.size or crc != member.crc:
        raise ArchiveCorrupt(damaged(member, where=where))


def stored_chunks(content: memoryview) -> Iterator[memoryview]:
    """A stored member's content in pieces, without a copy."""
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]


def inflated_chunks(content: memoryview, member: ZipMember, *, where: str) -> Iterator[bytes]:
    """A deflated member's content in pieces; never more than a piece is in memory."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for start in range(0, len(content), PACKED_CHUNK_BYTES):
            pending: bytes | memoryview = content[start : start + PACKED_CHUNK_BYTES]
            while pending and not inflater.eof:
                yield inflater.decompress(pending, CHUNK_BYTES)
                pending = inflater.unconsumed_tail
        yield inflater.flush()
    except zlib.error as error:
        raise ArchiveCorrupt(damaged(member, where=where)) from error
    if not inflater.eof or inflater.unused_data:
        raise ArchiveCorrupt(damaged(member, where=where))


def damaged(member: ZipMember, *, where: str) -> str:
    """Say that a member's content is not what was packed."""
    return f"{where}: the member {member.name!r} is damaged (its size or checksum is wrong). Fetch or pack it again."


def member_buffer(view: memoryview, member: ZipMember, *, where: str) -> memoryview:
    """A member's content, verified: a stored member's in place, a deflated one's unpacked in memory.

    Raises:
        ArchiveCorrupt: The content does not unpack, or is not what the directory says.
    """
    if member.method == STORED:
        for _ in member_chunks(view, member, where=where):
            pass
        return view[member.start : member.start + member.size]
    return memoryview(b"".join(member_chunks(view, member, where=where)))
