"""The file server that S3 fetches are measured against: it answers as S3 does, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks.s3_server import read_range, serve

CONTENT = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket" / "a b").mkdir(parents=True)
    (folder / "bucket" / "a b" / "net.model").write_bytes(CONTENT)
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "us-east-1"}
    with serve(folder) as url:
        yield boto3.client("s3", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}), **keys)


def ask(client: Any, **request: str) -> Any:
    return client.get_object(Bucket="bucket", Key="a b/net.model", **request)


def test_an_object_and_a_part_of_it_are_sent(client: Any) -> None:
    whole, part = ask(client), ask(client, Range="bytes=1000-1999")
    assert whole["Body"].read() == CONTENT
    assert (part["Body"].read(), part["ContentRange"]) == (CONTENT[1000:2000], f"bytes 1000-1999/{len(CONTENT)}")
    assert part["ETag"] == whole["ETag"]
    assert client.head_object(Bucket="bucket", Key="a b/net.model")["ContentLength"] == len(CONTENT)


def test_an_object_is_asked_for_in_one_state(client: Any) -> None:
    whole = ask(client)
    assert ask(client, IfMatch=whole["ETag"], VersionId=whole["VersionId"])["ETag"] == whole["ETag"]
    for request, code in (
        ({"IfMatch": '"other"'}, "PreconditionFailed"),
        ({"IfNoneMatch": whole["ETag"]}, "304"),
        ({"VersionId": "other"}, "NoSuchVersion"),
        ({"Range": "bytes=9999999-"}, "InvalidRange"),
    ):
        with pytest.raises(ClientError, match=code):
            ask(client, **request)


@pytest.mark.parametrize("key", ["none", "a b", "../bucket/none"])
def test_what_is_not_there_is_not_found(client: Any, key: str) -> None:
    with pytest.raises(ClientError, match="NoSuchKey"):
        client.get_object(Bucket="bucket", Key=key)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=90-200", (90, 100)),
        ("bytes=90-", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-200", (0, 100)),
        ("bytes=100-", None),
        ("bytes=-", None),
        ("lines=0-9", None),
    ],
)
def test_ranges_are_read_as_http_defines_them(text: str, span: tuple[int, int] | None) -> None:
    assert read_range(text, 100) == span
