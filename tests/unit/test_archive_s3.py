"""Fetching from S3: what is sent, what is kept, and what each failure says."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ResponseStreamingError,
)
from moto import mock_aws

from gluon_lambda.archive_store.archive import Archive, open_archive
from gluon_lambda.archive_store.cache import Cache, open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.errors import ArchiveCorrupt, ArchiveNotFound, ArchiveRejected, ConfigurationError, StoreUnavailable
from tests.archive_samples import FILES_0_4, FILES_1_X, tar_bytes, zip_bytes

BUCKET = "models-bucket"
FIRST, SECOND = zip_bytes(FILES_0_4), zip_bytes({**FILES_0_4, "synset.txt": b"new"})
FIRST_DIGEST = hashlib.sha256(FIRST).hexdigest()


class Recorder:
    """A client that notes what is asked, and how much is sent back."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.requests: list[dict[str, Any]] = []
        self.bodies = 0

    def get_object(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        answer: dict[str, Any] = self._client.get_object(**request)
        self.bodies += 1
        return answer

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        raise AssertionError(request)

    def close(self) -> None:
        pass


class Failing:
    """A client whose every request fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get_object(self, **request: Any) -> dict[str, Any]:
        raise self.error

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        raise self.error

    def close(self) -> None:
        pass


class BreakingOff:
    """A client whose bodies break off, so many times; in ``silence`` they just end."""

    def __init__(self, times: int, *, silence: bool = False) -> None:
        self.times = times
        self.silence = silence

    def get_object(self, **request: Any) -> dict[str, Any]:
        self.times -= 1
        start = int(request["Range"].removeprefix("bytes=").partition("-")[0])
        rest = FIRST[start:]
        broken = io.BytesIO(rest[:1000]) if self.silence else Breaking(rest)
        body = io.BytesIO(rest) if self.times < 0 else broken
        span = f"bytes {start}-{len(FIRST) - 1}/{len(FIRST)}"
        return {"Body": body, "ContentLength": len(rest), "ContentRange": span, "ETag": '"1"'}

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        raise AssertionError(request)

    def close(self) -> None:
        pass


class Breaking:
    """A body that breaks off after its first piece."""

    def __init__(self, content: bytes) -> None:
        self._pieces = [content[:1000]]

    def readinto(self, buffer: memoryview) -> int:
        if not self._pieces:
            raise ResponseStreamingError(error="broken off")
        piece = self._pieces.pop()
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield client


@pytest.fixture
def client(s3: Any) -> Recorder:
    return Recorder(s3)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return open_cache(str(tmp_path / "cache"))


def put(s3: Any, content: bytes, key: str = "digits.model") -> str:
    version: str = s3.put_object(Bucket=BUCKET, Key=key, Body=content)["VersionId"]
    return version


def open_s3(text: str, client: Any, cache: Cache) -> Archive:
    return open_archive("digits", parse_location(f"s3://{BUCKET}/{text}"), cache=cache, make_client=lambda: client)


def kept(cache: Cache) -> list[str]:
    """Everything in the cache, without what is only remembered."""
    if not os.path.exists(cache.folder):
        return []
    return [name for kind in ("archives", "incoming", "trees") for name in os.listdir(f"{cache.folder}/{kind}")]


def test_an_unchanged_object_is_asked_for_and_not_sent_again(s3: Any, client: Recorder, cache: Cache) -> None:
    put(s3, FIRST)
    first = open_s3("digits.model", client, cache)
    assert first.digest == FIRST_DIGEST
    assert len(kept(cache)) == 1
    again = open_s3("digits.model", client, cache)
    assert again.read("synset.txt") == FILES_0_4["synset.txt"]
    assert [set(request) - {"Range"} for request in client.requests] == [
        {"Bucket", "Key"},
        {"Bucket", "Key", "IfNoneMatch"},
    ]
    assert client.bodies == 1


def test_a_changed_object_is_fetched_again(s3: Any, client: Recorder, cache: Cache) -> None:
    put(s3, FIRST)
    open_s3("digits.model", client, cache).close()
    put(s3, SECOND)
    assert open_s3("digits.model", client, cache).labels == ("new",)
    assert client.bodies == 2


def test_a_pinned_version_is_fetched_and_then_never_asked_for(s3: Any, client: Recorder, cache: Cache) -> None:
    version = put(s3, FIRST)
    put(s3, SECOND)
    for _ in range(2):
        archive = open_s3(f"digits.model?versionId={version}", client, cache)
        assert archive.digest == FIRST_DIGEST
    assert [request["VersionId"] for request in client.requests] == [version]


def test_a_pinned_digest_is_verified_and_then_never_asked_for(s3: Any, client: Recorder, cache: Cache) -> None:
    put(s3, FIRST)
    for _ in range(2):
        open_s3(f"digits.model#sha256={FIRST_DIGEST}", client, cache)
    assert len(client.requests) == 1


def test_an_object_that_is_not_the_pinned_one_is_refused_and_not_kept(s3: Any, client: Recorder, cache: Cache) -> None:
    version = put(s3, SECOND)
    with pytest.raises(ArchiveRejected, match=rf"its sha256 is .* not the {FIRST_DIGEST}"):
        open_s3(f"digits.model#sha256={FIRST_DIGEST}", client, cache)
    assert kept(cache) == []
    open_s3(f"digits.model?versionId={version}", client, cache).close()
    with pytest.raises(ArchiveRejected, match="its sha256 is"):
        open_s3(f"digits.model?versionId={version}#sha256={FIRST_DIGEST}", client, cache)


@pytest.mark.parametrize(
    "content",
    [b"text", b"", FIRST[:-30], zip_bytes({"a": b""}), tar_bytes({"a": b"", "b/../c": b""}), tar_bytes({"a": b""})],
)
def test_a_bad_archive_does_not_stay_in_the_cache(s3: Any, client: Recorder, cache: Cache, content: bytes) -> None:
    put(s3, content)
    with pytest.raises(Exception, match=r"s3://models-bucket/digits\.model"):
        open_s3("digits.model", client, cache)
    assert kept(cache) == []
    put(s3, FIRST)
    assert open_s3("digits.model", client, cache).digest == FIRST_DIGEST


def test_a_tar_gz_from_s3_is_unpacked_once(s3: Any, client: Recorder, cache: Cache) -> None:
    put(s3, tar_bytes(FILES_1_X), "digits.tar.gz")
    first = open_s3("digits.tar.gz", client, cache).folder()
    before = os.stat(f"{first}/synset.txt").st_mtime_ns
    assert open_s3("digits.tar.gz", client, cache).folder() == first
    assert os.stat(f"{first}/synset.txt").st_mtime_ns == before


def test_what_is_remembered_of_an_object_may_be_garbled(s3: Any, client: Recorder, cache: Cache) -> None:
    put(s3, FIRST)
    open_s3("digits.model", client, cache).close()
    (memory,) = Path(cache.folder, "objects").iterdir()
    for garbled in ("", "[]", "{}", "null", '{"etag": 1}'):
        memory.write_text(garbled)
        assert open_s3("digits.model", client, cache).digest == FIRST_DIGEST


def test_an_archive_that_was_removed_from_the_cache_is_fetched_again(s3: Any, client: Recorder, cache: Cache) -> None:
    put(s3, FIRST)
    open_s3("digits.model", client, cache).close()
    (entry,) = kept(cache)
    os.unlink(f"{cache.folder}/archives/{entry}")
    open_s3("digits.model", client, cache)
    assert client.bodies == 2


@pytest.mark.parametrize("silence", [False, True])
def test_a_body_that_breaks_off_is_fetched_again(cache: Cache, *, silence: bool) -> None:
    assert open_s3("digits.model", BreakingOff(2, silence=silence), cache).digest == FIRST_DIGEST
    assert len(kept(cache)) == 1


def test_a_body_that_always_breaks_off_leaves_nothing_behind(cache: Cache) -> None:
    with pytest.raises(StoreUnavailable, match="broken off"):
        open_s3("digits.model", BreakingOff(3), cache)
    assert kept(cache) == []


def test_an_archive_that_the_disk_has_no_room_for_is_served_from_memory(
    s3: Any, client: Recorder, cache: Cache
) -> None:
    put(s3, FIRST)
    full = cache._replace(free_bytes=lambda _: 0, free_memory=lambda: 1 << 30)
    for _ in range(2):
        archive = open_s3(f"digits.model#sha256={FIRST_DIGEST}", client, full)
        assert {member: archive.read(member) for member in archive.members} == dict(FILES_0_4)
        assert type(archive.buffer("digits-0007.params").obj).__name__ == "mmap"
        with pytest.raises(ArchiveRejected, match="EphemeralStorage"):
            archive.folder()
        archive.close()
    assert kept(full) == []
    put(s3, b"text")
    with pytest.raises(ArchiveCorrupt, match="neither a zip"):
        open_s3("digits.model", client, full)


def test_an_archive_on_disk_needs_no_client(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "a.model").write_bytes(FIRST)
    location = parse_location(str(tmp_path / "a.model"))
    open_archive("digits", location, cache=cache, make_client=lambda: pytest.fail("asked for"))


@pytest.mark.parametrize(
    ("text", "code"),
    [("gone.model", "NoSuchKey"), ("digits.model?versionId=3HL4kqtJlcpXroDTDmJrmSpXd3dIbrHY", "NoSuchVersion|Invalid")],
)
def test_what_is_not_on_s3_is_not_found(s3: Any, client: Recorder, cache: Cache, text: str, code: str) -> None:
    put(s3, FIRST)
    with pytest.raises(ArchiveNotFound, match=code):
        open_s3(text, client, cache)
    assert kept(cache) == []


def test_a_bucket_that_is_not_there_is_not_found(s3: Any, cache: Cache) -> None:
    with pytest.raises(ArchiveNotFound, match="NoSuchBucket"):
        open_archive("x", parse_location("s3://other-bucket/x.model"), cache=cache, make_client=lambda: s3)


@pytest.mark.parametrize("text", ["", "folder/"])
def test_a_folder_on_s3_is_refused_with_the_way_out(client: Recorder, cache: Cache, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Pack the folder as \.model or \.mar"):
        open_s3(text, client, cache)


def client_error(code: str, status: int, message: str = "") -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetObject")


@pytest.mark.parametrize(
    ("error", "text", "said"),
    [
        (
            client_error("AccessDenied", 403),
            "a.model",
            r"s3:GetObject on arn:aws:s3:::models-bucket/a\.model .*kms:Decrypt",
        ),
        (client_error("403", 403), "a.model", "s3:GetObject"),
        (client_error("AccessDenied", 403), "a.model?versionId=1", "s3:GetObjectVersion on"),
        (client_error("SlowDown", 503), "a.model", "throttles"),
        (client_error("ThrottlingException", 400), "a.model", "throttles"),
        (client_error("InternalError", 500, "We failed."), "a.model", r"InternalError \(500\): We failed\."),
        (client_error("InvalidObjectState", 403, "It is archived."), "a.model", "It is archived"),
        (NoCredentialsError(), "a.model", r"Unable to locate credentials\. Check the function's role"),
        (EndpointConnectionError(endpoint_url="https://s3"), "a.model", "https://s3.*VPC"),
        (BotoCoreError(), "a.model", "cannot be reached"),
    ],
)
def test_a_store_that_refuses_says_why_and_what_it_needs(cache: Cache, error: Exception, text: str, said: str) -> None:
    with pytest.raises(StoreUnavailable, match=said):
        open_s3(text, Failing(error), cache)
    assert kept(cache) == []


def test_a_store_that_cannot_be_asked_about_a_kept_archive_fails_as_well(
    s3: Any, client: Recorder, cache: Cache
) -> None:
    put(s3, FIRST)
    open_s3("digits.model", client, cache).close()
    with pytest.raises(StoreUnavailable):
        open_s3("digits.model", Failing(client_error("SlowDown", 503)), cache)
    with pytest.raises(ArchiveCorrupt):
        open_s3("digits.model", client, cache).read("nothing")
