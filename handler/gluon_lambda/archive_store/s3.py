"""Fetch archives from S3 into the cache (Amazon S3 API Reference: GetObject, ListObjectsV2, Error Responses).

An object is fetched once for each of its states: a pinned digest or version that is in the cache asks S3 nothing; an
unpinned one is asked for with ``If-None-Match``, so that only a changed object is sent again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

from gluon_lambda.archive_store.cache import ARCHIVES, OBJECTS, Cache, Lease, add_file, lease
from gluon_lambda.archive_store.digests import new_sha256, require_digest
from gluon_lambda.archive_store.location import Location
from gluon_lambda.errors import ArchiveNotFound, LoadError, StoreUnavailable

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

CHUNK_BYTES = 1 << 20
ATTEMPTS = 3

MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "404", "MethodNotAllowed", "405"})
DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "403"})
NOT_MODIFIED = frozenset({"304", "NotModified"})


class S3Client(Protocol):
    """What is used of boto3's S3 client."""

    def get_object(self, **request: Any) -> dict[str, Any]:
        """GetObject."""
        ...

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        """ListObjectsV2."""
        ...


ClientFactory = Callable[[], S3Client]


class Fetched(NamedTuple):
    """An archive in the cache.

    Attributes:
        lease: Keeps it there.
        digest: Its SHA-256, as hex digits.
    """

    lease: Lease
    digest: str


class Remembered(NamedTuple):
    """What an S3 object was when it was fetched last, still in the cache."""

    etag: str
    fetched: Fetched


def make_s3_client() -> S3Client:
    """boto3's client, with credentials, region and endpoint from the environment as AWS defines them."""
    import boto3  # lazy: 140 to 240 ms that archives on disk do not need
    from botocore.config import Config

    retries = {"mode": "standard", "total_max_attempts": 4}
    client: S3Client = boto3.client("s3", config=Config(connect_timeout=3, read_timeout=20, retries=retries))
    return client


def fetch(location: Location, *, cache: Cache, make_client: ClientFactory) -> Fetched:
    """Bring an archive into the cache, or find it there.

    Raises:
        ArchiveNotFound: There is no such object, version or bucket.
        ArchiveRejected: It is not the one that is pinned, or there is no room for it.
        StoreUnavailable: Access denied, throttled, unreachable; names the cause and what would let it through.
    """
    pinned = lease(cache, ARCHIVES, location.sha256) if location.sha256 else None
    if pinned:
        return Fetched(pinned, location.sha256)
    known = recall(location, cache=cache)
    if known and location.version_id:
        require_digest(known.fetched.digest, location)
        return known.fetched
    client = make_client()
    with s3_errors(location):
        return download(location, client, cache=cache, known=known)


def download(location: Location, client: S3Client, *, cache: Cache, known: Remembered | None) -> Fetched:
    """Get the object, unless it is still the ``known`` one."""
    from botocore.exceptions import BotoCoreError  # lazy: the client has loaded botocore by now

    for attempt in range(1, ATTEMPTS + 1):
        answer = get(location, client, etag=known.etag if known else "")
        if answer is None and known:
            require_digest(known.fetched.digest, location)
            return known.fetched
        try:
            fetched = store(location, answer or {}, cache=cache)
            break
        except BotoCoreError:  # the connection broke off while the body came: botocore retries requests, not bodies
            if attempt == ATTEMPTS:
                raise
    if known:
        known.fetched.lease.close()
    return fetched


def get(location: Location, client: S3Client, *, etag: str) -> dict[str, Any] | None:
    """GetObject's answer; None where the object still has the ``etag``."""
    from botocore.exceptions import ClientError  # lazy: the client has loaded botocore by now

    request = {"Bucket": location.bucket, "Key": location.path}
    if location.version_id:
        request["VersionId"] = location.version_id
    if etag:
        request["IfNoneMatch"] = etag
    try:
        return client.get_object(**request)
    except ClientError as error:
        if etag and error_code(error) in NOT_MODIFIED:
            return None
        raise


def store(location: Location, answer: dict[str, Any], *, cache: Cache) -> Fetched:
    """Write the answer's body into the cache and remember under which ETag it came."""
    digests = []

    def write(sink: IO[bytes]) -> str:
        digests.append(copy_body(answer["Body"], sink))
        require_digest(digests[0], location)
        return digests[0]

    entry = add_file(cache, int(answer["ContentLength"]), write, where=location.text)
    remember(location, str(answer.get("ETag", "")), digests[0], cache=cache)
    return Fetched(entry, digests[0])


def copy_body(body: Any, sink: IO[bytes]) -> str:
    """Copy a streaming body; botocore itself holds its length against ``Content-Length``. Returns the digest."""
    digest = new_sha256()
    while chunk := body.read(CHUNK_BYTES):
        digest.update(chunk)
        sink.write(chunk)
    return digest.hexdigest()


def memory_path(location: Location, cache: Cache) -> str:
    """The file that remembers what the object was."""
    digest = new_sha256()
    digest.update(f"{location.bucket}\0{location.path}\0{location.version_id}".encode())
    return os.path.join(cache.folder, OBJECTS, f"{digest.hexdigest()}.json")


def recall(location: Location, *, cache: Cache) -> Remembered | None:
    """What is remembered of an object, as long as its archive is still in the cache."""
    try:
        with open(memory_path(location, cache), encoding="utf-8") as stream:
            fields = json.load(stream)
        etag, digest = str(fields["etag"]), str(fields["sha256"])
    except (OSError, ValueError, LookupError, TypeError):  # never fetched, or written by something else
        return None
    entry = lease(cache, ARCHIVES, digest)
    return Remembered(etag, Fetched(entry, digest)) if entry else None


def remember(location: Location, etag: str, digest: str, *, cache: Cache) -> None:
    """Note what an object was, in one step."""
    path = memory_path(location, cache)
    draft = f"{path}.{os.getpid()}"
    with open(draft, "w", encoding="utf-8") as stream:
        json.dump({"location": location.text, "etag": etag, "sha256": digest}, stream)
    os.replace(draft, path)


@contextmanager
def s3_errors(location: Location, action: str = "s3:GetObject") -> Iterator[None]:
    """Turn botocore's errors into ours; ``action`` is the IAM action that the call needs."""
    from botocore.exceptions import BotoCoreError, ClientError  # lazy: the client has loaded botocore by now

    try:
        yield
    except ClientError as error:
        raise client_error(error, location, action) from error
    except BotoCoreError as error:
        raise StoreUnavailable(
            f"{location.text}: S3 cannot be reached: {error} "
            "Check the function's role, region and network (a VPC needs an S3 gateway endpoint)."
        ) from error


def error_code(error: ClientError) -> str:
    """S3's name of an error; the bare status where the answer has no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def client_error(error: ClientError, location: Location, action: str) -> LoadError:
    """What an error that S3 answered means to whoever configured the location."""
    code = error_code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code in MISSING or (code == "InvalidArgument" and location.version_id):
        return ArchiveNotFound(
            f"{location.text}: S3 has no such object ({code}). Check bucket, key{' and versionId' * bool(location.version_id)}."
        )
    if code in DENIED:
        return StoreUnavailable(denied(location, action))
    if status in (429, 503) or "SlowDown" in code or "Throttl" in code:
        return StoreUnavailable(f"{location.text}: S3 throttles requests ({code}). Try again in a while.")
    message = error.response.get("Error", {}).get("Message", "")
    return StoreUnavailable(f"{location.text}: S3 answered {code} ({status}): {message}")


def denied(location: Location, action: str) -> str:
    """Say which permission is missing. A missing object looks the same to those who may not list."""
    if action == "s3:ListBucket":
        return f"{location.text}: S3 denies access. The function's role needs s3:ListBucket on arn:aws:s3:::{location.bucket}."
    needed = "s3:GetObjectVersion" if location.version_id else action
    return (
        f"{location.text}: S3 denies access. The function's role needs {needed} on "
        f"arn:aws:s3:::{location.bucket}/{location.path} (and kms:Decrypt where the object is encrypted with a KMS key). "
        f"Without s3:ListBucket on the bucket, S3 answers the same for an object that is not there."
    )
