"""What an archive holds, behind one interface: a zip that is read in place, or files in a folder."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol

from gluon_lambda.archive_store.cache import TREES, Cache, Lease, add_tree, discard, lease
from gluon_lambda.archive_store.digests import bytes_digest, file_digest, folder_digest
from gluon_lambda.archive_store.members import Limits, check_count, check_mode, check_name, logical_names
from gluon_lambda.archive_store.tar_archive import unpack_tar
from gluon_lambda.archive_store.zip_directory import ZipMember, member_buffer, member_chunks, read_directory
from gluon_lambda.errors import ArchiveCorrupt, ArchiveRejected, ConfigurationError

if TYPE_CHECKING:
    from gluon_lambda.archive_store.fetching import Fetched

# Not part of a model: version control, editors' and Python's own folders.
LEFT_OUT = "__pycache__"


class Contents(Protocol):
    """What an archive holds."""

    @property
    def members(self) -> tuple[str, ...]:
        """Every file, sorted."""
        ...

    def buffer(self, member: str) -> memoryview:
        """A file's bytes, verified, without a copy where that can be.

        Raises:
            KeyError: There is no such file.
            ArchiveCorrupt: The file is damaged.
        """
        ...

    def digest(self) -> str:
        """The content's SHA-256, as hex digits."""
        ...

    def folder(self) -> str:
        """The folder on disk that holds the files under their names."""
        ...

    def close(self) -> None:
        """Give files and leases up; buffers that are still in use stay good."""
        ...

    def discard(self) -> None:
        """Close, and remove from the cache what was put there for these contents."""
        ...


class ZipContents:
    """A zip, read in place; it is unpacked only for those who ask for its folder."""

    def __init__(
        self, path: str, *, where: str, cache: Cache, limits: Limits, digest: str = "", fetched: Fetched | None = None
    ) -> None:
        self._where = where
        self._cache = cache
        self._digest = digest
        self._leases = [fetched.lease] if fetched else []
        self._tree = ""
        self._view, state = map_file_of_state(path, where=where)
        # What S3, or the file system, calls its state names an archive as well as its digest would, and costs no reading.
        self._name = digest or (fetched.name if fetched else state)
        self._members = zip_members(self._view, where=where, limits=limits)

    @property
    def members(self) -> tuple[str, ...]:
        """Every file, sorted."""
        return tuple(self._members)

    def buffer(self, member: str) -> memoryview:
        """A file's bytes: of a stored one the archive's own pages, of a deflated one a copy."""
        return member_buffer(self._view, self._members[member], where=self._where)

    def digest(self) -> str:
        """The archive file's SHA-256. What is hashed is what was opened, should another file have its name by now."""
        if not self._digest and self._members:
            self._digest = bytes_digest(self._view)
        return self._digest

    def folder(self) -> str:
        """The unpacked tree in the cache."""
        if not self._tree:
            tree = lease(self._cache, TREES, self._name) or self._add_tree()
            self._leases.append(tree)
            self._tree = tree.path
        return self._tree

    def _add_tree(self) -> Lease:
        size = sum(member.size for member in self._members.values())
        return add_tree(self._cache, self._name, size, self._unpack, where=self._where)

    def _unpack(self, target: str) -> None:
        for name, member in self._members.items():
            unpack_member(self._view, member, os.path.join(target, name), where=self._where)

    def close(self) -> None:
        """Give file and leases up. The map itself goes with the last buffer that is taken from it."""
        self._view = memoryview(b"")
        self._members = {}
        close_all(self._leases)

    def discard(self) -> None:
        """Close, and remove archive and tree from the cache."""
        unwanted = [*self._leases]
        self.close()
        for each in unwanted:
            discard(self._cache, each)


def zip_members(view: memoryview, *, where: str, limits: Limits) -> dict[str, ZipMember]:
    """A zip's files by the names that they are known under, once everything that it says of itself is verified."""
    members = read_directory(view, where=where, limits=limits)
    stored = {member.name: member for member in members}
    known = logical_names([member.name for member in members], where=where)  # one that is there twice is refused
    return {name: stored[original] for name, original in known.items()}


def unpack_member(view: memoryview, member: ZipMember, path: str, *, where: str) -> None:
    """Write a file of a zip to ``path``, verified."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as stream:
        stream.writelines(member_chunks(view, member, where=where))


class FolderContents:
    """Files in a folder: a plain one, or the tree of an archive that was unpacked."""

    def __init__(
        self, folder: str, *, where: str, cache: Cache, limits: Limits, digest: str = "", tree: Lease | None = None
    ) -> None:
        self._folder = os.path.abspath(folder)
        self._where = where
        self._cache = cache
        self._digest = digest
        self._tree = tree
        self._files = dict(sorted(find_files(self._folder, where=where, limits=limits)))

    @property
    def members(self) -> tuple[str, ...]:
        """Every file, sorted."""
        return tuple(self._files)

    def buffer(self, member: str) -> memoryview:
        """A file's bytes: the file's own pages."""
        return map_file(self._files[member], where=self._where, may_be_empty=True)

    def digest(self) -> str:
        """The archive's SHA-256, or that of the folder's content."""
        if not self._digest:
            self._digest = folder_digest(self._files)
        return self._digest

    def folder(self) -> str:
        """The folder itself."""
        return self._folder

    def close(self) -> None:
        """Give the tree up, where there is one."""
        self._files = {}
        if self._tree:
            self._tree.close()

    def discard(self) -> None:
        """Close, and remove the tree from the cache; a plain folder stays."""
        self.close()
        if self._tree:
            discard(self._cache, self._tree)


def open_tar(path: str, *, where: str, cache: Cache, limits: Limits, digest: str = "") -> FolderContents:
    """The contents of a ``.tar.gz``, unpacked into the cache where it is not there yet."""
    digest = digest or file_digest(path)
    tree = lease(cache, TREES, digest)
    if tree is None:
        tree = add_tree(
            cache,
            digest,
            unpacked_size(path),
            lambda target: unpack_tar(path, target, where=where, limits=limits),
            where=where,
        )
    with ExitStack() as on_failure:
        on_failure.callback(discard, cache, tree)
        contents = FolderContents(tree.path, where=where, cache=cache, limits=limits, digest=digest, tree=tree)
        on_failure.pop_all()
    return contents


def unpacked_size(path: str) -> int:
    """What gzip says of the size that it unpacks to: modulo 4 GiB, and for making room only."""
    with open(path, "rb") as stream:
        stream.seek(-min(4, os.path.getsize(path)), os.SEEK_END)
        return int.from_bytes(stream.read(4), "little")


def map_file(path: str, *, where: str, may_be_empty: bool = False) -> memoryview:
    """A file's bytes as the kernel's own pages.

    An archive must be replaced by renaming, never by writing into it: the map would change, or break off.
    """
    return map_file_of_state(path, where=where, may_be_empty=may_be_empty)[0]


def map_file_of_state(path: str, *, where: str, may_be_empty: bool = False) -> tuple[memoryview, str]:
    """A file's bytes, and a name for the state that it is in: another file, or the same one written to, has another name."""
    try:
        with open(path, "rb") as stream:
            found = os.fstat(stream.fileno())
            state = f"{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"
            if may_be_empty and found.st_size == 0:
                return memoryview(b""), state
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)), state
    except ValueError as error:
        raise ArchiveCorrupt(f"{where}: the file is empty. Fetch or pack it again.") from error
    except OSError as error:
        raise ConfigurationError(f"{where}: {path} cannot be read: {error.strerror}. Grant read access.") from error


def find_files(folder: str, *, where: str, limits: Limits) -> Iterator[tuple[str, str]]:
    """Name and path of every file below ``folder``."""
    real = os.path.realpath(folder)
    count = 0
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != LEFT_OUT and not name.startswith(".")]
        count += len(files)
        check_count(count, where=where, limits=limits)
        for name in files:
            path = os.path.join(parent, name)
            member = os.path.relpath(path, folder)
            check_name(member, where=where)
            check_file(path, member, real, where=where)
            yield member, path


def check_file(path: str, member: str, folder: str, *, where: str) -> None:
    """Refuse what is no file, and a link that leads out of the archive's folder."""
    target = os.path.realpath(path)
    if not target.startswith(f"{folder}/"):
        raise ArchiveRejected(
            f"{where}: {member!r} is a link that leads out of the folder. Copy the file in its place."
        )
    try:
        check_mode(os.stat(path).st_mode, member, where=where)
    except OSError as error:
        raise ArchiveRejected(f"{where}: {member!r} cannot be read: {error.strerror}. Remove or repair it.") from error


def close_all(leases: list[Lease]) -> None:
    """Close and forget ``leases``."""
    while leases:
        with suppress(OSError):
            leases.pop().close()
