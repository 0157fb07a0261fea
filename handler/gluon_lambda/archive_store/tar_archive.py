"""Unpack a ``.tar.gz``: it cannot be read in place, so it goes to disk whole before anything else."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Protocol

from gluon_lambda.archive_store.members import (
    Limits,
    check_count,
    check_mode,
    check_name,
    check_sizes,
    logical_names,
)
from gluon_lambda.errors import ArchiveCorrupt, ArchiveRejected

if TYPE_CHECKING:
    from tarfile import TarFile, TarInfo

MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 1 << 20

# What tarfile lets out of its parser beside its own errors when a header is garbled.
GARBLED = (ValueError, LookupError, OverflowError, RecursionError)

# Where members lie until all names are known; no member can have this name, since \n is refused.
STAGING = ".unpacking\n"


class Reader(Protocol):
    """What is read from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; none at the end."""
        ...


class GuardedReader:
    """An unpacked stream that stops when it becomes larger than an archive may be."""

    def __init__(self, stream: Reader, packed: int, *, where: str, limits: Limits) -> None:
        self._stream = stream
        self._packed = packed
        self._where = where
        self._limits = limits
        self._total = 0

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; none at the end."""
        chunk = self._stream.read(size)
        self._total += len(chunk)
        check_sizes(self._total, self._packed, where=self._where, limits=self._limits)
        return chunk


def unpack_tar(path: str, target: str, *, where: str, limits: Limits) -> None:
    """Unpack the archive at ``path`` into the empty folder ``target``.

    Raises:
        ArchiveCorrupt: Truncated or garbled.
        ArchiveRejected: A member's name, kind or size is not accepted.
    """
    import gzip  # lazy, both: 10 ms that only a .tar.gz needs
    import tarfile

    staging = os.path.join(target, STAGING)
    os.mkdir(staging)
    try:
        with gzip.open(path) as inflated:
            guarded = GuardedReader(inflated, os.path.getsize(path), where=where, limits=limits)
            # The stubs want a whole file object; a stream ("r|") is only ever read.
            with tarfile.open(fileobj=guarded, mode="r|", encoding="utf-8") as archive:  # type: ignore[call-overload]
                stored = stage_members(archive, staging, where=where, limits=limits)
            while guarded.read(CHUNK_BYTES):  # up to gzip's own checksum
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, *GARBLED) as error:
        raise ArchiveCorrupt(
            f"{where}: the tar.gz is damaged or cut short: {error}. Fetch or pack it again."
        ) from error
    move_members(stored, target, where=where)
    os.rmdir(staging)


def stage_members(archive: TarFile, staging: str, *, where: str, limits: Limits) -> dict[str, str]:
    """Write every file of ``archive`` under a number; returns that file's path by the member's name."""
    stored: dict[str, str] = {}
    for number, member in enumerate(archive):
        check_count(number, where=where, limits=limits)
        name = check_member(member, where=where)
        if name in stored:
            raise ArchiveRejected(f"{where}: the member {name!r} is in it twice. Pack the archive again.")
        if member.isreg():
            stored[name] = os.path.join(staging, str(number))
            write_member(archive, member, stored[name])
    return stored


def check_member(member: TarInfo, *, where: str) -> str:
    """The member's name without a leading ``./`` (``tar czf … .``), once name and kind are accepted."""
    name = member.name.removeprefix("./")
    if name != "." or not member.isdir():
        check_name(name, where=where)
    check_mode(0 if member.isreg() or member.isdir() else 0o120000, name, where=where)
    if member.issparse():
        raise ArchiveRejected(f"{where}: the member {name!r} is a sparse file. Pack it without --sparse.")
    return name


def write_member(archive: TarFile, member: TarInfo, path: str) -> None:
    """Write one file; tarfile raises where its content is cut short."""
    source = archive.extractfile(member)
    with open(path, "wb") as sink:
        while source is not None and (chunk := source.read(CHUNK_BYTES)):
            sink.write(chunk)


def move_members(stored: dict[str, str], target: str, *, where: str) -> None:
    """Move every staged file to the name that it is known under."""
    for name, original in logical_names(stored, where=where).items():
        path = os.path.join(target, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(stored.pop(original), path)
    for leftover in stored.values():
        os.unlink(leftover)
