"""The members of a zip that is read by ranges: its directory a piece at a time, then a member at a time.

The records and checks are those of ``archive_store.zip_directory``, which wants the whole zip in memory. Here a member that is not accepted is a
row's error, and no list of the members is held.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from gluon_lambda.archive_store import zip_directory as zips
from gluon_lambda.batch.formats.member_sizes import check_size
from gluon_lambda.batch.formats.rows import Reading, Source, read_fully
from gluon_lambda.errors import ArchiveCorrupt, ArchiveRejected, InputMismatch, MalformedBody, ObjectRefused

_CHUNK_BYTES = 1 << 20
# An entry of the directory with a name, an extra field and a comment of the largest size.
_LARGEST_ENTRY = zips.CENTRAL.size + 3 * 0xFFFF


class Member(NamedTuple):
    """One member.

    Attributes:
        name: As stored; a folder's ends with ``/``.
        facts: What the directory says of it.
        refusal: Why it is not accepted, or ``""``.
    """

    name: str
    facts: zips.ZipMember
    refusal: str


class MemberStream:
    """A member's content as it is unpacked (``rows.Source``); others may read the zip in between."""

    def __init__(self, source: Source, member: zips.ZipMember) -> None:
        """Unpack ``member``, whose place in ``source`` is known."""
        self._source = source
        self._member = member
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == zips.DEFLATED else None
        self._taken = self._position = self._crc = 0

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; none at the end.

        Raises:
            ArchiveCorrupt: It does not unpack, or its size or checksum is not what the directory says.
        """
        if not size:
            return b""
        content = self._packed(size) if self._inflater is None else self._inflate(self._inflater, size)
        self._position += len(content)
        self._crc = zlib.crc32(content, self._crc)
        is_whole = self._position == self._member.size and self._crc == self._member.crc
        if self._position > self._member.size or (not content and not is_whole):
            raise ArchiveCorrupt(zips.damaged(self._member, where="The zip"))
        return content

    def seek(self, offset: int, _whence: int = 0, /) -> int:
        """Go on at ``offset``, which cannot lie behind."""
        while self._position < offset and self.read(min(_CHUNK_BYTES, offset - self._position)):
            pass
        return self._position

    def _packed(self, size: int) -> bytes:
        self._source.seek(self._member.start + self._taken)
        packed = self._source.read(min(size, _CHUNK_BYTES, self._member.packed - self._taken))
        self._taken += len(packed)
        return packed

    def _inflate(self, inflater: zlib._Decompress, size: int) -> bytes:
        try:
            while not inflater.eof:
                pending = inflater.unconsumed_tail or self._packed(zips.PACKED_CHUNK_BYTES)
                if content := inflater.decompress(pending, size):
                    return content
                if not pending:
                    break
        except zlib.error as error:
            raise ArchiveCorrupt(zips.damaged(self._member, where="The zip")) from error
        return b""


def members(reading: Reading) -> Iterator[Member]:
    """Every member and folder, in the directory's order.

    Raises:
        ObjectRefused: The zip is cut short or garbled, or its members share bytes.
    """
    size = reading.source.seek(0, 2)
    packed = 0
    try:
        for member in _entries(reading.source, _directory(reading.source, size)):
            packed += member.facts.packed
            if packed > size:
                raise ObjectRefused(f"{reading.where}: the zip's members overlap, as zip bombs do. Pack it again.")
            yield member
    except (struct.error, ArchiveCorrupt) as error:
        raise ObjectRefused(f"{reading.where}: the zip is cut short or garbled: {error}") from error


def content(reading: Reading, member: Member) -> bytes:
    """A member's bytes, verified.

    Raises:
        InputMismatch: Its name, kind, compression or encryption is not accepted.
        PayloadTooLarge: It is too large, or packed like a bomb.
        MalformedBody: It is damaged.
    """
    if member.refusal:
        raise InputMismatch(member.refusal)
    check_size(member.facts.size, member.facts.packed, reading.limits)
    try:
        stream = MemberStream(reading.source, _placed(reading.source, member.facts))
        unpacked = read_fully(stream, member.facts.size)
        stream.read(1)  # past the end: size and checksum are held against the directory
    except ArchiveCorrupt as error:
        raise MalformedBody(str(error)) from error
    return unpacked


def arrays(reading: Reading) -> Iterator[tuple[str, MemberStream]]:
    """The members of a ``.npz``, ``NAME.npy`` each, and what reads them.

    Raises:
        ObjectRefused: The zip is damaged, or holds anything else.
        ArchiveCorrupt: A member is not where the directory says.
    """
    for member in members(reading):
        if member.refusal or not member.name.endswith(".npy"):
            raise ObjectRefused(
                f"{reading.where}: the member {member.name!r} is no array as numpy.savez writes them. {member.refusal}".rstrip()
            )
        yield member.name, MemberStream(reading.source, _placed(reading.source, member.facts))


def _directory(source: Source, size: int) -> zips.Directory:
    """Where the directory lies, from what stands at the zip's end."""
    begin = max(0, size - zips.END.size - zips.LARGEST_COMMENT)
    tail = _read_at(source, begin, size - begin)
    at = tail.rfind(zips.END_MAGIC)
    if at < 0:
        raise ArchiveCorrupt("it has no directory at its end")
    _, _, _, _, entries, length, offset, comment = zips.END.unpack_from(tail, at)
    directory, end = zips.Directory(offset, length, entries), begin + at
    if entries == zips.IN_ZIP64_16 or zips.IN_ZIP64_32 in (length, offset):
        end, directory = _directory_64(source, end)
    elif end + zips.END.size + comment != size:
        raise ArchiveCorrupt("something follows its directory")
    if directory.offset + directory.size != end:
        raise ArchiveCorrupt("its directory is not where its end says")
    return directory


def _directory_64(source: Source, end: int) -> tuple[int, zips.Directory]:
    locator = _read_at(source, max(0, end - zips.END64_LOCATOR.size), zips.END64_LOCATOR.size)
    magic, _, position, _ = zips.END64_LOCATOR.unpack(locator)
    if magic != b"PK\x06\x07" or position > end:
        raise ArchiveCorrupt("its zip64 directory is missing")
    magic, *_, entries, length, offset = zips.END64.unpack(_read_at(source, position, zips.END64.size))
    if magic != b"PK\x06\x06":
        raise ArchiveCorrupt("its zip64 directory is garbled")
    return position, zips.Directory(offset, length, entries)


def _entries(source: Source, directory: zips.Directory) -> Iterator[Member]:
    position, end, count = directory.offset, directory.offset + directory.size, 0
    piece, at = b"", 0
    while at < len(piece) or position < end:
        if len(piece) - at < _LARGEST_ENTRY and position < end:
            more = _read_at(source, position, min(_CHUNK_BYTES, end - position))
            piece, at, position = piece[at:] + more, 0, position + len(more)
        member, at = _entry(piece, at)
        count += 1
        yield member
    if count != directory.entries:
        raise ArchiveCorrupt(f"it says {directory.entries} members and lists {count}")


def _entry(piece: bytes, at: int) -> tuple[Member, int]:
    """The directory's entry at ``at``, and where the next one begins."""
    fields = zips.CENTRAL.unpack_from(piece, at)
    name_begin = at + zips.CENTRAL.size
    name_end = name_begin + fields[12]
    extra_end = name_end + fields[13]
    after = extra_end + fields[14]
    if fields[0] != b"PK\x01\x02" or after > len(piece):
        raise ArchiveCorrupt("an entry of its directory is garbled")
    name = zips.decode_name(piece[name_begin:name_end])
    size, packed, header = zips.widen(fields[11], fields[10], fields[18], extra=piece[name_end:extra_end])
    facts = zips.ZipMember(name, fields[6], fields[9], packed, size, header)
    return Member(name, facts, _refusal(name, flags=fields[5], method=fields[6], mode=fields[17] >> 16)), after


def _refusal(name: str, *, flags: int, method: int, mode: int) -> str:
    try:
        zips.check_entry(name, flags=flags, method=method, mode=mode, where="The zip")
    except ArchiveRejected as error:
        return str(error)
    return ""


def _placed(source: Source, member: zips.ZipMember) -> zips.ZipMember:
    """The member with the start of its content, its local header held against the directory."""
    fixed = _read_at(source, member.header, zips.LOCAL.size)
    try:
        name_length, extra_length = zips.LOCAL.unpack(fixed)[-2:]
        header = memoryview(fixed + read_fully(source, name_length + extra_length))
        start = zips.place(header, member._replace(header=0), where="The zip").start
    except struct.error as error:
        raise ArchiveCorrupt(zips.damaged(member, where="The zip")) from error
    return member._replace(start=member.header + start)


def _read_at(source: Source, position: int, size: int) -> bytes:
    """``size`` bytes from ``position`` on."""
    source.seek(position)
    found = read_fully(source, size)
    if len(found) < size:
        raise ArchiveCorrupt("it is cut short")
    return found
