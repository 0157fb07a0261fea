"""SHA-256 digests of files and folders: the names that contents have in the cache."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gluon_lambda.archive_store.location import Location
from gluon_lambda.errors import ArchiveRejected

if TYPE_CHECKING:
    from hashlib import _Hash

CHUNK_BYTES = 1 << 20


def new_sha256() -> _Hash:
    """An empty SHA-256."""
    import hashlib  # lazy: loads OpenSSL (3 ms), and an archive on disk without a pinned digest needs none

    return hashlib.sha256(usedforsecurity=False)


def file_digest(path: str) -> str:
    """The digest of a file's bytes, as hex digits."""
    digest = new_sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def bytes_digest(content: memoryview) -> str:
    """The digest of bytes, as hex digits."""
    digest = new_sha256()
    digest.update(content)
    return digest.hexdigest()


def folder_digest(files: Mapping[str, str]) -> str:
    """The digest of a folder's content: of its files' names, sizes and digests in order; times and modes do not count.

    Args:
        files: Path by name.
    """
    digest = new_sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{os.path.getsize(path)}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


def require_digest(digest: str, location: Location) -> None:
    """Refuse an archive that is not the one that its location pins.

    Raises:
        ArchiveRejected: Names both digests.
    """
    if location.sha256 and digest != location.sha256:
        raise ArchiveRejected(
            f"{location.text}: its sha256 is {digest}, not the {location.sha256} of its location. "
            "Restore the archive, or correct the digest if it was meant to change."
        )
