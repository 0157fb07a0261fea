"""The folder on disk where fetched archives and unpacked trees are kept, each under a name that its content alone has: its hash, or
that of what S3 calls the object's state.

An entry appears whole or not at all: it is made in ``incoming/`` and renamed. Whoever uses an entry holds a shared lock
(flock) on it, whoever makes or removes one an exclusive lock; the kernel drops a killed process's locks, so that what a
crash left behind is told from what another process is working on. Any number of processes may share a cache folder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

from gluon_lambda.errors import ArchiveRejected, ConfigurationError

ARCHIVES = "archives"
TREES = "trees"
# What each S3 object was at its last fetch: see fetching.py.
OBJECTS = "objects"
INCOMING = "incoming"

# What is left free for the archive's own code, which writes to the same disk.
RESERVE_BYTES = 16 << 20

# Of an archive's size, what has to be free before it is kept in memory: the net that is made of it takes as much again.
MEMORY_SHARE = 3

# How often an entry that another process holds is tried, 10 ms apart.
ATTEMPTS = 20

# Emptied at boot (and on Lambda gone with the sandbox): what is written there need not outlive the kernel.
VOLATILE = ("/tmp/", "/dev/shm/")


class Lease:
    """An entry in use: while it is open, nobody removes the entry.

    Attributes:
        path: Where the entry lies.
        descriptor: Open and locked; -1 when closed.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def close(self) -> None:
        """Give the entry up. Closing twice is harmless."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def memory_room() -> int:
    """Bytes of memory that can be used without pushing anything out; the smallest where it is not told."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            fields = dict(line.split(":", 1) for line in stream)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, LookupError, ValueError):
        return 0


class Cache(NamedTuple):
    """A cache folder.

    Attributes:
        folder: Absolute path; made on first use.
        free_bytes: Tells how much room the disk that holds a path has.
        free_memory: Tells how many bytes of memory are left.
    """

    folder: str
    free_bytes: Callable[[str], int]
    free_memory: Callable[[], int] = memory_room


def open_cache(folder: str) -> Cache:
    """The cache in ``folder``. Nothing is touched on disk yet."""
    return Cache(os.path.abspath(folder), disk_room)


def disk_room(path: str) -> int:
    """Bytes that this user may still write to the disk that holds ``path``."""
    usage = os.statvfs(path)
    return usage.f_bavail * usage.f_frsize


def lease(cache: Cache, kind: str, name: str) -> Lease | None:
    """Take an entry into use, as the most recently used one; None where it is not there, or on its way out."""
    path = os.path.join(cache.folder, kind, name)
    descriptor = lock(path, fcntl.LOCK_SH)
    if descriptor is None:
        return None
    with suppress(OSError):  # the order of use is lost on a read-only disk, nothing else
        os.utime(path)
    return Lease(path, descriptor)


def lock(path: str, operation: int) -> int | None:
    """Open and lock what lies at ``path``; None where nothing does or somebody else holds it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        # Between open and lock the entry may have been taken out of the cache.
        is_here = os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        is_here = False
    if is_here:
        return descriptor
    os.close(descriptor)
    return None


def add_file(cache: Cache, size: int, write: Callable[[int], str], *, where: str) -> Lease:
    """Add an archive. One that the disk has no room for is kept in memory, for this process alone, where that has plenty.

    Args:
        cache: Where to.
        size: How many bytes it will take.
        write: Writes it to the open file, whose room is reserved, and returns its name in the cache from then on.
        where: The archive, for errors.

    Raises:
        ArchiveRejected: There is no room for it.
        ConfigurationError: The cache folder cannot be used.
    """
    if not disk_has_room(cache, size, where=where) and cache.free_memory() >= MEMORY_SHARE * size:
        return in_memory(size, write)
    with draft(cache, size, where=where, is_folder=False) as new:
        with open(new.path, "r+b") as stream:
            reserve(stream.fileno(), size)
            name = write(stream.fileno())
        if outlives_boot(cache):
            sync(new.path)
        return publish(cache, new, ARCHIVES, name)


def disk_has_room(cache: Cache, size: int, *, where: str) -> bool:
    """Whether ``size`` bytes fit, once entries have made room."""
    try:
        prepare(cache)
        return make_room(cache, size)
    except OSError as error:
        raise disk_error(cache, error, where=where) from error


def reserve(descriptor: int, size: int) -> None:
    """Reserve a file's room, so that a full disk shows now, and writing finds its blocks laid out."""
    if size:
        os.posix_fallocate(descriptor, 0, size)


def in_memory(size: int, write: Callable[[int], str]) -> Lease:
    """A file that lies in memory; it goes with the last that uses it."""
    descriptor = os.memfd_create("archive", os.MFD_CLOEXEC)
    kept = Lease(f"/proc/self/fd/{descriptor}", descriptor)
    with ExitStack() as on_failure:
        on_failure.callback(kept.close)
        os.ftruncate(descriptor, size)
        write(descriptor)
        on_failure.pop_all()
    return kept


def add_tree(cache: Cache, name: str, size: int, unpack: Callable[[str], None], *, where: str) -> Lease:
    """Add an unpacked archive.

    Args:
        cache: Where to.
        name: The tree's name in the cache, the archive's digest or its name there.
        size: How many bytes it will take.
        unpack: Fills the empty folder that it is given.
        where: The archive, for errors.

    Raises:
        ArchiveRejected: There is no room for it.
        ConfigurationError: The cache folder cannot be used.
    """

    def fill(folder: str) -> str:
        unpack(folder)
        return name

    return add_folder(cache, TREES, size, fill, where=where)


def add_folder(cache: Cache, kind: str, size: int, fill: Callable[[str], str], *, where: str) -> Lease:
    """Add an entry that is a folder.

    Args:
        cache: Where to.
        kind: What it is: an archive that is laid out in its members, or a tree.
        size: How many bytes it will take.
        fill: Fills the empty folder that it is given, and returns the entry's name in the cache from then on.
        where: The archive, for errors.

    Raises:
        ArchiveRejected: There is no room for it.
        ConfigurationError: The cache folder cannot be used.
    """
    with draft(cache, size, where=where, is_folder=True) as new:
        name = fill(new.path)
        if outlives_boot(cache):
            sync_tree(new.path)
        return publish(cache, new, kind, name)


@contextmanager
def draft(cache: Cache, size: int, *, where: str, is_folder: bool) -> Iterator[Lease]:
    """A new file or folder with an exclusive lock, removed again where it is not published."""
    try:
        prepare(cache)
        require_room(cache, size, where=where)
        new = new_draft(cache, is_folder=is_folder)
    except OSError as error:
        raise disk_error(cache, error, where=where) from error
    try:
        yield new
    except OSError as error:
        raise disk_error(cache, error, where=where) from error
    finally:
        if os.path.lexists(new.path):
            remove(new.path)
            new.close()


def prepare(cache: Cache) -> None:
    """Make the cache folder, for this user alone: what lies in it is run as code."""
    for kind in (ARCHIVES, TREES, OBJECTS, INCOMING):
        os.makedirs(os.path.join(cache.folder, kind), 0o700, exist_ok=True)
    if os.stat(cache.folder).st_uid != os.geteuid():
        raise ConfigurationError(f"GLUON_CACHE_DIR={cache.folder}: the folder is another user's. Name one of your own.")


def new_draft(cache: Cache, *, is_folder: bool) -> Lease:
    """Make and lock a new file or folder in ``incoming/``, and clear that of what crashed processes left."""
    folder = os.path.join(cache.folder, INCOMING)
    with exclusive(folder):  # nobody may sweep between making and locking
        sweep(folder)
        path = os.path.join(folder, f"{os.getpid()}-{time.monotonic_ns()}")
        if is_folder:
            os.mkdir(path, 0o755)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if is_folder else os.O_CREAT | os.O_EXCL), 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return Lease(path, descriptor)


@contextmanager
def exclusive(folder: str) -> Iterator[None]:
    """Hold ``folder``'s lock, waiting for it; it is held for moments only."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sweep(folder: str) -> None:
    """Remove what no living process has locked."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        descriptor = lock(path, fcntl.LOCK_EX)
        if descriptor is not None:
            remove(path)
            os.close(descriptor)


def publish(cache: Cache, new: Lease, kind: str, name: str) -> Lease:
    """Move a finished draft to its place, in use; where another process was faster with a folder, take what it made."""
    target = os.path.join(cache.folder, kind, name)
    try:
        os.rename(new.path, target)
    except OSError:
        return other_lease(cache, kind, name)
    fcntl.flock(new.descriptor, fcntl.LOCK_SH)
    return Lease(target, new.descriptor)


def other_lease(cache: Cache, kind: str, name: str) -> Lease:
    """A lease on an entry that is there, waiting out the moment in which its maker or remover holds it alone."""
    for _ in range(ATTEMPTS):
        theirs = lease(cache, kind, name)
        if theirs is not None:
            return theirs
        time.sleep(0.01)
    raise OSError(errno.EBUSY, "other processes keep the entry locked")


def make_room(cache: Cache, size: int) -> bool:
    """Remove entries, the least recently used first and none in use, until ``size`` bytes fit; returns whether they do."""
    needed = size + RESERVE_BYTES
    for path in least_recently_used(cache):
        if cache.free_bytes(cache.folder) >= needed:
            return True
        evict(cache, path)
    return cache.free_bytes(cache.folder) >= needed


def require_room(cache: Cache, size: int, *, where: str) -> None:
    """Make room for ``size`` bytes.

    Raises:
        ArchiveRejected: They do not fit even so.
    """
    if not make_room(cache, size):
        raise ArchiveRejected(
            f"{where}: it needs {size + RESERVE_BYTES:,} bytes in GLUON_CACHE_DIR={cache.folder}, which has "
            f"{cache.free_bytes(cache.folder):,} left. Give the function more EphemeralStorage, or name a folder with more room."
        )


def least_recently_used(cache: Cache) -> list[str]:
    """Every entry, the one that was taken into use longest ago first."""
    entries = [
        os.path.join(cache.folder, kind, name)
        for kind in (ARCHIVES, TREES)
        for name in os.listdir(os.path.join(cache.folder, kind))
    ]
    return sorted(entries, key=time_of_use)


def time_of_use(path: str) -> float:
    """When an entry was last taken into use; another process may have removed it meanwhile."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def evict(cache: Cache, path: str) -> None:
    """Remove an entry, unless it is in use. It leaves in one step, so that nobody finds half of it."""
    descriptor = lock(path, fcntl.LOCK_EX)
    if descriptor is None:
        return
    leaving = os.path.join(cache.folder, INCOMING, f"{os.getpid()}-{time.monotonic_ns()}-leaving")
    os.rename(path, leaving)
    remove(leaving)
    os.close(descriptor)


def discard(cache: Cache, unwanted: Lease) -> None:
    """Give up an entry that turned out bad, and remove it where nobody else uses it."""
    unwanted.close()
    evict(cache, unwanted.path)


def remove(path: str) -> None:
    """Remove a file or a folder with all that is in it."""
    if not os.path.isdir(path):
        with suppress(FileNotFoundError):
            os.unlink(path)
        return
    for parent, folders, files in os.walk(path, topdown=False):
        for name in files:
            os.unlink(os.path.join(parent, name))
        for name in folders:
            os.rmdir(os.path.join(parent, name))
    os.rmdir(path)


def outlives_boot(cache: Cache) -> bool:
    """Whether a power cut could leave an entry that has its name but not its content."""
    return not f"{cache.folder}/".startswith(VOLATILE)


def sync(path: str) -> None:
    """Bring a file or folder to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: str) -> None:
    """Bring a folder with all that is in it to the disk itself."""
    for parent, _, files in os.walk(path, topdown=False):
        for name in files:
            sync(os.path.join(parent, name))
        sync(parent)


def disk_error(cache: Cache, error: OSError, *, where: str) -> ArchiveRejected | ConfigurationError:
    """What an operating system's error about the cache folder means to whoever configured it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ArchiveRejected(
            f"{where}: the disk of GLUON_CACHE_DIR={cache.folder} is full. "
            "Give the function more EphemeralStorage, or name a folder with more room."
        )
    reason = error.strerror or str(error)
    return ConfigurationError(
        f"GLUON_CACHE_DIR={cache.folder} cannot be used for {where}: {reason}. Name a folder that can be written."
    )
