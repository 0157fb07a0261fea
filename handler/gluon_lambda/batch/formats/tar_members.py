"""The members of a tar, one header at a time.

tarfile's own reading takes a garbled header for the end, so that the files behind it would be lost without a word, and holds a long name of any
length; its parser of a header is used alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gluon_lambda.archive_store.members import unsafe
from gluon_lambda.batch.formats.member_sizes import check_size
from gluon_lambda.batch.formats.rows import Reading, Source, read_fully
from gluon_lambda.errors import InputMismatch, ObjectRefused

if TYPE_CHECKING:
    from tarfile import TarInfo

MAGIC, MAGIC_AT = b"ustar", 257
_BLOCK = 512
# What stands before a member and tells more of it (POSIX's x and g, GNU's L and K): a name, mostly.
_LONGEST_HEADER = 1 << 20
_GLOBAL, _POSIX, _GNU_NAME, _GNU_LINK = b"g", b"x", b"L", b"K"
# Links, devices, folders and pipes: their headers may give a size, but no content follows.
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")
# GNU's own sparse files: the bytes of their header, and of the blocks after it, that say whether another block tells more.
_GNU_SPARSE, _SPARSE_GOES_ON, _SPARSE_STILL_GOES_ON = b"S", 482, 504


class Entry(NamedTuple):
    """One member.

    Attributes:
        name: As stored, without a leading ``./``; a folder's ends with ``/``.
        size: In bytes.
        begin: Where its content begins.
        end: Where the next header begins.
        is_file: Whether it is a plain file: no link, no device, not sparse.
    """

    name: str
    size: int
    begin: int
    end: int
    is_file: bool


def entries(reading: Reading) -> Iterator[Entry]:
    """Every member from the start's offset on.

    Raises:
        ObjectRefused: A header is garbled, or the archive breaks off.
    """
    source, position = reading.source, reading.start.offset
    told: dict[str, str] = {}
    while (info := _header(source, position, where=reading.where)) is not None:
        begin = position + _BLOCK
        if info.type in (_GLOBAL, _POSIX, _GNU_NAME, _GNU_LINK):
            told = {**told, **_told(source, info, where=reading.where)}
            position = _after(begin, info.size)
            continue
        entry = _entry(info, told, _after_sparse_map(source, info, begin))
        yield entry
        position, told = entry.end, {}


def content(reading: Reading, entry: Entry) -> bytes:
    """A file's bytes.

    Raises:
        InputMismatch: It is a link or a device, or its name leads out of any folder.
        PayloadTooLarge: It is too large.
        ObjectRefused: The archive breaks off in it.
    """
    reason = unsafe(entry.name) or ("" if entry.is_file else "is a link, a device or a sparse file")
    if reason:
        raise InputMismatch(f"The member {entry.name!r} {reason}. Pack the file itself, with a relative name")
    check_size(entry.size, entry.size, reading.limits)
    reading.source.seek(entry.begin)
    found = read_fully(reading.source, entry.size)
    if len(found) < entry.size:
        raise ObjectRefused(f"{reading.where}: the tar breaks off in the member {entry.name!r}. Upload it again.")
    return found


def _header(source: Source, position: int, *, where: str) -> TarInfo | None:
    """The header at ``position``, or None at the end."""
    import tarfile  # lazy: only tars need it

    source.seek(position)
    try:
        info = tarfile.TarInfo.frombuf(read_fully(source, _BLOCK), "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined] # a block of zeros; the stubs leave it out
        return None
    except tarfile.HeaderError as error:
        raise ObjectRefused(
            f"{where}: the tar breaks off or is garbled at byte {position:,}: {error}. Upload it again."
        ) from error
    if info.size < 0:
        raise ObjectRefused(f"{where}: the tar is garbled at byte {position:,}: a size is negative. Upload it again.")
    return info


def _told(source: Source, info: TarInfo, *, where: str) -> dict[str, str]:
    """What a header before a member says of it."""
    if info.size > _LONGEST_HEADER:
        raise ObjectRefused(f"{where}: a name in the tar has {info.size:,} bytes. Pack it again.")
    content = read_fully(source, info.size)
    if info.type == _GNU_NAME:
        return {"path": content.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    return _pax_fields(content) if info.type == _POSIX else {}


def _pax_fields(content: bytes) -> dict[str, str]:
    """What counts of POSIX's records, each ``LENGTH NAME=VALUE\\n``: path, size, and whether it is sparse."""
    fields = {}
    while content:
        length, _, rest = content.partition(b" ")
        size = int(length) if length.isdigit() and len(length) < 8 else 0
        if size <= len(length) + 2:
            break  # padding, or garbage that ends what can be told
        name, _, value = rest[: size - len(length) - 2].partition(b"=")
        if name in (b"path", b"size") or name.startswith(b"GNU.sparse."):
            fields[name.decode("ascii", "replace").partition(".")[0]] = value.decode("utf-8", "surrogateescape")
        content = content[size:]
    return fields


def _after_sparse_map(source: Source, info: TarInfo, begin: int) -> int:
    """Where the content begins: GNU's old sparse files have blocks before it that tell where their holes are."""
    if info.type == _GNU_SPARSE:
        source.seek(begin - _BLOCK)
        more = read_fully(source, _BLOCK)[_SPARSE_GOES_ON : _SPARSE_GOES_ON + 1]
        while more.strip(b"\0"):
            begin += _BLOCK
            more = read_fully(source, _BLOCK)[_SPARSE_STILL_GOES_ON : _SPARSE_STILL_GOES_ON + 1]
    return begin


def _entry(info: TarInfo, told: dict[str, str], begin: int) -> Entry:
    name = told.get("path", info.name).removeprefix("./")
    size = int(told["size"]) if told.get("size", "").isdecimal() else info.size
    if info.isdir():
        name = name.rstrip("/") + "/"
    held = 0 if info.type in _WITHOUT_CONTENT else size
    is_sparse = info.type == _GNU_SPARSE or "GNU" in told
    return Entry(name, size, begin, _after(begin, held), info.isreg() and not is_sparse)


def _after(begin: int, size: int) -> int:
    return begin + -(-size // _BLOCK) * _BLOCK
