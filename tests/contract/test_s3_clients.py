"""One suite over the lean S3 client and boto3's: what they send back, what they raise and what they try again must be the same."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from moto.server import ThreadedMotoServer

from benchmarks.s3_server import serve
from gluon_lambda.archive_store.archive import open_archive
from gluon_lambda.archive_store.cache import Cache, open_cache
from gluon_lambda.archive_store.fetching import fetch
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.archive_store.s3 import S3Client, make_full_client, make_s3_client
from gluon_lambda.archive_store.s3_lean import LeanClient
from gluon_lambda.archive_store.s3_transfer import SMALLEST_PART_BYTES
from gluon_lambda.errors import ArchiveCorrupt, ArchiveNotFound, ArchiveRejected, LoadError, StoreUnavailable
from gluon_lambda.pending import begin
from tests.archive_samples import FILES_0_4, zip_bytes
from tests.scripted_s3 import (
    CREDENTIALS,
    Mishap,
    ScriptedS3,
    answer_bytes,
    breaking_off,
    error_bytes,
    failing,
    failing_in_chunks,
    replacing,
    resetting,
    saying,
    scripted,
    well,
    write_certificate,
)

BUCKET = "clients-bucket"
KEY = "live nets/zéro+net~(1).model"
SMALL = zip_bytes(FILES_0_4)
# Three parts.
LARGE = random.Random(1).randbytes(2 * SMALLEST_PART_BYTES + 5000)
OTHER = random.Random(2).randbytes(2 * SMALLEST_PART_BYTES + 9000)
URL = "s3://clients-bucket/net.model"

Connect = Callable[[dict[str, str]], S3Client]


@pytest.fixture(params=["lean", "full"])
def connect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Connect:
    """Makes the client; boto3's reads the process's variables itself."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)

    def make(environ: dict[str, str]) -> S3Client:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        if request.param == "full":
            return make_full_client(environ)
        client = make_s3_client(environ)
        assert isinstance(client, LeanClient)
        return client

    return make


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return open_cache(str(tmp_path / "cache"))


# Against moto.


@pytest.fixture(scope="module")
def moto() -> Iterator[dict[str, str]]:
    """AWS's variables for moto's server, which holds two versions of an object."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    server.stop()


@pytest.fixture(scope="module")
def versions(moto: dict[str, str]) -> list[str]:
    """The ids of LARGE and then SMALL under one key."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "eu-west-1"}
    client = boto3.client("s3", endpoint_url=moto["AWS_ENDPOINT_URL"], **keys)
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=BUCKET, Key="empty", Body=b"")
    return [client.put_object(Bucket=BUCKET, Key=KEY, Body=body)["VersionId"] for body in (LARGE, SMALL)]


def read(answer: dict[str, Any]) -> bytes:
    buffer, position = memoryview(bytearray(int(answer["ContentLength"]))), 0
    while position < len(buffer):
        position += answer["Body"].readinto(buffer[position:])
    assert answer["Body"].readinto(memoryview(bytearray(10))) == 0
    return bytes(buffer)


def test_an_object_and_its_versions_are_read(connect: Connect, moto: dict[str, str], versions: list[str]) -> None:
    client = connect(moto)
    newest = client.get_object(Bucket=BUCKET, Key=KEY)
    assert read(newest) == SMALL
    assert read(client.get_object(Bucket=BUCKET, Key=KEY, VersionId=versions[0])) == LARGE
    part = client.get_object(Bucket=BUCKET, Key=KEY, Range="bytes=100-299", IfMatch=newest["ETag"])
    assert (read(part), part["ContentRange"]) == (SMALL[100:300], f"bytes 100-299/{len(SMALL)}")
    assert read(client.get_object(Bucket=BUCKET, Key="empty")) == b""
    client.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"Key": "none"}, 404),
        ({"Bucket": "no-such-bucket"}, 404),
        ({"VersionId": "none"}, 404),
        ({"IfMatch": '"other"'}, 412),
        ({"Range": "bytes=99999999-999999999"}, 416),
    ],
)
def test_what_s3_refuses_is_raised_with_its_name(
    connect: Connect, moto: dict[str, str], versions: list[str], request_: dict[str, str], status: int
) -> None:
    with pytest.raises(ClientError) as raised:
        connect(moto).get_object(**({"Bucket": BUCKET, "Key": KEY} | request_))
    response: Any = raised.value.response
    codes = {
        404: ("NoSuchKey", "NoSuchBucket", "NoSuchVersion"),
        412: ("PreconditionFailed",),
        416: ("InvalidRange",),
    }
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert response["Error"]["Code"] in codes[status]


def test_an_object_that_is_still_the_same_is_not_sent(
    connect: Connect, moto: dict[str, str], versions: list[str]
) -> None:
    client = connect(moto)
    etag = client.get_object(Bucket=BUCKET, Key=KEY)["ETag"]
    with pytest.raises(ClientError, match="304"):
        client.get_object(Bucket=BUCKET, Key=KEY, IfNoneMatch=etag)


def test_a_bucket_is_listed(connect: Connect, moto: dict[str, str], versions: list[str]) -> None:
    listed = connect(moto).list_objects_v2(Bucket=BUCKET, Prefix="live")
    assert [entry["Key"] for entry in listed["Contents"]] == [KEY]


def test_an_object_of_several_parts_is_put_together(
    connect: Connect, moto: dict[str, str], versions: list[str], cache: Cache
) -> None:
    location = parse_location(f"s3://{BUCKET}/live%20nets/z%C3%A9ro+net~(1).model?versionId={versions[0]}")
    fetched = fetch(location, cache=cache, make_client=lambda: connect(moto))
    assert Path(fetched.lease.path).read_bytes() == LARGE


def test_an_empty_object_is_no_archive(
    connect: Connect, moto: dict[str, str], versions: list[str], cache: Cache
) -> None:
    with pytest.raises(ArchiveCorrupt, match="starts with b''"):
        open_archive("x", parse_location(f"s3://{BUCKET}/empty"), cache=cache, make_client=lambda: connect(moto))


# Against an S3 that misbehaves.


@pytest.fixture
def s3() -> Iterator[ScriptedS3]:
    with scripted(LARGE) as s3:
        yield s3


def fetched_bytes(s3: ScriptedS3, connect: Connect, cache: Cache, *, url: str = URL) -> bytes:
    fetched = fetch(parse_location(url), cache=cache, make_client=lambda: connect(s3.environ))
    return Path(fetched.lease.path).read_bytes()


TRANSIENT: dict[str, Mishap] = {
    "internal error": failing(500, "InternalError"),
    "bad gateway without a body": saying(answer_bytes(502, b"")),
    "in chunks": failing_in_chunks(503, "ServiceUnavailable"),
    "request timeout": failing(400, "RequestTimeout"),
    "reset": resetting,
    "ends at once": breaking_off(0),
}


@pytest.mark.parametrize("name", TRANSIENT)
@pytest.mark.parametrize("before", [0, 1])
def test_what_passes_is_tried_again(s3: ScriptedS3, connect: Connect, cache: Cache, name: str, before: int) -> None:
    s3.script = [well] * before + [TRANSIENT[name]]
    assert fetched_bytes(s3, connect, cache) == LARGE


def test_a_body_that_breaks_off_goes_on_where_it_broke_off(s3: ScriptedS3, connect: Connect, cache: Cache) -> None:
    s3.replace(LARGE[:SMALLEST_PART_BYTES])
    s3.script = [breaking_off(1 << 20)]
    assert fetched_bytes(s3, connect, cache) == LARGE[:SMALLEST_PART_BYTES]
    starts = [int(asked.headers["range"].removeprefix("bytes=").partition("-")[0]) for asked in s3.asked]
    assert starts[0] == 0
    assert 0 < starts[1] <= 1 << 20


LASTING: dict[str, tuple[Mishap, type[LoadError], str]] = {
    "not there": (failing(404, "NoSuchKey"), ArchiveNotFound, "NoSuchKey"),
    "denied": (failing(403, "AccessDenied"), StoreUnavailable, r"needs s3:GetObject on .*kms:Decrypt"),
    "credentials have expired": (failing(400, "ExpiredToken"), StoreUnavailable, r"ExpiredToken \(400\): It is"),
    "wrong signature": (failing(403, "SignatureDoesNotMatch"), StoreUnavailable, "SignatureDoesNotMatch"),
    "archived": (failing(403, "InvalidObjectState"), StoreUnavailable, "InvalidObjectState"),
}


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_not_tried_again(s3: ScriptedS3, connect: Connect, cache: Cache, name: str) -> None:
    mishap, error, said = LASTING[name]
    s3.script = [mishap] * 9
    with pytest.raises(error, match=said):
        fetched_bytes(s3, connect, cache)
    assert len(s3.asked) == 1
    assert list(Path(cache.folder).rglob("*.model")) == []


@pytest.mark.parametrize("name", ["internal error", "reset"])
def test_what_does_not_pass_ends_after_four_attempts(s3: ScriptedS3, connect: Connect, cache: Cache, name: str) -> None:
    s3.script = [TRANSIENT[name]] * 9
    with pytest.raises(StoreUnavailable, match=URL):
        fetched_bytes(s3, connect, cache)
    assert len(s3.asked) == 4


@pytest.mark.parametrize(
    ("mishap", "said"),
    [
        (breaking_off(1000), "bytes before the body's end|IncompleteRead|incomplete|bytes expected is"),
        (saying(answer_bytes(206, b"x" * 10, Content_Range="bytes 5-14/99", ETag='"1"')), "asked for"),
        (saying(answer_bytes(206, b"x" * 10, Content_Range=f"bytes 0-9/{len(LARGE) + 1}", ETag='"1"')), "asked for"),
    ],
)
def test_a_part_that_never_comes_whole_is_given_up(
    s3: ScriptedS3, connect: Connect, cache: Cache, mishap: Mishap, said: str
) -> None:
    s3.script = [well, *[mishap] * 30]
    with pytest.raises(StoreUnavailable, match=said):
        fetched_bytes(s3, connect, cache)
    assert not [path for path in Path(cache.folder).rglob("*") if path.is_file()]


def test_an_object_that_is_replaced_meanwhile_is_fetched_anew_and_never_mixed(
    s3: ScriptedS3, connect: Connect, cache: Cache
) -> None:
    s3.script = [well, replacing(OTHER)]
    assert fetched_bytes(s3, connect, cache) == OTHER


def test_an_object_that_is_replaced_all_the_time_is_given_up(s3: ScriptedS3, connect: Connect, cache: Cache) -> None:
    s3.script = [step for number in range(9) for step in (well, replacing(LARGE), failing(412, "PreconditionFailed"))]
    with pytest.raises(StoreUnavailable, match="was replaced each time"):
        fetched_bytes(s3, connect, cache)


def test_an_object_that_is_not_the_pinned_one_is_refused(s3: ScriptedS3, connect: Connect, cache: Cache) -> None:
    with pytest.raises(ArchiveRejected, match="its sha256 is"):
        fetched_bytes(s3, connect, cache, url=f"{URL}#sha256={'0' * 64}")


def test_a_server_that_knows_no_ranges_sends_everything(s3: ScriptedS3, connect: Connect, cache: Cache) -> None:
    whole = answer_bytes(200, LARGE, ETag='"1"')

    def half(connection: Any, *_: Any) -> None:
        connection.sendall(whole[: len(whole) // 2])
        connection.shutdown(2)

    s3.script = [half, saying(whole)]
    assert fetched_bytes(s3, connect, cache) == LARGE


def test_every_part_is_asked_for_in_the_state_of_the_first(s3: ScriptedS3, connect: Connect, cache: Cache) -> None:
    assert fetched_bytes(s3, connect, cache) == LARGE
    first, *others = s3.asked
    assert "if-match" not in first.headers
    assert [asked.headers["if-match"] for asked in others] == ['"1"', '"1"']
    assert {asked.target for asked in s3.asked} <= {
        "/clients-bucket/net.model",
        "/clients-bucket/net.model?x-id=GetObject",
    }


@pytest.mark.parametrize(
    "raw", [b"", b"SSH-2.0-OpenSSH_9\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 xyz\r\n\r\n", b"\0" * 100_000]
)
def test_what_is_no_answer_is_a_store_that_cannot_be_reached(s3: ScriptedS3, cache: Cache, raw: bytes) -> None:
    def mishap(connection: Any, *_: Any) -> None:
        connection.sendall(raw)
        connection.shutdown(2)

    s3.script = [mishap] * 9
    client = LeanClient(s3.settings, lambda: pytest.fail("asked for"), sleep=lambda _: None)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        fetch(parse_location(URL), cache=cache, make_client=lambda: client)


def test_a_server_that_redirects_everything_and_names_no_region_is_told_as_such(
    s3: ScriptedS3, connect: Connect, cache: Cache
) -> None:
    s3.script = [failing(301, "PermanentRedirect")] * 2000
    with pytest.raises(StoreUnavailable, match=r"net\.model: S3 redirects .*AWS_ENDPOINT_URL_S3"):
        fetched_bytes(s3, connect, cache)


def test_an_archive_that_is_being_fetched_is_waited_for(s3: ScriptedS3, connect: Connect, cache: Cache) -> None:
    s3.replace(SMALL)
    location, phases = parse_location(URL), []

    @contextmanager
    def timed(phase: str) -> Iterator[None]:
        phases.append(phase)
        yield

    begun = begin("fetch", lambda: fetch(location, cache=cache, make_client=lambda: connect(s3.environ), timed=timed))
    with closing(open_archive("x", location, cache=cache, fetch=begun, make_client=pytest.fail)) as archive:
        assert archive.read("synset.txt") == FILES_0_4["synset.txt"]
    assert phases == ["s3 client", "fetch"]


def test_a_fetch_that_failed_fails_whoever_waits_for_it(s3: ScriptedS3, connect: Connect, cache: Cache) -> None:
    s3.script = [failing(404, "NoSuchKey")]
    location = parse_location(URL)
    begun = begin("fetch", lambda: fetch(location, cache=cache, make_client=lambda: connect(s3.environ)))
    for _ in range(2):
        with pytest.raises(ArchiveNotFound, match="NoSuchKey"):
            open_archive("x", location, cache=cache, fetch=begun)


# Over TLS.


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """AWS's variables for a server that speaks HTTPS and holds LARGE."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "clients-bucket").mkdir()
    (folder / "clients-bucket" / "net.model").write_bytes(LARGE)
    server, trusted = write_certificate(folder)
    with serve(folder, "--certificate", str(server)) as url:
        yield {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": url, "AWS_CA_BUNDLE": str(trusted), "AWS_MAX_ATTEMPTS": "1"}


def test_an_object_comes_over_tls_from_whom_the_bundle_trusts(
    connect: Connect, tls: dict[str, str], cache: Cache
) -> None:
    fetched = fetch(parse_location(URL), cache=cache, make_client=lambda: connect(tls))
    assert Path(fetched.lease.path).read_bytes() == LARGE


def test_nothing_comes_from_whom_nobody_trusts(connect: Connect, tls: dict[str, str], cache: Cache) -> None:
    public = {name: value for name, value in tls.items() if name != "AWS_CA_BUNDLE"}
    with pytest.raises(StoreUnavailable, match="SSL validation failed"):
        fetch(parse_location(URL), cache=cache, make_client=lambda: connect(public))


# What only the lean client does.


def test_a_throttled_request_waits_longer_each_time_and_is_told_as_such(s3: ScriptedS3, cache: Cache) -> None:
    s3.script = [failing(503, "SlowDown")] * 9
    waits: list[float] = []
    client = LeanClient(s3.settings, lambda: pytest.fail("asked for"), sleep=waits.append)
    with pytest.raises(StoreUnavailable, match="throttles"):
        fetch(parse_location(URL), cache=cache, make_client=lambda: client)
    assert [wait <= most for wait, most in zip(waits, (1, 2, 4), strict=True)] == [True] * 3


@pytest.fixture
def lean(s3: ScriptedS3) -> LeanClient:
    """A client that neither waits nor asks boto3's."""
    return LeanClient(s3.settings, lambda: pytest.fail("asked for"), sleep=lambda _: pytest.fail("waits"))


def some(client: LeanClient, count: int) -> Any:
    """The body of the first bytes."""
    return client.get_object(Bucket="clients-bucket", Key="net.model", Range=f"bytes=0-{count - 1}")["Body"]


def test_a_body_that_has_been_read_leaves_its_connection_to_the_next_one(s3: ScriptedS3, lean: LeanClient) -> None:
    s3.replace(bytes(range(200)))
    first, buffer = some(lean, 10), memoryview(bytearray(10))
    assert (first.readinto(buffer), bytes(buffer)) == (10, bytes(range(10)))
    second = some(lean, 200)
    assert first.readinto(buffer) == 0
    first.close()
    whole = memoryview(bytearray(200))
    received = second.readinto(whole)
    while received < 200:
        received += second.readinto(whole[received:])
    assert bytes(whole) == bytes(range(200))


def test_a_connection_that_the_server_has_ended_meanwhile_is_not_asked_through(
    s3: ScriptedS3, lean: LeanClient
) -> None:
    s3.replace(bytes(10))

    def ending(connection: Any, *request: Any) -> None:
        connection.sendall(s3.answer(request[1]))
        connection.shutdown(2)

    s3.script = [ending] * 3
    for turn in range(4):
        buffer = memoryview(bytearray(10))
        assert some(lean, 10).readinto(buffer) == 10
        patient_until = time.monotonic() + 10
        while turn < 3 and not lean._idle[0].is_dropped() and time.monotonic() < patient_until:
            pass
    assert len(s3.asked) == 4


def test_a_bucket_that_is_elsewhere_is_left_to_boto3_from_then_on(s3: ScriptedS3) -> None:
    s3.script = [failing(301, "PermanentRedirect"), failing(301, "PermanentRedirect")]
    full = Full()
    client = LeanClient(s3.settings, lambda: full)
    for _ in range(3):
        client.get_object(Bucket="clients-bucket", Key="net.model")
    assert (len(s3.asked), len(full.asked)) == (1, 3)


class Full:
    """Stands for boto3's client."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def get_object(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        return {}

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        raise AssertionError(request)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "mishap",
    [
        failing(301, "PermanentRedirect", x_amz_bucket_region="us-west-2"),
        failing(307, "TemporaryRedirect", Location="http://elsewhere/"),
        failing(400, "AuthorizationHeaderMalformed"),
        failing(403, "RequestTimeTooSkewed"),
    ],
)
def test_what_needs_more_than_signing_and_retrying_is_left_to_boto3(s3: ScriptedS3, mishap: Mishap) -> None:
    s3.script, full = [mishap], Full()
    request = {"Bucket": BUCKET, "Key": "net.model", "Range": "bytes=0-9"}
    assert LeanClient(s3.settings, lambda: full).get_object(**request) == {}
    assert full.asked == [request]


def test_a_bucket_of_a_kind_of_its_own_is_left_to_boto3(s3: ScriptedS3) -> None:
    full = Full()
    LeanClient(s3.settings, lambda: full).get_object(Bucket="nets--use1-az4--x-s3", Key="net.model")
    assert (len(full.asked), s3.asked) == (1, [])


def test_nobody_listening_is_a_store_that_cannot_be_reached(connect: Connect) -> None:
    environ = {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    with pytest.raises(BotoCoreError, match=r"127\.0\.0\.1:9"):
        connect(environ).get_object(Bucket=BUCKET, Key="net.model")


def test_an_error_says_what_s3_said(s3: ScriptedS3, connect: Connect) -> None:
    s3.script = [saying(error_bytes(403, "AccessDenied"))]
    with pytest.raises(ClientError, match=r"AccessDenied.* calling the GetObject operation: It is AccessDenied\."):
        connect(s3.environ).get_object(Bucket=BUCKET, Key="net.model")
