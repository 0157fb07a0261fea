"""A store: a folder or an S3 prefix in which archives are found by name (GLUON_MODEL_STORE)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Protocol

from gluon_lambda.archive_store.location import Location, child_location
from gluon_lambda.archive_store.manifest import MANIFEST_0_4, MANIFEST_1_X
from gluon_lambda.archive_store.s3 import ClientFactory, S3Client, make_full_client
from gluon_lambda.errors import ArchiveNotFound, ConfigurationError

# In the order in which one is taken where several of one name are there; a folder comes last, since archives are often
# made from the folder beside them.
SUFFIXES = (".model", ".mar", ".tar.gz", ".tgz")

# MMS 1.x's rule for model names (model-archiver's arg_parser.py). It keeps paths out of names that come from requests.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class ArchiveStore(Protocol):
    """Where archives are found by name."""

    def find(self, name: str) -> Location:
        """Where the archive of that name lies.

        Raises:
            ArchiveNotFound: There is none.
            StoreUnavailable: The store cannot be asked.
        """
        ...

    def names(self) -> tuple[str, ...]:
        """The name of every archive, sorted.

        Raises:
            StoreUnavailable: The store cannot be asked.
        """
        ...


def open_store(location: Location, *, make_client: ClientFactory = make_full_client) -> ArchiveStore:
    """The store at ``location``; it is not asked yet.

    Raises:
        ConfigurationError: The location pins a version or digest, which only one archive can have.
    """
    if location.version_id or location.sha256:
        raise ConfigurationError(f"{location.text}: a store holds many archives, so it has no versionId or sha256.")
    return S3Store(location, make_client) if location.on_s3 else FolderStore(location)


class FolderStore:
    """Archives in a folder on disk, plain folders among them."""

    def __init__(self, location: Location) -> None:
        # Absolute from the start: archives' code may change the working directory before the store is asked.
        self._location = location._replace(path=os.path.abspath(location.path))

    def find(self, name: str) -> Location:
        """Where the archive of that name lies.

        Raises:
            ArchiveNotFound: There is none.
        """
        return child_location(self._location, pick(name, self._entries(), where=self._location.text))

    def names(self) -> tuple[str, ...]:
        """The name of every archive, sorted."""
        return names_of(self._entries())

    def _entries(self) -> list[str]:
        """The names of the files, and those of the folders that hold a manifest, which end with ``/``."""
        try:
            with os.scandir(self._location.path) as entries:
                found = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
        except OSError as error:
            raise ArchiveNotFound(
                f"{self._location.text}: the store cannot be listed: {error.strerror}. Check GLUON_MODEL_STORE."
            ) from error
        return [name for name in found if not name.endswith("/") or self._has_manifest(name)]

    def _has_manifest(self, folder: str) -> bool:
        path = os.path.join(self._location.path, folder)
        return any(os.path.isfile(os.path.join(path, manifest)) for manifest in (MANIFEST_0_4, MANIFEST_1_X))


class S3Store:
    """Archives under an S3 prefix, which counts as a folder: what lies in further folders is not looked at."""

    def __init__(self, location: Location, make_client: ClientFactory) -> None:
        prefix = location.path.rstrip("/")
        self._location = location._replace(path=f"{prefix}/" if prefix else "")
        self._make_client = make_client
        self._client: S3Client | None = None

    def find(self, name: str) -> Location:
        """Where the archive of that name lies.

        Raises:
            ArchiveNotFound: There is none.
            StoreUnavailable: S3 cannot be asked.
        """
        check_store_name(name, where=self._location.text)
        return child_location(self._location, pick(name, self._keys(f"{name}."), where=self._location.text))

    def names(self) -> tuple[str, ...]:
        """The name of every archive, sorted.

        Raises:
            StoreUnavailable: S3 cannot be asked.
        """
        return names_of(self._keys(""))

    def _keys(self, start: str) -> list[str]:
        """The keys that start so, without the store's prefix. S3 gives a thousand at a time."""
        from gluon_lambda.archive_store.s3_errors import s3_errors  # lazy: a folder does not need it

        keys: list[str] = []
        request = {"Bucket": self._location.bucket, "Prefix": self._location.path + start, "Delimiter": "/"}
        if self._client is None:
            self._client = self._make_client()
        with s3_errors(self._location, "s3:ListBucket"):
            while True:
                answer = self._client.list_objects_v2(**request)
                keys += [entry["Key"].removeprefix(self._location.path) for entry in answer.get("Contents", [])]
                if not answer.get("IsTruncated"):
                    return keys
                request["ContinuationToken"] = answer["NextContinuationToken"]


def check_store_name(name: str, *, where: str) -> None:
    """Refuse a name that no archive in a store can have.

    Raises:
        ArchiveNotFound: Says what names look like.
    """
    if not NAME.fullmatch(name):
        raise ArchiveNotFound(
            f"{where}: no archive can be called {name!r}. Names have letters, digits, _ . and -, and start with one "
            "of the first two."
        )


def pick(name: str, entries: Iterable[str], *, where: str) -> str:
    """The entry that holds the archive ``name``."""
    check_store_name(name, where=where)
    there = set(entries)
    for candidate in (*(name + suffix for suffix in SUFFIXES), f"{name}/"):
        if candidate in there:
            return candidate
    raise ArchiveNotFound(f"{where}: there is no {name}.model, .mar, .tar.gz or .tgz in it, nor a folder {name}/.")


def names_of(entries: Iterable[str]) -> tuple[str, ...]:
    """The names that archives among ``entries`` have, sorted."""
    names = {entry.removesuffix(suffix) for entry in entries for suffix in (*SUFFIXES, "/") if entry.endswith(suffix)}
    return tuple(sorted(name for name in names if NAME.fullmatch(name)))
