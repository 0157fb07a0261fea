"""Fetch archives from S3 into the cache (Amazon S3 API Reference: GetObject).

An object is fetched once for each of its states: a pinned digest or version that is in the cache asks S3 nothing; an unpinned one is
asked for with ``If-None-Match``, so that only a changed object is sent again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import NamedTuple, Protocol

from gluon_lambda.archive_store.cache import ARCHIVES, OBJECTS, Cache, Lease, add_file, lease
from gluon_lambda.archive_store.digests import file_digest, new_sha256, require_digest
from gluon_lambda.archive_store.location import Location
from gluon_lambda.archive_store.s3 import ClientFactory, S3Client, make_s3_client
from gluon_lambda.archive_store.s3_errors import CHANGED, answered_error, error_code, s3_errors
from gluon_lambda.archive_store.s3_transfer import Opening, Transfer, open_changed, open_object
from gluon_lambda.errors import ConfigurationError

# How often an object is fetched that is replaced while it comes.
ATTEMPTS = 3


class Fetched(NamedTuple):
    """An archive in the cache.

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


def fetch(
    location: Location, *, cache: Cache, make_client: ClientFactory = make_s3_client, timed: Timed = nullcontext
) -> Fetched:
    """Bring an archive into the cache, or find it there. INIT does so in a thread of its own.

    Args:
        location: An object on S3.
        cache: Where to.
        make_client: Makes the S3 client; called only where S3 has to be asked.
        timed: Times the phases ``s3 client`` and ``fetch``.

    Raises:
        ArchiveNotFound: There is no such object, version or bucket.
        ArchiveRejected: It is not the one that is pinned, or there is no room for it.
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
            return download(location, client, cache=cache, known=known)


def download(location: Location, client: S3Client, *, cache: Cache, known: Remembered | None) -> Fetched:
    """Get the object, unless it is still the ``known`` one; one that is replaced meanwhile is begun again."""
    for _ in range(ATTEMPTS - 1):
        try:
            return download_once(location, client, cache=cache, known=known)
        except answered_error() as error:
            if error_code(error) not in CHANGED:
                raise
    return download_once(location, client, cache=cache, known=known)


def download_once(location: Location, client: S3Client, *, cache: Cache, known: Remembered | None) -> Fetched:
    """Get the object in the state that it has now."""
    if known is None:
        return store(location, open_object(location, client), client, cache=cache)
    opening = open_changed(location, client, known.etag)
    if opening is None:
        return verified(known.fetched, location)
    fetched = store(location, opening, client, cache=cache)
    known.fetched.lease.close()
    return fetched


def store(location: Location, opening: Opening, client: S3Client, *, cache: Cache) -> Fetched:
    """Write an object to the cache, and remember under which ETag it came."""
    digests = []

    def write(sink: int) -> str:
        digests.append(Transfer(client, opening, sink).run(with_digest=bool(location.sha256) or not opening.etag))
        if location.sha256:
            require_digest(digests[0], location)
        return digests[0] or state_name(location, opening.etag)

    entry = add_file(cache, opening.size, write, where=location.text)
    fetched = Fetched(entry, digests[0] or state_name(location, opening.etag), digests[0])
    remember(location, opening.etag, fetched, cache=cache)
    return fetched


def verified(fetched: Fetched, location: Location) -> Fetched:
    """What was fetched earlier, once it is sure to be what is pinned.

    Raises:
        ArchiveRejected: It is not.
    """
    if location.sha256:
        digest = fetched.digest or file_digest(fetched.lease.path)
        require_digest(digest, location)
        return fetched._replace(digest=digest)
    return fetched


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
