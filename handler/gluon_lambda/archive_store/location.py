"""Where an archive lies: the text that GLUON_MODELS and GLUON_MODEL_STORE take, read once into a record."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from gluon_lambda.errors import ConfigurationError

ACCEPTED = "a path or s3://bucket/key, with optional ?versionId=… (S3) and #sha256=…"

SHA256 = re.compile(r"[0-9a-f]{64}")
# Amazon S3 User Guide, "General purpose bucket naming rules"; upper case and _ are of old buckets.
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


class Location(NamedTuple):
    """Where an archive, or a store of archives, lies.

    Attributes:
        text: As it was written; what errors show.
        path: A path on disk, or the key on S3; percent-decoded.
        bucket: The S3 bucket, or ``""`` on disk.
        version_id: The S3 version to fetch, or ``""`` for the newest.
        sha256: The digest (64 hex digits, lower case) that the archive must have, or ``""``.
    """

    text: str
    path: str
    bucket: str = ""
    version_id: str = ""
    sha256: str = ""

    @property
    def on_s3(self) -> bool:
        """Whether the archive lies on S3."""
        return bool(self.bucket)


def parse_location(text: str) -> Location:
    """Read a location.

    Args:
        text: ``path``, ``file:///path`` or ``s3://bucket/key``, percent-encoded where it holds a space, ``#``, ``?`` or
            ``%``; then ``?versionId=`` (S3 only) and ``#sha256=``, each optional.

    Raises:
        ConfigurationError: The text is none of these; says which part is wrong.
    """
    rest, _, fragment = text.partition("#")
    address, _, query = rest.partition("?")
    scheme = SCHEME.match(address)
    sha256 = parse_sha256(text, fragment)
    version_id = parse_version_id(text, query)
    if scheme is None or scheme[1] == "file":
        return disk_location(text, address.removeprefix("file://"), version_id=version_id, sha256=sha256)
    if scheme[1] != "s3":
        raise ConfigurationError(f"{text}: {scheme[1]}:// is not fetched. Accepted: {ACCEPTED}.")
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not BUCKET.fullmatch(bucket):
        raise ConfigurationError(f"{text}: {bucket!r} is no S3 bucket name. Accepted: {ACCEPTED}.")
    return Location(text, unquote(key), bucket, version_id, sha256)


def disk_location(text: str, address: str, *, version_id: str, sha256: str) -> Location:
    """The location of a path on disk, which has no versions."""
    path = unquote(address)
    if not path or "\0" in path:
        raise ConfigurationError(f"{text!r}: there is no path in it. Accepted: {ACCEPTED}.")
    if version_id:
        raise ConfigurationError(f"{text}: only S3 has a versionId. Encode a ? that is part of the path as %3F.")
    return Location(text, path, sha256=sha256)


def parse_sha256(text: str, fragment: str) -> str:
    """The digest in ``sha256=…``, or ``""`` for no fragment."""
    if not fragment:
        return ""
    digest = fragment.removeprefix("sha256=").lower()
    if not fragment.startswith("sha256=") or not SHA256.fullmatch(digest):
        raise ConfigurationError(
            f"{text}: after # only sha256= and 64 hex digits can stand. Encode a # that is part of the path as %23."
        )
    return digest


def parse_version_id(text: str, query: str) -> str:
    """The version in ``versionId=…``, or ``""`` for no query."""
    if not query:
        return ""
    # A version id may hold a +, which a query would read as a space.
    fields = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
    if [name for name, _ in fields] != ["versionId"] or not fields[0][1]:
        raise ConfigurationError(
            f"{text}: after ? only versionId= and a version can stand. Encode a ? that is part of the path as %3F."
        )
    return fields[0][1]


def child_location(parent: Location, name: str) -> Location:
    """The location of ``name`` inside the folder or prefix ``parent``."""
    path = f"{parent.path.rstrip('/')}/{name}".lstrip("/" if parent.on_s3 else "")
    text = f"s3://{parent.bucket}/{quote(path)}" if parent.on_s3 else quote(path)
    return Location(text, path, parent.bucket)
