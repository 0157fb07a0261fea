"""Objects on an S3 that misbehaves: what is tried again, what is told, and that nothing is waited for past the deadline.

One suite over both clients. Between them and moto stands a relay that does what a test says to one request after the other, and passes on the rest.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from gluon_lambda.batch.objects import PART_BYTES
from gluon_lambda.batch.s3_calls import Connection
from gluon_lambda.batch.s3_objects import S3Objects
from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.errors import ObjectError, ObjectMissing, ObjectRefused, ObjectReplaced, ObjectUnavailable
from local_emulator.local_aws import moto_server
from tests.scripted_s3 import (
    CREDENTIALS,
    Mishap,
    RelayingS3,
    answer_bytes,
    breaking_off,
    dripping,
    failing,
    failing_in_chunks,
    forgetting,
    relaying,
    resetting,
    saying,
    well,
)

# Most of them wait for botocore's pauses between attempts.
pytestmark = pytest.mark.slow

LONG = random.Random(1).randbytes(2 * PART_BYTES + 12345)
SHORT = LONG[:300_000]
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    """A client of moto's own, that goes past the relay."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "eu-west-1"}
    with moto_server() as url:
        yield boto3.client("s3", endpoint_url=url, **keys)


@pytest.fixture
def s3(moto: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[RelayingS3]:
    with relaying(moto.meta.endpoint_url) as s3:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": s3.url}.items():
            monkeypatch.setenv(name, value)
        yield s3


@pytest.fixture
def bucket(moto: Any) -> str:
    name = f"faults-{next(NUMBERS)}"
    moto.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return name


@pytest.fixture
def reference(moto: Any, bucket: str) -> ObjectRef:
    tag = moto.put_object(Bucket=bucket, Key="in/a", Body=SHORT)["ETag"]
    return ObjectRef(bucket, "in/a", etag=tag.strip('"'))


@pytest.fixture(params=["lean", "boto3"])
def connection(request: pytest.FixtureRequest, s3: RelayingS3) -> Connection:
    """S3 through either client; boto3's reads the process's own environment."""
    return Connection(s3.environ if request.param == "lean" else {})


@pytest.fixture
def store(connection: Connection) -> S3Objects:
    return S3Objects(connection, lambda: 120_000)


def within(seconds: float) -> Callable[[], int]:
    """What is left of so many seconds from now on."""
    end = time.monotonic() + seconds
    return lambda: int(1000 * (end - time.monotonic()))


def write(store: S3Objects, bucket: str, *pieces: bytes) -> bool:
    return store.write_new(bucket, "out", pieces, content_type="text/plain", metadata={})


def methods(s3: RelayingS3) -> list[str]:
    """Every request so far, by what it is about."""
    return [f"{asked.method} {kind(asked.target)}".strip() for asked in s3.asked]


def kind(target: str) -> str:
    names = ("partNumber", "uploads", "uploadId", "delete", "list-type")
    query = target.partition("?")[2]
    return next((name for name in names if name in query), "")


def uploads(moto: Any, bucket: str) -> list[Any]:
    """Multipart uploads that nobody has ended."""
    found: list[Any] = moto.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return found


def is_deleted(store: S3Objects, reference: ObjectRef) -> bool:
    store.delete(reference.bucket, [reference.key])
    return True


# What passes is tried again.

Act = Callable[[S3Objects, ObjectRef], object]
ACTS: dict[str, Act] = {
    "facts": lambda store, reference: store.facts(reference).size == len(SHORT),
    "open": lambda store, reference: store.open(reference, 1000).head == SHORT[:1000],
    "read": lambda store, reference: store.read(reference, 5, 1000) == SHORT[5:1005],
    "read_small": lambda store, reference: store.read_small(reference.bucket, reference.key) == SHORT,
    "write_new": lambda store, reference: write(store, reference.bucket, SHORT),
    "list": lambda store, reference: [entry.key for entry in store.list(reference.bucket, "in/")] == ["in/a"],
    "delete": lambda store, reference: is_deleted(store, reference),
}
# The bodies of errors are left out: HeadObject's answers have none.
PASSING: dict[str, Mishap] = {
    "throttled": saying(answer_bytes(503, b"")),
    "internal error": saying(answer_bytes(500, b"")),
    "reset": resetting,
    "ends at once": lambda connection, *_: connection.shutdown(2),
}


@pytest.mark.parametrize("mishap", PASSING)
@pytest.mark.parametrize("act", ACTS)
def test_what_passes_is_tried_again(
    s3: RelayingS3, store: S3Objects, reference: ObjectRef, act: str, mishap: str
) -> None:
    s3.script = [PASSING[mishap]]
    assert ACTS[act](store, reference)
    assert len(s3.asked) == 2


def test_a_body_that_breaks_off_goes_on_where_it_broke_off_in_the_same_state(
    s3: RelayingS3, store: S3Objects, reference: ObjectRef
) -> None:
    s3.script = [breaking_off(270_000), breaking_off(1)]
    assert store.read(reference._replace(etag=""), 10, 299_000) == SHORT[10:299_010]
    starts = [int(asked.headers["range"].removeprefix("bytes=").partition("-")[0]) for asked in s3.asked]
    assert starts[0] == 10
    assert starts[0] < starts[1] <= starts[2]
    assert [asked.headers.get("if-match") for asked in s3.asked] == [None] + [f'"{reference.etag}"'] * 2


def test_a_body_that_breaks_off_is_not_mixed_with_what_replaces_it(
    moto: Any, s3: RelayingS3, store: S3Objects, reference: ObjectRef
) -> None:
    def replaced(*request: Any) -> None:
        moto.put_object(Bucket=reference.bucket, Key=reference.key, Body=SHORT[::-1])
        well(*request)

    s3.script = [breaking_off(270_000), replaced]
    with pytest.raises(ObjectReplaced):
        store.read(reference._replace(etag=""), 0, 299_000)


WRONG_BODIES: dict[str, Mishap] = {
    "truncated": breaking_off(500),
    "empty": breaking_off(0),
    "longer than it says": saying(
        answer_bytes(206, b"x" * 2000, Content_Length="1000", Content_Range="bytes 0-1999/300000")
    ),
    "shorter than it says": saying(answer_bytes(206, b"x" * 900, Content_Range="bytes 0-999/300000")),
    "longer than asked for": saying(answer_bytes(206, b"x" * 1001, Content_Range="bytes 0-1000/300000")),
    "another range": saying(answer_bytes(206, b"x" * 1000, Content_Range="bytes 1-1000/300000")),
    "all of it": saying(answer_bytes(200, SHORT)),
}
WRONG_CHECKSUM = saying(
    answer_bytes(206, b"x" * 1000, Content_Range="bytes 0-999/300000", x_amz_checksum_crc32="AAAAAA==")
)


@pytest.mark.parametrize("name", WRONG_BODIES)
def test_a_body_of_the_wrong_length_or_range_is_asked_for_again(
    s3: RelayingS3, store: S3Objects, reference: ObjectRef, name: str
) -> None:
    s3.script = [WRONG_BODIES[name]]
    assert store.read(reference, 0, 1000) == SHORT[:1000]
    assert len(s3.asked) >= 2


@pytest.mark.parametrize("connection", ["boto3"], indirect=True)  # the lean client asks for no checksums
def test_a_body_of_another_checksum_is_asked_for_again(s3: RelayingS3, store: S3Objects, reference: ObjectRef) -> None:
    s3.script = [WRONG_CHECKSUM]
    assert store.read(reference, 0, 1000) == SHORT[:1000]
    assert len(s3.asked) == 2


@pytest.mark.parametrize("name", sorted(set(WRONG_BODIES) - {"longer than it says"}))
def test_a_body_that_never_comes_whole_is_given_up_after_four_attempts(
    s3: RelayingS3, store: S3Objects, reference: ObjectRef, name: str
) -> None:
    # a body that breaks off goes on, so that the next one has to bring nothing
    s3.script = [WRONG_BODIES[name], *[breaking_off(0)] * 9]
    with pytest.raises(ObjectUnavailable, match=rf"s3://{reference.bucket}/in/a: .*not whole"):
        store.read(reference, 0, 1000)
    assert len(s3.asked) == 4


@pytest.mark.parametrize("mishap", [breaking_off(1000), saying(answer_bytes(200, b"short", Content_Length="9"))])
def test_a_small_object_that_breaks_off_is_read_from_its_beginning(
    s3: RelayingS3, store: S3Objects, reference: ObjectRef, mishap: Mishap
) -> None:
    def shut(*request: Any) -> None:
        mishap(*request)
        request[0].shutdown(2)

    s3.script = [shut]
    assert store.read_small(reference.bucket, reference.key) == SHORT


def test_a_listing_that_is_garbled_is_told_as_such(s3: RelayingS3, store: S3Objects, bucket: str) -> None:
    s3.script = [saying(answer_bytes(200, b"<ListBucketResult><Contents><Key>in/a</K"))] * 9
    with pytest.raises(ObjectUnavailable, match=r"/in/: S3 answered 500|not whole"):
        store.list(bucket, "in/")


# What lasts is told, with a way out.

REFUSALS: list[tuple[int, str, type[ObjectError], str]] = [
    (403, "AccessDenied", ObjectRefused, r"needs s3:GetObject on arn:aws:s3:::faults-\d+/in/a .*s3:ListBucket"),
    (403, "SignatureDoesNotMatch", ObjectRefused, "SignatureDoesNotMatch"),
    (403, "InvalidObjectState", ObjectRefused, "InvalidObjectState"),
    (400, "ExpiredToken", ObjectUnavailable, "ExpiredToken"),
    (404, "NoSuchBucket", ObjectMissing, r"no bucket faults-\d+"),
    (404, "NoSuchKey", ObjectMissing, "no such object"),
    (404, "NoSuchVersion", ObjectMissing, "no such object"),
    (405, "MethodNotAllowed", ObjectMissing, "no such object"),
    (412, "PreconditionFailed", ObjectReplaced, "no longer the one"),
    (416, "InvalidRange", ObjectReplaced, "no longer the one"),
]


@pytest.mark.parametrize(("status", "code", "error", "said"), REFUSALS)
def test_what_s3_refuses_to_read_is_not_tried_again(
    s3: RelayingS3, store: S3Objects, reference: ObjectRef, status: int, code: str, error: type[ObjectError], said: str
) -> None:
    s3.script = [failing(status, code)] * 9
    with pytest.raises(error, match=rf"s3://{reference.bucket}/in/a: .*{said}"):
        store.read(reference, 0, 10)
    assert len(s3.asked) == 1


@pytest.mark.parametrize(("status", "code", "error", "said"), REFUSALS[:7])
def test_the_reason_why_there_are_no_facts_is_asked_for(
    request: pytest.FixtureRequest,
    s3: RelayingS3,
    store: S3Objects,
    reference: ObjectRef,
    status: int,
    code: str,
    error: type[ObjectError],
    said: str,
) -> None:
    bare = saying(answer_bytes(status, b""))
    looks = [well, bare] * (status == 400)  # botocore asks the bucket for its region, and tries there
    if looks and "lean" in request.node.callspec.id:
        looks.insert(0, bare)  # which is left to botocore
    s3.script = [bare, *looks, failing(status, code)]
    with pytest.raises(error, match=said):
        store.facts(reference)
    assert methods(s3) == ["HEAD", *["HEAD"] * len(looks), "GET"]


def test_a_deleted_version_and_a_replaced_object_have_no_facts(
    s3: RelayingS3, store: S3Objects, reference: ObjectRef
) -> None:
    s3.script = [saying(answer_bytes(405, b"")), saying(answer_bytes(412, b""))]
    with pytest.raises(ObjectMissing):
        store.facts(reference)
    with pytest.raises(ObjectReplaced):
        store.facts(reference)
    assert methods(s3) == ["HEAD", "HEAD"]


DENIED: dict[str, tuple[Act, str]] = {
    "a version": (lambda store, ref: store.read(ref._replace(version="v1"), 0, 1), r"s3:GetObjectVersion on .*in/a"),
    "small": (lambda store, ref: store.read_small(ref.bucket, ref.key), r"s3:GetObject on .*in/a"),
    "writing": (lambda store, ref: write(store, ref.bucket, SHORT), r"s3:PutObject on .*/out .*kms:GenerateDataKey"),
    "writing parts": (lambda store, ref: write(store, ref.bucket, LONG), r"s3:PutObject on .*/out "),
    "listing": (lambda store, ref: store.list(ref.bucket, "in/"), r"s3:ListBucket on arn:aws:s3:::faults-\d+\."),
    "deleting": (lambda store, ref: store.delete(ref.bucket, [ref.key]), r"s3:DeleteObject on .*in/a"),
}


@pytest.mark.parametrize("name", DENIED)
def test_the_permission_that_is_missing_is_named(
    s3: RelayingS3, store: S3Objects, reference: ObjectRef, name: str
) -> None:
    s3.script = [failing(403, "AccessDenied")] * 9
    act, said = DENIED[name]
    with pytest.raises(ObjectRefused, match=said):
        act(store, reference)
    assert len(s3.asked) == 1


def test_a_key_that_may_not_be_deleted_is_named(s3: RelayingS3, store: S3Objects, bucket: str) -> None:
    denied = "<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code><Message>No.</Message></Error></DeleteResult>"
    s3.script = [saying(answer_bytes(200, denied.encode()))]
    with pytest.raises(ObjectRefused, match=rf"s3://{bucket}/b: .*s3:DeleteObject"):
        store.delete(bucket, ["a", "b"])


def test_a_key_that_could_not_be_deleted_is_deleted_again(
    moto: Any, s3: RelayingS3, store: S3Objects, bucket: str
) -> None:
    for key in ("a", "b"):
        moto.put_object(Bucket=bucket, Key=key, Body=b"x")
    failed = "<DeleteResult><Error><Key>b</Key><Code>InternalError</Code><Message>Oh.</Message></Error></DeleteResult>"

    def partly(connection: Any, relay: Any, request: Any) -> None:
        moto.delete_object(Bucket=bucket, Key="a")
        connection.sendall(answer_bytes(200, failed.encode()))

    s3.script = [partly]
    store.delete(bucket, ["a", "b"])
    assert b"<Key>a</Key>" not in s3.asked[1].body
    assert store.list(bucket, "") == []


def test_throttling_that_does_not_end_is_told_as_such(s3: RelayingS3, store: S3Objects, reference: ObjectRef) -> None:
    s3.script = [failing(503, "SlowDown")] * 9
    with pytest.raises(ObjectUnavailable, match=r"in/a: S3 answered SlowDown \(503\)"):
        store.read(reference, 0, 10)
    assert len(s3.asked) == 4


def test_a_bucket_that_has_no_bucket_s_name_is_refused(s3: RelayingS3, store: S3Objects) -> None:
    with pytest.raises(ObjectRefused, match="Invalid bucket name"):
        store.facts(ObjectRef("no bucket", "a"))
    assert s3.asked == []


# Writing.


def test_an_answer_that_got_lost_counts_as_written_by_somebody(
    moto: Any, s3: RelayingS3, store: S3Objects, bucket: str
) -> None:
    s3.script = [forgetting]
    assert not write(store, bucket, SHORT)
    assert methods(s3) == ["PUT", "PUT"]
    assert all(asked.headers["if-none-match"] == "*" for asked in s3.asked)
    assert moto.get_object(Bucket=bucket, Key="out")["Body"].read() == SHORT


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_write_that_collides_is_tried_again(s3: RelayingS3, store: S3Objects, bucket: str, code: str) -> None:
    s3.script = [failing(409, code)] * 2
    assert write(store, bucket, SHORT)
    assert methods(s3) == ["PUT"] * 3
    assert store.read_small(bucket, "out") == SHORT


def test_a_write_that_always_collides_is_given_up(s3: RelayingS3, store: S3Objects, bucket: str) -> None:
    s3.script = [failing(409, "ConditionalRequestConflict")] * 99
    pieces = iter([SHORT])
    with pytest.raises(ObjectUnavailable, match=rf"s3://{bucket}/out: .*\(409\)"):
        store.write_new(bucket, "out", pieces, content_type="a/b", metadata={})
    assert len(s3.asked) == 4


def test_losing_the_race_is_no_error(s3: RelayingS3, store: S3Objects, bucket: str) -> None:
    s3.script = [failing(412, "PreconditionFailed")]
    assert not write(store, bucket, SHORT)


def test_a_store_that_knows_no_conditions_is_refused(s3: RelayingS3, store: S3Objects, bucket: str) -> None:
    s3.script = [failing(501, "NotImplemented")]
    with pytest.raises(ObjectRefused, match="NotImplemented"):
        write(store, bucket, SHORT)


# Writing in parts: POST uploads, three times PUT partNumber, POST uploadId.

WHOLE = ["POST uploads", *["PUT partNumber"] * 3, "POST uploadId"]
ABORT = "DELETE uploadId"


def test_a_long_object_is_written_in_parts_under_a_condition(
    moto: Any, s3: RelayingS3, store: S3Objects, bucket: str
) -> None:
    assert write(store, bucket, LONG)
    assert methods(s3) == WHOLE
    assert s3.asked[-1].headers["if-none-match"] == "*"
    assert b"<ChecksumCRC32>" in s3.asked[-1].body
    assert moto.get_object(Bucket=bucket, Key="out")["Body"].read() == LONG


@pytest.mark.parametrize(
    ("step", "mishap"), [*((step, resetting) for step in range(5)), (3, failing_in_chunks(503, "SlowDown"))]
)
def test_a_step_of_an_upload_that_fails_is_tried_again(
    moto: Any, s3: RelayingS3, store: S3Objects, bucket: str, step: int, mishap: Mishap
) -> None:
    s3.script = [*[well] * step, mishap]
    assert write(store, bucket, LONG)
    assert moto.get_object(Bucket=bucket, Key="out")["Body"].read() == LONG


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_an_upload_that_is_refused_at_any_step_leaves_nothing(
    moto: Any, s3: RelayingS3, store: S3Objects, bucket: str, step: int
) -> None:
    s3.script = [*[well] * step, failing(403, "AccessDenied")]
    with pytest.raises(ObjectRefused, match="s3:PutObject"):
        write(store, bucket, LONG)
    assert methods(s3)[-1] == ABORT
    assert (uploads(moto, bucket), store.list(bucket, "")) == ([], [])


def test_content_that_fails_gives_the_upload_up(moto: Any, s3: RelayingS3, store: S3Objects, bucket: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield LONG
        raise ObjectUnavailable("the part that is joined")

    with pytest.raises(ObjectUnavailable, match="the part that is joined"):
        store.write_new(bucket, "out", pieces(), content_type="a/b", metadata={})
    assert methods(s3)[-1] == ABORT
    assert uploads(moto, bucket) == []


def test_losing_the_race_with_an_upload_gives_it_up(moto: Any, s3: RelayingS3, store: S3Objects, bucket: str) -> None:
    s3.script = [*[well] * 4, failing(412, "PreconditionFailed")]
    assert not write(store, bucket, LONG)
    assert methods(s3) == [*WHOLE, ABORT]
    assert uploads(moto, bucket) == []


def test_an_upload_that_collides_is_begun_anew(moto: Any, s3: RelayingS3, store: S3Objects, bucket: str) -> None:
    s3.script = [*[well] * 4, failing(409, "ConditionalRequestConflict")]
    assert write(store, bucket, LONG)
    assert methods(s3) == [*WHOLE, ABORT, *WHOLE]
    assert uploads(moto, bucket) == []
    assert moto.get_object(Bucket=bucket, Key="out")["Body"].read() == LONG


def test_an_upload_that_collides_and_cannot_be_begun_anew_is_given_up(
    moto: Any, s3: RelayingS3, store: S3Objects, bucket: str
) -> None:
    s3.script = [*[well] * 4, failing(409, "ConditionalRequestConflict")]
    with pytest.raises(ObjectUnavailable, match="409"):
        store.write_new(bucket, "out", iter([LONG]), content_type="a/b", metadata={})
    assert methods(s3) == [*WHOLE, ABORT]
    assert (uploads(moto, bucket), store.list(bucket, "")) == ([], [])


AFTER: dict[str, list[Mishap]] = {
    "S3 remembers the upload": [],
    "S3 sees the object": [failing(412, "PreconditionFailed")],
    "S3 has forgotten the upload": [failing(404, "NoSuchUpload")],
}


@pytest.mark.parametrize("name", AFTER)
def test_an_upload_whose_end_was_not_heard_of_is_somebody_s(
    moto: Any, s3: RelayingS3, store: S3Objects, bucket: str, name: str
) -> None:
    s3.script = [*[well] * 4, forgetting, *AFTER[name]]
    assert write(store, bucket, LONG) == (name == "S3 remembers the upload")
    assert uploads(moto, bucket) == []
    assert moto.get_object(Bucket=bucket, Key="out")["Body"].read() == LONG


def test_an_error_under_status_200_is_an_error(moto: Any, s3: RelayingS3, store: S3Objects, bucket: str) -> None:
    late = b"<?xml version='1.0'?>\n<Error><Code>InternalError</Code><Message>Oh.</Message></Error>"
    s3.script = [*[well] * 4, saying(answer_bytes(200, late))]
    assert write(store, bucket, LONG)
    assert methods(s3) == [*WHOLE, "POST uploadId"]


# The deadline.


def never(connection: Any, *_: Any) -> None:
    """Neither answer nor end."""
    connection.recv(1)


@pytest.mark.parametrize("act", ACTS)
def test_nothing_is_waited_for_past_the_deadline(
    s3: RelayingS3, connection: Connection, reference: ObjectRef, act: str
) -> None:
    s3.script = [never] * 99
    connection.full()
    store = S3Objects(connection, within(0.3))
    with pytest.raises(ObjectUnavailable, match=r"s3://faults-\d+/(in/|out).* time was up"):
        ACTS[act](store, reference)
    assert len(s3.asked) <= 1  # which botocore gives up after 20 s only


def test_a_body_that_drips_is_not_waited_for(s3: RelayingS3, connection: Connection, reference: ObjectRef) -> None:
    ended = threading.Event()

    def mishap(*request: Any) -> None:
        dripping(*request)
        ended.set()

    s3.script = [mishap]
    connection.full()
    with pytest.raises(ObjectUnavailable, match=r"in/a: S3 had not answered when the invocation's time was up"):
        S3Objects(connection, within(0.5)).read(reference, 0, len(SHORT))
    assert not ended.is_set()


@pytest.mark.parametrize("act", ACTS)
def test_nothing_is_asked_when_the_time_is_up(
    s3: RelayingS3, connection: Connection, reference: ObjectRef, act: str
) -> None:
    with pytest.raises(ObjectUnavailable, match="time was up"):
        ACTS[act](S3Objects(connection, lambda: -5), reference)
    assert s3.asked == []


def test_an_upload_whose_time_is_up_is_given_up_without_waiting(moto: Any, connection: Connection, bucket: str) -> None:
    left = [120_000]

    def pieces() -> Iterator[bytes]:
        yield LONG
        left[0] = 0
        yield LONG

    with pytest.raises(ObjectUnavailable, match="time was up"):
        S3Objects(connection, lambda: left[0]).write_new(bucket, "out", pieces(), content_type="a/b", metadata={})
    for _ in range(600):
        if not uploads(moto, bucket):
            break
        time.sleep(0.1)
    assert uploads(moto, bucket) == []
