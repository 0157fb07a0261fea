"""Fetch archives from S3 into the cache (Amazon S3 API Reference: GetObject).

An object is fetched once for each of its states: a pinned digest or version that is in the cache asks S3 nothing; an unpinned one is
asked for with ``If-None-Match``, so that only a changed object is sent again. A large zip is laid out in its members as it comes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gluon_lambda.archive_store.cache import (
    ARCHIVES,
    OBJECTS,
    Cache,
    Lease,
    add_file,
    add_folder,
    disk_has_room,
    lease,
)
from gluon_lambda.archive_store.digests import file_digest, new_sha256, require_digest
from gluon_lambda.archive_store.location import Location
from gluon_lambda.archive_store.s3 import ClientFactory, S3Client, make_s3_client
from gluon_lambda.archive_store.s3_errors import CHANGED, answered_error, error_code, s3_errors
from gluon_lambda.archive_store.s3_transfer import Opening, Place, Transfer, open_changed, open_object, parts_of
from gluon_lambda.errors import ConfigurationError

if TYPE_CHECKING:
    from gluon_lambda.archive_store.large_members import Layout
    from gluon_lambda.archive_store.members import Limits

# How often an object is fetched that is replaced while it comes.
ATTEMPTS = 3


class Fetched(NamedTuple):
    """An archive in the cache: a file, or a folder in which it is laid out.

    Attributes:
        lease: Keeps it there.
        name: Its name there, which no other content has.
        digest: Its SHA-256 as hex digits, or ``""`` where nobody has asked for it yet.
    """

    lease: Lease
    name: str
    digest: str


class Remembered(NamedTuple):
    """What an S3 object was when it was fetched last, still in the cache."""

    etag: str
    fetched: Fetched


class Fetch(Protocol):
    """An archive that is being fetched."""

    def result(self) -> Fetched:
        """Wait for it; raises what ``fetch`` would."""
        ...


# Times a phase by its name.
Timed = Callable[[str], AbstractContextManager[object]]


class LargeFrom(NamedTuple):
    """From how many bytes on an archive, and a stored member of it, is large: such archives are laid out.

    To ask where the members lie takes a round trip or two, in which content could come; to write a member again and check it takes 0.8 ms a MB.
    """

    archive: int = 64 << 20
    member: int = 16 << 20


class Sinks(NamedTuple):
    """Where archives go, and how.

    Attributes:
        cache: Where to.
        limits: How large they may grow; None for the usual.
        large_from: What is laid out.
    """

    cache: Cache
    limits: Limits | None
    large_from: LargeFrom


class Received(NamedTuple):
    """What has come of an archive: all of it.

    Attributes:
        name: Its name in the cache.
        digest: Its SHA-256, or ``""`` where nobody has asked for it.
        checksums: The CRC-32 of each place that is checked, by its first byte.
    """

    name: str
    digest: str
    checksums: dict[int, int]


# Writes an archive to the places that it is given.
Receive = Callable[[Sequence[Place]], Received]


def fetch(
    location: Location,
    *,
    cache: Cache,
    make_client: ClientFactory = make_s3_client,
    limits: Limits | None = None,
    large_from: LargeFrom = LargeFrom(),  # noqa: B008  an immutable record
    timed: Timed = nullcontext,
) -> Fetched:
    """Bring an archive into the cache, or find it there. INIT does so in a thread of its own.

    Args:
        location: An object on S3.
        cache: Where to.
        make_client: Makes the S3 client; called only where S3 has to be asked.
        limits: How large it may grow, where it is laid out; None for the usual.
        large_from: From how many bytes on it is laid out.
        timed: Times the phases ``s3 client`` and ``fetch``.

    Raises:
        ArchiveNotFound: There is no such object, version or bucket.
        ArchiveRejected: It is not the one that is pinned, or there is no room for it.
        ArchiveError: It is to be laid out, and damaged or not trusted.
        StoreUnavailable: Access denied, throttled, unreachable; names the cause and what would let it through.
        ConfigurationError: The location names no object, or the cache folder cannot be used.
    """
    if not location.path or location.path.endswith("/"):  # S3 has no folders
        raise ConfigurationError(
            f"{location.text}: on S3 an archive is one object. Pack the folder as .model or .mar, and name its key."
        )
    pinned = lease(cache, ARCHIVES, location.sha256) if location.sha256 else None
    if pinned:
        return Fetched(pinned, location.sha256, location.sha256)
    known = recall(location, cache=cache)
    if known and location.version_id:
        return verified(known.fetched, location)
    with ExitStack() as stack, s3_errors(location):
        with timed("s3 client"):
            client = make_client()
        stack.callback(client.close)
        with timed("fetch"):
            return download(location, client, Sinks(cache, limits, large_from), known=known)


def download(location: Location, client: S3Client, sinks: Sinks, *, known: Remembered | None) -> Fetched:
    """Get the object, unless it is still the ``known`` one; one that is replaced meanwhile is begun again."""
    for _ in range(ATTEMPTS - 1):
        try:
            return download_once(location, client, sinks, known=known)
        except answered_error() as error:
            if error_code(error) not in CHANGED:
                raise
    return download_once(location, client, sinks, known=known)


def download_once(location: Location, client: S3Client, sinks: Sinks, *, known: Remembered | None) -> Fetched:
    """Get the object in the state that it has now."""
    if known is None:
        return store(location, open_object(location, client), client, sinks)
    opening = open_changed(location, client, known.etag)
    if opening is None:
        return verified(known.fetched, location)
    fetched = store(location, opening, client, sinks)
    known.fetched.lease.close()
    return fetched


def store(location: Location, opening: Opening, client: S3Client, sinks: Sinks) -> Fetched:
    """Write an object to the cache, and remember under which ETag it came."""
    received: list[Received] = []
    with Transfer(client, opening, parts_of(opening)) as transfer:

        def receive(places: Sequence[Place]) -> Received:
            received.append(receive_all(transfer, places, location, opening))
            return received[0]

        layout = layout_of(location, opening, client, sinks)
        if layout:
            entry = add_laid_out(location, opening, layout, sinks, receive)
        else:
            entry = add_whole(location, opening, sinks, receive)
    fetched = Fetched(entry, received[0].name, received[0].digest)
    remember(location, opening.etag, fetched, cache=sinks.cache)
    return fetched


def receive_all(transfer: Transfer, places: Sequence[Place], location: Location, opening: Opening) -> Received:
    """Receive an archive, and refuse it where another one is pinned."""
    digest = transfer.run(places, with_digest=bool(location.sha256) or not opening.etag)
    if location.sha256:
        require_digest(digest, location)
    checksums = {place.start: transfer.checksum(place) for place in places if place.is_checked}
    return Received(digest or state_name(location, opening.etag), digest, checksums)


def layout_of(location: Location, opening: Opening, client: S3Client, sinks: Sinks) -> Layout | None:
    """How the archive is laid out; None where it is small, or no zip with large members, or the disk has no room for that."""
    is_cut = int(opening.answer["ContentLength"]) < opening.size
    if opening.size < sinks.large_from.archive or not is_cut:
        return None
    from gluon_lambda.archive_store.large_members import find_layout  # lazy: most archives are small

    layout = find_layout(client, opening, where=location.text, from_bytes=sinks.large_from.member)
    return layout if layout and disk_has_room(sinks.cache, layout.size, where=location.text) else None


def add_whole(location: Location, opening: Opening, sinks: Sinks, receive: Receive) -> Lease:
    """Add the archive as a file."""

    def write(sink: int) -> str:
        return receive([Place(0, opening.size, sink)]).name

    return add_file(sinks.cache, opening.size, write, where=location.text)


def add_laid_out(location: Location, opening: Opening, layout: Layout, sinks: Sinks, receive: Receive) -> Lease:
    """Add the archive laid out in its members."""
    from gluon_lambda.archive_store.laid_out import lay_out  # lazy, both: most archives are small
    from gluon_lambda.archive_store.members import Limits

    where, limits = location.text, sinks.limits or Limits()

    def fill(folder: str) -> str:
        return lay_out(folder, opening.size, layout.large, receive, where=where, limits=limits)

    return add_folder(sinks.cache, ARCHIVES, layout.size, fill, where=where)


def verified(fetched: Fetched, location: Location) -> Fetched:
    """What was fetched earlier, once it is sure to be what is pinned.

    Raises:
        ArchiveRejected: It is not.
    """
    if location.sha256:
        digest = fetched.digest or entry_digest(fetched, where=location.text)
        require_digest(digest, location)
        return fetched._replace(digest=digest)
    return fetched


def entry_digest(fetched: Fetched, *, where: str) -> str:
    """The SHA-256 of an archive in the cache, as hex digits: that of its file, or of what its file was."""
    if not os.path.isdir(fetched.lease.path):
        return file_digest(fetched.lease.path)
    from gluon_lambda.archive_store.laid_out import laid_out_digest  # lazy: as above

    return laid_out_digest(fetched.lease.path, where=where)


def state_name(location: Location, etag: str) -> str:
    """The name in the cache of one state of an object."""
    return hashed(f"{location.bucket}\0{location.path}\0{location.version_id}\0{etag}")


def hashed(text: str) -> str:
    """The SHA-256 of a text, as hex digits."""
    digest = new_sha256()
    digest.update(text.encode())
    return digest.hexdigest()


def memory_path(location: Location, cache: Cache) -> str:
    """The file that remembers what the object was."""
    name = hashed(f"{location.bucket}\0{location.path}\0{location.version_id}")
    return os.path.join(cache.folder, OBJECTS, f"{name}.json")


def recall(location: Location, *, cache: Cache) -> Remembered | None:
    """What is remembered of an object, as long as its archive is still in the cache."""
    try:
        with open(memory_path(location, cache), encoding="utf-8") as stream:
            fields = json.load(stream)
        etag, name, digest = str(fields["etag"]), str(fields["name"]), str(fields["sha256"])
    except (OSError, ValueError, LookupError, TypeError):  # never fetched, or written by something else
        return None
    entry = lease(cache, ARCHIVES, name) if etag else None
    return Remembered(etag, Fetched(entry, name, digest)) if entry else None


def remember(location: Location, etag: str, fetched: Fetched, *, cache: Cache) -> None:
    """Note what an object was, in one step."""
    path = memory_path(location, cache)
    draft = f"{path}.{os.getpid()}"
    fields = {"location": location.text, "etag": etag, "name": fetched.name, "sha256": fetched.digest}
    with suppress(OSError):  # a full disk: the next process asks S3 again, nothing else
        with open(draft, "w", encoding="utf-8") as stream:
            json.dump(fields, stream)
        os.replace(draft, path)
