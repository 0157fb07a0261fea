"""The lean client's requests, over HTTP and HTTPS: signed as botocore signs them, and with the sums of what they carry."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest

from gluon_lambda.archive_store.s3_settings import Credentials
from gluon_lambda.batch.objects import PART_BYTES, Listed
from gluon_lambda.batch.s3_calls import Connection
from gluon_lambda.batch.s3_objects import S3Objects
from gluon_lambda.batch_records import ObjectRef
from local_emulator.local_aws import moto_server
from tests.scripted_s3 import CREDENTIALS, Asked, RelayingS3, write_certificate

TOKEN = "FwoGZXIvYXdzEBYaD//token+="
LONG = random.Random(1).randbytes(PART_BYTES + 12345)
KEY = "in/zéro net+~(1) & <2>%41.jsonl"
# What the signature itself adds, and what is no part of it.
UNSIGNED = {"authorization", "user-agent"}


class Place(NamedTuple):
    """An S3, and AWS's variables that lead to it."""

    s3: RelayingS3
    environ: dict[str, str]


@pytest.fixture(params=["http", "https"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with moto_server() as url:
        boto3.client(
            "s3", endpoint_url=url, aws_access_key_id="x", aws_secret_access_key="y", region_name="us-east-1"
        ).create_bucket(Bucket="requests")
        server, trusted = write_certificate(tmp_path)
        relay = RelayingS3(url, server if request.param == "https" else None)
        yield Place(relay, {**relay.environ, "AWS_CA_BUNDLE": str(trusted), "AWS_SESSION_TOKEN": TOKEN})
        relay.close()


def signature_of(asked: Asked, url: str) -> str:
    """The one that botocore gives a request at the time that it names."""
    headers = {name: value for name, value in asked.headers.items() if name not in UNSIGNED}
    credentials = Credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"], TOKEN)
    signer: Any = botocore.auth.S3SigV4Auth(credentials, "s3", CREDENTIALS["AWS_DEFAULT_REGION"])
    request: Any = AWSRequest(asked.method, url + asked.target, headers, asked.body)
    request.context["timestamp"] = asked.headers["x-amz-date"]
    return str(signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request))


def use_all(store: S3Objects) -> None:
    """Every request that there is."""
    described: Any = {"content_type": "application/x-ndjson", "metadata": {"Model": "zéro  x"}}
    assert store.write_new("requests", KEY, [b"{}\n"], **described)
    assert not store.write_new("requests", KEY, [b"{}\n"], **described)
    assert store.write_new("requests", "in/long", [LONG], **described)
    reference = ObjectRef("requests", "in/long")
    facts, head = store.open(reference, 1000)
    assert (head, facts.size, facts.metadata) == (LONG[:1000], len(LONG), {"model": "z%C3%A9ro  x"})
    assert store.facts(reference) == facts
    assert store.read(reference._replace(etag=facts.etag), 5, len(LONG) - 5) == LONG[5:]
    assert store.read_small("requests", KEY) == b"{}\n"
    assert store.list("requests", "in/") == [Listed("in/long", len(LONG)), Listed(KEY, 3)]
    store.delete("requests", [KEY, "in/long", "in/\x01"])
    assert store.list("requests", "in/") == []


def test_every_request_is_signed_as_botocore_signs_it_and_carries_its_sums(place: Place) -> None:
    use_all(S3Objects(Connection(place.environ), lambda: 60_000))
    s3 = place.s3
    assert {asked.method for asked in s3.asked} == {"GET", "HEAD", "PUT", "POST", "DELETE"}
    for asked in s3.asked:
        authorization = asked.headers["authorization"]
        assert authorization.rpartition("Signature=")[2] == signature_of(asked, s3.url), asked.target
        assert f"SignedHeaders={';'.join(sorted(set(asked.headers) - UNSIGNED))}," in authorization
        assert asked.headers["x-amz-content-sha256"] == hashlib.sha256(asked.body).hexdigest()
        if asked.body and "uploadId" not in asked.target.partition("?")[2].partition("&")[0]:
            said = base64.b64decode(asked.headers["x-amz-checksum-crc32"])
            assert int.from_bytes(said, "big") == zlib.crc32(asked.body)


class LeanOnly(Connection):
    """A connection that must not need boto3."""

    def full(self) -> Any:
        pytest.fail("boto3 was asked for")


def test_boto3_is_needed_by_none_of_them(place: Place) -> None:
    use_all(S3Objects(LeanOnly(place.environ), lambda: 60_000))
