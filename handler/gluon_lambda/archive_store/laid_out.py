"""Archives that are laid out in their members as they come, so that nothing large is written twice or takes its room twice.

Such an archive's entry in the cache is a folder:

- ``files/`` holds every file under the name that it is known under;
- ``rest`` is the archive without the content of its large members: a sparse file in which all else is in its place;
- ``large.json`` tells of each large member where in the archive its content starts, and its name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from gluon_lambda.archive_store.cache import Cache, Lease, discard, reserve
from gluon_lambda.archive_store.contents import map_file, unpack_member, zip_members
from gluon_lambda.archive_store.digests import new_sha256
from gluon_lambda.archive_store.members import Limits
from gluon_lambda.archive_store.s3_transfer import Place
from gluon_lambda.archive_store.zip_directory import ZipMember, damaged
from gluon_lambda.errors import ArchiveCorrupt

if TYPE_CHECKING:
    from gluon_lambda.archive_store.fetching import Receive

FILES, REST, LARGE = "files", "rest", "large.json"


def lay_out(folder: str, size: int, large: Sequence[ZipMember], receive: Receive, *, where: str, limits: Limits) -> str:
    """Make an entry of an archive that is still to come.

    Args:
        folder: The empty folder that becomes the entry.
        size: Bytes of the archive.
        large: The members that get files of their own at once, in the order in which they lie in the archive.
        receive: Writes the archive to the places that it is given.
        where: The archive, for errors.
        limits: How large it may grow.

    Returns:
        The archive's name in the cache.

    Raises:
        ArchiveCorrupt: Truncated or garbled, or a member is damaged.
        ArchiveRejected: A member's name, kind, encryption or size is not accepted.
    """
    with ExitStack() as opened:
        received = receive(make_places(folder, size, large, opened))
    view = map_file(os.path.join(folder, REST), where=where)
    members = zip_members(view, where=where, limits=limits)
    names = {member: name for name, member in members.items()}
    check_large(large, names, received.checksums, where=where)
    moved = {names[member]: member for member in large}
    for name in members.keys() - moved:
        unpack_member(view, members[name], os.path.join(folder, FILES, name), where=where)
    move_large(folder, moved)
    return received.name


def make_places(folder: str, size: int, large: Sequence[ZipMember], opened: ExitStack) -> list[Place]:
    """Where an archive goes: its large members each to a draft, what lies between them to a sparse file.

    Args:
        folder: Of the drafts.
        size: Bytes of the archive.
        large: Members that do not overlap, in order.
        opened: Closes the files.
    """
    rest = make_file(os.path.join(folder, REST), opened)
    os.ftruncate(rest, size)
    places, position = [], 0
    for member in large:
        sink, end = make_file(draft_path(folder, member), opened), member.start + member.size
        reserve(sink, member.size)
        places += [Place(position, member.start, rest), Place(member.start, end, sink, member.start, is_checked=True)]
        position = end
    return [*places, Place(position, size, rest)]


def draft_path(folder: str, member: ZipMember) -> str:
    """Where a large member lies as long as its name is not verified."""
    return os.path.join(folder, f"{member.start}.draft")


def make_file(path: str, opened: ExitStack) -> int:
    """A new file, open for writing, and for reading by whoever takes a digest."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    opened.callback(os.close, descriptor)
    return descriptor


def check_large(
    large: Iterable[ZipMember], known: Container[ZipMember], checksums: Mapping[int, int], *, where: str
) -> None:
    """Hold the large members against what the archive says of them, now that all of it is there.

    Raises:
        ArchiveCorrupt: It says something else than before, or one is damaged.
    """
    for member in large:
        if member not in known or checksums[member.start] != member.crc:
            raise ArchiveCorrupt(damaged(member, where=where))


def move_large(folder: str, members: Mapping[str, ZipMember]) -> None:
    """Give the large members their names, and note where each belongs."""
    for name, member in members.items():
        path = os.path.join(folder, FILES, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(draft_path(folder, member), path)
    with open(os.path.join(folder, LARGE), "w", encoding="utf-8") as stream:
        json.dump([(member.start, name) for name, member in members.items()], stream)


def laid_out_digest(folder: str, *, where: str) -> str:
    """The SHA-256 of the archive that is laid out in a folder, as hex digits."""
    with open(os.path.join(folder, LARGE), encoding="utf-8") as stream:
        large = json.load(stream)
    digest, position = new_sha256(), 0
    rest = map_file(os.path.join(folder, REST), where=where)
    for start, name in large:
        content = map_file(os.path.join(folder, FILES, name), where=where)
        digest.update(rest[position:start])
        digest.update(content)
        position = start + len(content)
    digest.update(rest[position:])
    return digest.hexdigest()


class LaidOutContents:
    """The contents of a zip that is laid out. Each member was verified when it came."""

    def __init__(self, entry: Lease, *, where: str, cache: Cache, limits: Limits, digest: str = "") -> None:
        self._entry = entry
        self._where = where
        self._cache = cache
        self._digest = digest
        self._files = os.path.join(entry.path, FILES)
        rest = map_file(os.path.join(entry.path, REST), where=where)
        self._members = tuple(zip_members(rest, where=where, limits=limits))

    @property
    def members(self) -> tuple[str, ...]:
        """Every file, sorted."""
        return self._members

    def buffer(self, member: str) -> memoryview:
        """A file's bytes: the file's own pages."""
        if member not in self._members:
            raise KeyError(member)
        return map_file(os.path.join(self._files, member), where=self._where, may_be_empty=True)

    def digest(self) -> str:
        """The archive file's SHA-256, as it was fetched."""
        if not self._digest and self._members:
            self._digest = laid_out_digest(self._entry.path, where=self._where)
        return self._digest

    def folder(self) -> str:
        """The folder with its files."""
        return self._files

    def close(self) -> None:
        """Give the entry up."""
        self._members = ()
        self._entry.close()

    def discard(self) -> None:
        """Close, and remove the archive from the cache."""
        self.close()
        discard(self._cache, self._entry)
