"""Find a zip's large members on S3, before the zip is fetched: each of them can then be written straight to a file of its own."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from gluon_lambda.archive_store.members import PATH_BYTES, logical_names
from gluon_lambda.archive_store.s3 import S3Client
from gluon_lambda.archive_store.s3_transfer import Opening, Part, Place, Transfer
from gluon_lambda.archive_store.zip_directory import (
    LOCAL,
    LOCAL_MAGIC,
    STORED,
    ZipMember,
    central_entries,
    find_directory,
    place,
    refuse_overlaps,
)
from gluon_lambda.errors import ArchiveError

# Where the directory of an archive with code lies, which has some dozens of members; a thousand fit.
TAIL_BYTES = 1 << 18
# Less than a part. Where the header of the first large member lies, which often is the only one: to ask for it would take another round trip.
HEAD_BYTES = 1 << 16
# A local header, without the extra field, whose length it tells.
HEADER_BYTES = LOCAL.size + PATH_BYTES


class Layout(NamedTuple):
    """How a zip can be laid out.

    Attributes:
        large: The members that get files of their own at once, in the order in which they lie in the archive.
        size: Bytes that all of it takes on disk.
    """

    large: tuple[ZipMember, ...]
    size: int


def find_layout(client: S3Client, opening: Opening, *, where: str, from_bytes: int) -> Layout | None:
    """How the archive can be laid out; None where it is no zip or not a sound one, or has no large stored members.

    Args:
        client: S3's.
        opening: The object's first part; what it is of is larger than a part.
        where: The archive, for errors.
        from_bytes: How large a member is large.

    Raises:
        ClientError: S3 answered with an error: ``PreconditionFailed`` where the object was replaced meanwhile.
        BotoCoreError: It did not answer, or did not send all of it.
    """
    try:
        with sparse_file(opening.size) as sink:
            return read_layout(sink, client, opening, where=where, from_bytes=from_bytes)
    except (ArchiveError, struct.error):  # is told in full when all of it has come
        return None
    except OSError:  # no memory, not even for this
        return None


def read_layout(sink: int, client: S3Client, opening: Opening, *, where: str, from_bytes: int) -> Layout | None:
    """The same, by way of a sparse file of the archive's size, into which as much of it is fetched as tells the layout.

    Raises:
        ArchiveError: It is not a sound zip.
        struct.error: The same.
    """
    view = memoryview(mmap.mmap(sink, opening.size, access=mmap.ACCESS_READ))
    fill_in(sink, [(0, HEAD_BYTES), (opening.size - TAIL_BYTES, opening.size)], client, opening)
    members, end = list_members(view, where=where)
    found = [member for member in members if is_large(member, end, from_bytes)]
    headers = [(each.header, min(each.header + HEADER_BYTES, end)) for each in found]
    fill_in(sink, [span for span in headers if span[1] > HEAD_BYTES], client, opening)
    large = sorted((place(view, member, where=where) for member in found), key=lambda each: each.start)
    refuse_overlaps(large, end, where=where)
    small = sum(member.size for member in members) - sum(member.size for member in large)
    return Layout(tuple(large), opening.size + small) if large else None


@contextmanager
def sparse_file(size: int) -> Iterator[int]:
    """A file in memory that takes no more of it than is written."""
    descriptor = os.memfd_create("archive", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, size)
        yield descriptor
    finally:
        os.close(descriptor)


def fill_in(sink: int, spans: Iterable[tuple[int, int]], client: S3Client, opening: Opening) -> None:
    """Receive some spans of an object."""
    with Transfer(client, opening, [Part(*span) for span in spans]) as transfer:
        transfer.run([Place(0, opening.size, sink)], with_digest=False)


def list_members(view: memoryview, *, where: str) -> tuple[list[ZipMember], int]:
    """What the central directory says of the files that are served, and where it starts. Of the archive its two ends have to be there.

    Raises:
        ArchiveError: There is no directory, it starts before what is there, or it is garbled.
        struct.error: The same.
    """
    if view[: len(LOCAL_MAGIC)] != LOCAL_MAGIC:
        return [], len(view)
    directory = find_directory(view, where=where)
    members = [each for each in central_entries(view, directory, where=where) if not each.name.endswith("/")]
    served = set(logical_names([member.name for member in members], where=where).values())
    return [member for member in members if member.name in served], directory.offset


def is_large(member: ZipMember, end: int, from_bytes: int) -> bool:
    """Whether a member gets a file of its own; one that says that it lies beyond ``end`` does not."""
    fits = member.header + LOCAL.size + member.size <= end
    return member.method == STORED and member.size >= from_bytes and fits
