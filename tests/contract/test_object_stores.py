"""One suite over S3 by either client, against moto, and the store in memory that other tests use. They must not differ."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import boto3
import pytest

from gluon_lambda.batch.objects import PART_BYTES, PRODUCER, ObjectStore
from gluon_lambda.batch.reader import open_object
from gluon_lambda.batch.s3_calls import Connection
from gluon_lambda.batch.s3_objects import S3Objects
from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.errors import ObjectMissing, ObjectRefused, ObjectReplaced, ObjectUnavailable
from local_emulator.local_aws import moto_server
from tests.memory_objects import MemoryObjects
from tests.scripted_s3 import CREDENTIALS

LONG = random.Random(1).randbytes(2 * PART_BYTES + 12345)
KEY = "in/zéro net+~(1) & <2>%41.jsonl"
NUMBERS = itertools.count()


class Place(NamedTuple):
    """A store and how others write to it: ``put`` gives the reference that an event would."""

    store: ObjectStore
    put: Callable[..., ObjectRef]
    plain: str
    versioned: str


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture(scope="module")
def connections(endpoint: str) -> dict[str, Connection]:
    """By the client that they use; boto3's reads the process's own environment."""
    return {"lean": Connection({**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}), "boto3": Connection({})}


def on_moto(endpoint: str, connection: Connection) -> Place:
    number = next(NUMBERS)
    plain, versioned = f"plain-{number}", f"versioned-{number}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="x", aws_secret_access_key="y", region_name="eu-west-1"
    )
    for bucket in (plain, versioned):
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    client.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Enabled"})

    def put(
        bucket: str, key: str, content: bytes, *, metadata: Mapping[str, str] | None = None, **more: str
    ) -> ObjectRef:
        named: dict[str, Any] = {"".join(map(str.title, name.split("_"))): value for name, value in more.items()}
        answer = client.put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata or {}, **named)
        return ObjectRef(bucket, key, answer.get("VersionId", ""), answer["ETag"].strip('"'), len(content))

    return Place(S3Objects(connection, lambda: 60_000), put, plain, versioned)


def in_memory() -> Place:
    store = MemoryObjects("plain", versioned=["versioned"])
    return Place(store, store.put, "plain", "versioned")


@pytest.fixture(params=["lean", "boto3", "memory"])
def place(
    request: pytest.FixtureRequest, endpoint: str, connections: dict[str, Connection], monkeypatch: pytest.MonkeyPatch
) -> Place:
    if request.param == "memory":
        return in_memory()
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    return on_moto(endpoint, connections[request.param])


def write(place: Place, key: str, *pieces: bytes, bucket: str = "", **metadata: str) -> bool:
    content_type = "application/x-ndjson"
    return place.store.write_new(bucket or place.plain, key, pieces, content_type=content_type, metadata=metadata)


# Facts.


def test_facts_are_what_was_stored(place: Place) -> None:
    said = {"content_type": "Text/CSV; charset=utf-8", "content_encoding": "gzip", "metadata": {"Gluon-Model": "zoo"}}
    reference = place.put(place.plain, KEY, b"1,2\n", **said)
    facts = place.store.facts(reference)
    assert facts == (4, reference.etag, "", "text/csv", "gzip", {"gluon-model": "zoo"})


def test_facts_without_a_version_are_the_newest_ones(place: Place) -> None:
    place.put(place.versioned, "a", b"older")
    newer = place.put(place.versioned, "a", b"newer one")
    facts = place.store.facts(ObjectRef(place.versioned, "a"))
    assert (facts.version, facts.etag, facts.size) == (newer.version, newer.etag, 9)


def test_facts_of_a_version_are_its_own_after_it_was_replaced(place: Place) -> None:
    older = place.put(place.versioned, "a", b"older")
    place.put(place.versioned, "a", b"newer one")
    assert place.store.facts(older).size == 5


def test_an_empty_object_has_facts_and_nothing_to_read(place: Place) -> None:
    reference = place.put(place.plain, "empty", b"")
    assert place.store.facts(reference).size == 0
    assert bytes(place.store.read(reference, 0, 0)) == b""
    assert place.store.read_small(place.plain, "empty") == b""


@pytest.mark.parametrize("quote", ["", '"'])
def test_an_etag_is_taken_with_quotes_and_without(place: Place, quote: str) -> None:
    reference = place.put(place.plain, "a", b"abc")
    assert bytes(place.store.read(reference._replace(etag=f"{quote}{reference.etag}{quote}"), 1, 2)) == b"bc"


# Reading.


def test_exactly_the_bytes_that_are_asked_for_are_read(place: Place) -> None:
    reference = place.put(place.plain, KEY, LONG)
    for start, length in ((0, 1), (100, 4096), (PART_BYTES - 1, 2), (len(LONG) - 3, 3), (0, len(LONG))):
        assert place.store.read(reference, start, length) == LONG[start : start + length]


def test_a_version_is_read_after_it_was_replaced(place: Place) -> None:
    older = place.put(place.versioned, "a", b"older")
    place.put(place.versioned, "a", b"newer")
    assert bytes(place.store.read(older, 0, 5)) == b"older"
    assert bytes(place.store.read(ObjectRef(place.versioned, "a"), 0, 5)) == b"newer"


def test_an_object_that_was_replaced_is_told_as_such_and_not_read(place: Place) -> None:
    reference = place.put(place.plain, "a", b"older")
    place.put(place.plain, "a", b"newer")
    for ask in (lambda: place.store.facts(reference), lambda: place.store.read(reference, 0, 5)):
        with pytest.raises(ObjectReplaced, match=rf"s3://{place.plain}/a: .*no longer the one"):
            ask()


GONE: dict[str, Callable[[ObjectRef], ObjectRef]] = {
    "key": lambda reference: reference._replace(key="b", version=""),
    "bucket": lambda reference: reference._replace(bucket="no-such-bucket", version=""),
    "version": lambda reference: reference._replace(version="v0"),
}


@pytest.mark.parametrize("name", GONE)
def test_what_is_not_there_is_missing(place: Place, name: str) -> None:
    gone = GONE[name](place.put(place.versioned, "a", b"abc"))
    for ask in (lambda: place.store.facts(gone), lambda: place.store.read(gone, 0, 3)):
        with pytest.raises(ObjectMissing, match=f"s3://{gone.bucket}/{gone.key}"):
            ask()


def test_a_missing_bucket_is_told_from_a_missing_object(place: Place) -> None:
    with pytest.raises(ObjectMissing, match=r"no bucket no-such-bucket \(NoSuchBucket\)"):
        place.store.facts(ObjectRef("no-such-bucket", "a"))


def test_an_object_that_is_shorter_than_thought_is_no_object_to_go_on_with(place: Place) -> None:
    reference = place.put(place.plain, "a", b"abc")._replace(etag="")
    with pytest.raises(ObjectReplaced):
        place.store.read(reference, 3, 1)
    with pytest.raises(ObjectUnavailable):
        place.store.read(reference, 0, 4)


def test_a_small_object_is_read_whole_or_is_none(place: Place) -> None:
    place.put(place.plain, KEY, b"{}")
    assert place.store.read_small(place.plain, KEY) == b"{}"
    assert place.store.read_small(place.plain, "none") is None
    with pytest.raises(ObjectMissing, match="NoSuchBucket"):
        place.store.read_small("no-such-bucket", KEY)


def test_an_object_is_a_seekable_stream(place: Place) -> None:
    reference = place.put(place.plain, "long", LONG)
    with open_object(place.store, reference, place.store.facts(reference)) as stream:
        assert stream.read(10) == LONG[:10]
        stream.seek(-5, 2)
        assert stream.read() == LONG[-5:]
        stream.seek(0)
        assert stream.read() == LONG


# Writing.


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, len(LONG)])
def test_an_object_of_any_size_is_written_once(place: Place, size: int) -> None:
    content = LONG[:size]
    pieces = [content[start : start + 3_000_000] for start in range(0, size, 3_000_000)]
    assert write(place, KEY, *pieces)
    assert not write(place, KEY, b"another")
    assert not write(place, KEY, LONG)
    reference = ObjectRef(place.plain, KEY)
    assert place.store.facts(reference).size == size
    assert place.store.read(reference, 0, size) == content


def test_what_is_written_has_its_type_and_metadata(place: Place) -> None:
    for key, content in (("short", b"x"), ("long", LONG)):
        assert write(place, key, content, **{PRODUCER: "1", "Source": "zéro 100%\n"})
        facts = place.store.facts(ObjectRef(place.plain, key))
        assert facts.content_type == "application/x-ndjson"
        assert facts.metadata == {PRODUCER: "1", "source": "z%C3%A9ro 100%25%0A"}


def test_pieces_that_come_once_are_enough(place: Place) -> None:
    def pieces() -> Iterator[bytes]:
        yield b""
        yield LONG
        yield b"end"

    assert place.store.write_new(place.plain, "a", pieces(), content_type="a/b", metadata={})
    assert place.store.facts(ObjectRef(place.plain, "a")).size == len(LONG) + 3


def test_an_object_is_not_visible_before_it_is_whole(place: Place) -> None:
    def pieces() -> Iterator[bytes]:
        yield LONG
        assert place.store.list(place.plain, "") == []
        assert place.store.read_small(place.plain, "a") is None
        yield LONG

    assert place.store.write_new(place.plain, "a", pieces(), content_type="a/b", metadata={})


def test_content_that_fails_leaves_nothing(place: Place) -> None:
    def pieces() -> Iterator[bytes]:
        yield LONG
        raise ObjectUnavailable("the other object")

    with pytest.raises(ObjectUnavailable, match="the other object"):
        place.store.write_new(place.plain, "a", pieces(), content_type="a/b", metadata={})
    assert place.store.list(place.plain, "") == []
    assert write(place, "a", b"x")


def test_of_two_that_write_at_a_time_one_wins(place: Place) -> None:
    def pieces() -> Iterator[bytes]:
        yield LONG
        assert write(place, "a", b"the other's")
        yield LONG

    assert not place.store.write_new(place.plain, "a", pieces(), content_type="a/b", metadata={})
    assert place.store.read_small(place.plain, "a") == b"the other's"


def test_a_deleted_object_can_be_written_again(place: Place) -> None:
    for bucket in (place.plain, place.versioned):
        assert write(place, "a", b"first", bucket=bucket)
        place.store.delete(bucket, ["a"])
        assert write(place, "a", b"second", bucket=bucket)


def test_a_missing_bucket_takes_nothing(place: Place) -> None:
    for content in (b"x", LONG):
        with pytest.raises(ObjectMissing, match=r"s3://no-such-bucket/a: .*NoSuchBucket"):
            write(place, "a", content, bucket="no-such-bucket")


def test_an_object_without_a_key_is_refused(place: Place) -> None:
    with pytest.raises(ObjectRefused):
        write(place, "", b"x")


# Listing and deleting.


@pytest.mark.slow  # moto takes its time for a thousand objects
def test_a_listing_has_every_object_of_a_prefix_in_order(place: Place) -> None:
    names = [f"p/{number:05d}" for number in range(1100)]
    for name in [*reversed(names), "q/1", "p", "p/é+ &", "p/\x01"]:
        place.put(place.plain, name, name.encode())
    listed = place.store.list(place.plain, "p/")
    assert [entry.key for entry in listed] == ["p/\x01", *names, "p/é+ &"]
    assert [entry.size for entry in listed] == [len(entry.key.encode()) for entry in listed]
    place.store.delete(place.plain, [entry.key for entry in listed])
    assert [entry.key for entry in place.store.list(place.plain, "")] == ["p", "q/1"]


def test_a_prefix_that_nothing_has_lists_nothing(place: Place) -> None:
    assert place.store.list(place.plain, "none/") == []
    with pytest.raises(ObjectMissing, match="NoSuchBucket"):
        place.store.list("no-such-bucket", "")


def test_to_delete_what_is_not_there_is_no_error(place: Place) -> None:
    place.store.delete(place.plain, ["none"])
    place.store.delete(place.plain, [])
    with pytest.raises(ObjectMissing, match="NoSuchBucket"):
        place.store.delete("no-such-bucket", ["a"])


def test_threads_share_a_store(place: Place) -> None:
    reference = place.put(place.plain, "long", LONG)
    wrong: list[int] = []

    def read(start: int) -> None:
        wrong.append(start)
        if place.store.read(reference, start, 1 << 20) == LONG[start : start + (1 << 20)]:
            wrong.remove(start)

    threads = [threading.Thread(target=read, args=(number << 20,)) for number in range(len(LONG) >> 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# What S3 minds, and moto does not.


@pytest.mark.parametrize(("key", "metadata"), [("k" * 1025, {}), ("é" * 513, {}), ("a", {"m": "x" * 2048})])
def test_what_s3_takes_no_object_of_is_refused_in_memory_too(key: str, metadata: dict[str, str]) -> None:
    with pytest.raises(ObjectRefused, match=r"KeyTooLongError|MetadataTooLarge"):
        write(in_memory(), key, b"x", **metadata)
