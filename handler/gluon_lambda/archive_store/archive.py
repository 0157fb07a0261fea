"""Open a model archive: find it, verify it, read what it says of itself."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from gluon_lambda.archive_store.cache import Cache, discard
from gluon_lambda.archive_store.contents import Contents, FolderContents, ZipContents, open_tar
from gluon_lambda.archive_store.digests import file_digest, require_digest
from gluon_lambda.archive_store.location import Location
from gluon_lambda.archive_store.manifest import (
    FORM_0_4,
    MANIFEST_0_4,
    MANIFEST_1_X,
    Manifest,
    manifest_form,
    parse_manifest,
)
from gluon_lambda.archive_store.members import Limits
from gluon_lambda.archive_store.s3 import ClientFactory, make_s3_client
from gluon_lambda.archive_store.signature import Signature, parse_signature
from gluon_lambda.archive_store.tar_archive import MAGIC as GZIP_MAGIC
from gluon_lambda.archive_store.zip_directory import END_MAGIC, LOCAL_MAGIC
from gluon_lambda.errors import ArchiveCorrupt, ArchiveError, ArchiveNotFound, ConfigurationError, SignatureInvalid

if TYPE_CHECKING:
    from gluon_lambda.archive_store.fetching import Fetch, Fetched

LABELS = "synset.txt"


class Archive:
    """A model archive, open and verified.

    Attributes:
        name: The model's name, as requests use it.
        location: Where it lies, as it was configured.
        manifest: What its manifest says.
        signature: What its ``signature.json`` says, or None where it has none.
        labels: The lines of its ``synset.txt``; empty where it has none.
    """

    def __init__(self, name: str, location: str, contents: Contents) -> None:
        self.name = name
        self.location = location
        self._contents = contents
        self.manifest: Manifest = self._read_manifest()
        self.signature: Signature | None = self._read_signature()
        self.labels: tuple[str, ...] = self._read_labels()

    @property
    def members(self) -> tuple[str, ...]:
        """Every file's name, sorted. A 0.4 archive is flat; the folder that holds everything is taken off."""
        return self._contents.members

    @property
    def digest(self) -> str:
        """The archive's SHA-256 as hex digits, of a folder that of its content. Read when it is asked for first."""
        return self._contents.digest()

    def read(self, member: str) -> bytes:
        """A member's bytes.

        Raises:
            ArchiveCorrupt: There is no such member, or it is damaged.
        """
        return bytes(self.buffer(member))

    def buffer(self, member: str) -> memoryview:
        """A member's bytes straight from the archive, verified; a stored member's are the file's own pages.

        Raises:
            ArchiveCorrupt: There is no such member, or it is damaged.
        """
        try:
            return self._contents.buffer(member)
        except KeyError as error:
            listing = ", ".join(self.members[:20])
            raise ArchiveCorrupt(f"{self.location}: there is no member {member!r}. It holds: {listing}.") from error

    def folder(self) -> str:
        """The absolute path of a folder that holds the members: unpacked on first use, or the archive itself.

        Raises:
            ArchiveCorrupt: A member is damaged.
            ArchiveRejected: There is no room to unpack it.
            ConfigurationError: The cache folder cannot be used.
        """
        return self._contents.folder()

    def close(self) -> None:
        """Give the archive up; the cache may remove it and its folder from now on."""
        self._contents.close()

    def _read_manifest(self) -> Manifest:
        member = MANIFEST_0_4 if manifest_form(self.members) == FORM_0_4 else MANIFEST_1_X
        raw = self.read(member) if member in self.members else None
        return parse_manifest(raw, members=self.members, name=self.name, where=self.location)

    def _read_signature(self) -> Signature | None:
        member = self.manifest.signature
        if not member:
            return None
        try:
            return parse_signature(self.read(member), where=f"{self.location}: {member}")
        except SignatureInvalid:
            # MMS 1.x never read the file itself: a handler may keep something of its own under this name.
            if self.manifest.form == FORM_0_4 or not self.manifest.service:
                raise
            return None

    def _read_labels(self) -> tuple[str, ...]:
        if LABELS not in self.members:
            return ()
        text = str(self.buffer(LABELS), "utf-8-sig", "replace")
        return tuple(line.strip() for line in text.rstrip().split("\n"))


def open_archive(
    name: str,
    location: Location,
    *,
    cache: Cache,
    make_client: ClientFactory = make_s3_client,
    limits: Limits = Limits(),  # noqa: B008  an immutable record
    fetch: Fetch | None = None,
) -> Archive:
    """Open the archive at ``location``, fetching it first where it lies on S3.

    Args:
        name: The model's name, as requests use it.
        location: Where it lies: a file or folder on disk, or an object on S3.
        cache: Where fetched archives and unpacked trees are kept.
        make_client: Makes the S3 client; called only where S3 has to be asked.
        limits: How large it may grow.
        fetch: The fetch of this location, where it has been begun.

    Raises:
        ArchiveError: It is not there, damaged, not trusted, or its manifest or signature is wrong.
        StoreUnavailable: S3 denies access, throttles or cannot be reached.
        ConfigurationError: The location or the cache folder cannot be used.
    """
    if location.on_s3:
        from gluon_lambda.archive_store import fetching  # lazy: archives on disk do not need it

        fetched = (
            fetch.result() if fetch else fetching.fetch(location, cache=cache, make_client=make_client, limits=limits)
        )
        return open_fetched(name, location, fetched, cache=cache, limits=limits)
    path = os.path.abspath(location.path)
    return read_archive(name, location, open_disk(path, location, cache=cache, limits=limits))


def open_fetched(name: str, location: Location, fetched: Fetched, *, cache: Cache, limits: Limits) -> Archive:
    """Open a fetched archive; one that turns out bad does not stay in the cache."""
    try:
        return read_archive(name, location, fetched_contents(location, fetched, cache=cache, limits=limits))
    except ArchiveError:
        discard(cache, fetched.lease)
        raise


def fetched_contents(location: Location, fetched: Fetched, *, cache: Cache, limits: Limits) -> Contents:
    """The contents of a fetched archive: of a file, or of a folder in which it is laid out."""
    path, digest = fetched.lease.path, fetched.digest
    if not os.path.isdir(path):
        return open_file(path, location, cache=cache, limits=limits, digest=digest, fetched=fetched)
    from gluon_lambda.archive_store.laid_out import LaidOutContents  # lazy: only large archives on S3 are laid out

    return LaidOutContents(fetched.lease, where=location.text, cache=cache, limits=limits, digest=digest)


def read_archive(name: str, location: Location, contents: Contents) -> Archive:
    """The archive, once manifest and signature are read; where they are wrong nothing of it stays."""
    with ExitStack() as on_failure:
        on_failure.callback(contents.discard)
        archive = Archive(name, location.text, contents)
        on_failure.pop_all()
    return archive


def open_disk(path: str, location: Location, *, cache: Cache, limits: Limits) -> Contents:
    """The contents of a file or folder on disk."""
    if not os.path.exists(path):
        raise ArchiveNotFound(f"{location.text}: there is no such file or folder ({path}). Check the location.")
    if not os.path.isdir(path):
        digest = file_digest(path) if location.sha256 else ""
        require_digest(digest, location)
        return open_file(path, location, cache=cache, limits=limits, digest=digest)
    folder = FolderContents(path, where=location.text, cache=cache, limits=limits)
    if location.sha256:
        require_digest(folder.digest(), location)
    return folder


def open_file(
    path: str, location: Location, *, cache: Cache, limits: Limits, digest: str = "", fetched: Fetched | None = None
) -> Contents:
    """The contents of an archive file; its first bytes say what it is, not its name."""
    magic = read_magic(path, location)
    if magic in (LOCAL_MAGIC, END_MAGIC):
        return ZipContents(path, where=location.text, cache=cache, limits=limits, digest=digest, fetched=fetched)
    if magic[:2] == GZIP_MAGIC:
        contents = open_tar(path, where=location.text, cache=cache, limits=limits, digest=digest)
        if fetched:
            fetched.lease.close()  # only the tree is used from now on
        return contents
    raise ArchiveCorrupt(
        f"{location.text}: neither a zip (.model, .mar) nor a .tar.gz; it starts with {magic!r}. Fetch or pack it again."
    )


def read_magic(path: str, location: Location) -> bytes:
    """The first four bytes of a file."""
    try:
        # A pipe would wait for somebody to write to it.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:
            return stream.read(4) or b""
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise ConfigurationError(f"{location.text}: no permission to read {path}. Grant read access.") from error
        raise ArchiveNotFound(
            f"{location.text}: {path} cannot be read: {error.strerror}. Check the location."
        ) from error
