"""What the benchmark of batches compares, what it takes for wrong, and what it makes of its measurements."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks.bare_loop import Order, batches_of, decoded, decoded_ahead, opened
from benchmarks.batch import in_rounds
from benchmarks.batch_function import Outcome, Wrong, require_rows
from benchmarks.batch_inputs import json_lines, make_pictures, s3_event, zip_of
from benchmarks.batch_tables import ALONE, KEYS, ZIP, best_bare, memory_targets, table, targets_of
from benchmarks.bucket_server import serve_buckets
from benchmarks.rivals.image_steps import CROP, MEAN, SHORT_SIDE, STD
from gluon_lambda.archive_store.signature import InputDeclaration
from gluon_lambda.services.image_steps import parse_steps
from gluon_lambda.services.images import image_array

MIB = 1 << 20


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "us-east-1"}
    with serve_buckets() as url:
        yield boto3.client("s3", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}), **keys)


def read(s3: Any, key: str, **request: str) -> bytes:
    content: bytes = s3.get_object(Bucket="b", Key=key, **request)["Body"].read()
    return content


def test_what_is_written_is_kept_with_all_that_is_said_of_it(s3: Any) -> None:
    s3.put_object(Bucket="b", Key="a b/ä+.txt", Body=b"0123456789", ContentType="text/x", Metadata={"of": "me"})
    head = s3.head_object(Bucket="b", Key="a b/ä+.txt")
    assert (head["ContentLength"], head["ContentType"], head["Metadata"]) == (10, "text/x", {"of": "me"})
    assert read(s3, "a b/ä+.txt", Range="bytes=2-4", IfMatch=head["ETag"]) == b"234"
    with pytest.raises(ClientError, match="PreconditionFailed"):
        read(s3, "a b/ä+.txt", IfMatch='"other"')


def test_only_the_first_conditional_write_counts(s3: Any) -> None:
    s3.put_object(Bucket="b", Key="once", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket="b", Key="once", Body=b"second", IfNoneMatch="*")
    assert read(s3, "once") == b"first"
    s3.put_object(Bucket="b", Key="once", Body=b"third")
    assert read(s3, "once") == b"third"


def uploaded(s3: Any, key: str, *parts: bytes) -> None:
    """Write an object in parts, unless it is there."""
    named = {"Bucket": "b", "Key": key}
    upload = s3.create_multipart_upload(**named, ContentType="text/x")["UploadId"]
    sent = [
        {"PartNumber": number, "ETag": s3.upload_part(**named, UploadId=upload, PartNumber=number, Body=part)["ETag"]}
        for number, part in enumerate(parts, 1)
    ]
    s3.complete_multipart_upload(**named, UploadId=upload, MultipartUpload={"Parts": sent}, IfNoneMatch="*")


def test_an_object_of_parts_is_there_when_it_is_whole_and_only_once(s3: Any) -> None:
    uploaded(s3, "large", b"a" * MIB, b"b")
    assert read(s3, "large") == b"a" * MIB + b"b"
    with pytest.raises(ClientError, match="PreconditionFailed"):
        uploaded(s3, "large", b"c")
    assert s3.head_object(Bucket="b", Key="large")["ContentType"] == "text/x"


def test_objects_are_listed_by_prefix_and_gone_when_they_are_deleted(s3: Any) -> None:
    for key in ("list/b & c", "list/a", "other"):
        s3.put_object(Bucket="listed", Key=key, Body=b"xy")
    listing = s3.list_objects_v2(Bucket="listed", Prefix="list/")["Contents"]
    assert [(entry["Key"], entry["Size"]) for entry in listing] == [("list/a", 2), ("list/b & c", 2)]
    s3.delete_objects(Bucket="listed", Delete={"Objects": [{"Key": "list/b & c"}, {"Key": "never there"}]})
    s3.delete_object(Bucket="listed", Key="other")
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="listed")["Contents"]] == ["list/a"]


def test_what_is_not_there_is_not_found(s3: Any) -> None:
    with pytest.raises(ClientError, match="NoSuchKey"):
        read(s3, "none")


def test_the_bare_loop_makes_the_very_array_that_the_handler_makes_of_every_picture() -> None:
    preprocess = {"resize": SHORT_SIDE, "crop": [CROP, CROP], "scale": 1 / 255, "mean": list(MEAN), "std": list(STD)}
    steps = parse_steps(InputDeclaration("data", (0, 3, CROP, CROP), "float32", preprocess), where="here")
    pictures = make_pictures()
    assert len(set(pictures)) == len(pictures)
    for jpeg in pictures:
        assert np.array_equal(decoded([opened(jpeg)]), image_array(jpeg, steps))


@pytest.mark.parametrize("decoders", [1, 2])
def test_decoding_ahead_makes_the_same_batches(decoders: int) -> None:
    order = Order(decoders, 3, 7)
    pictures = [opened(jpeg) for jpeg in make_pictures()[:2]]
    in_turn = [decoded(batch) for batch in batches_of(pictures, order)]
    # As they are when they are given: what is decoded later does not count.
    ahead = [batch.copy() for batch in decoded_ahead(batches_of(pictures, order), decoders)]
    assert [len(batch) for batch in ahead] == [3, 3, 1]
    assert all(np.array_equal(one, other) for one, other in zip(in_turn, ahead, strict=True))


def test_a_zip_has_the_pictures_over_and_over() -> None:
    with zipfile.ZipFile(io.BytesIO(zip_of([b"first", b"second"], 3))) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [b"first", b"second", b"first"]


def test_events_name_keys_as_s3_does() -> None:
    (record,) = json.loads(s3_event("a b/c.jpg"))["Records"]
    assert record["s3"]["object"]["key"] == "a+b%2Fc.jpg"
    assert json_lines([{"a": 1}, [2]]) == b'{"a": 1}\n[2]\n'


def outcome(*predictions: Any, failed: int = 0) -> Outcome:
    """An object's."""
    return Outcome("key", {"failed": failed}, list(predictions))


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ([outcome(0, 1)], "became 1 with 2"),
        ([outcome(0), outcome(1, 2, 3)], "became 2 with 4"),
        ([outcome(0), outcome(1, None, failed=1)], "1 of them failed"),
        ([outcome(0, 1), outcome(7)], "row 2: 7"),
    ],
)
def test_rows_that_are_missing_failed_or_different_end_the_benchmark(outcomes: list[Outcome], message: str) -> None:
    with pytest.raises(Wrong, match=message):
        require_rows(outcomes, objects=2, rows=3, alike=lambda at, it: bool(at == it))


def test_rows_that_are_all_there_are_accepted() -> None:
    require_rows([outcome(0, 1), outcome(2)], objects=2, rows=3, alike=lambda at, it: bool(at == it))


def test_the_first_round_does_not_count() -> None:
    runs: list[str] = []

    def turn(run: str) -> float:
        runs.append(run)
        return float(len(runs))

    assert in_rounds({"a b": turn}, 2, what="things") == {"a b": [2.0, 3.0]}
    assert runs == ["round-0-a-b", "round-1-a-b", "round-2-a-b"]


def result(*, rates: dict[str, list[float]], few: float = 100.0, many: float = 103.0) -> dict[str, Any]:
    """A result as the JSON has it."""
    return {
        "settings": {"rounds": 2, "images": 4, "alone": 2, "memory_mb": 3538},
        "machine": {"processor": "x", "cpus": 2, "cpu_share_of_other_work": 0.2},
        "images": {"rates": rates, "sizes": {ZIP: 8}},
        "rows": {"rates": {"native service": [50.0, 60.0]}, "sizes": {"native service": 1}},
        "memory": {"peak_mib": {"10": few, "1000": many, "100000": few + 1}},
    }


RATES = {ZIP: [95.0, 95.0], KEYS: [80.0, 80.0], ALONE: [50.0, 50.0], "bare, in turn": [90.0, 90.0]}


def test_batches_are_held_against_the_better_bare_loop_and_single_invocations() -> None:
    rates = {**RATES, "bare, 2 decode ahead": [100.0, 100.0]}
    assert best_bare(rates) == "bare, 2 decode ahead"
    reached = [(row.measured, row.least, row.reached) for row in targets_of(result(rates=rates)) if row.least]
    assert reached == [(0.95, 0.9, True), (1.9, 1.5, True), (0.8, 0.9, False), (1.6, 1.5, True)]


def test_memory_may_hold_what_long_objects_take_and_then_grow_no_more() -> None:
    peaks = {"300000": 112.5, "10": 100.0, "1000": 104.0, "100000": 110.0}
    held, grown = memory_targets(peaks)
    assert (held.measured, held.reached, grown.measured, grown.reached) == (10.0, True, 2.5, False)
    held, grown = memory_targets({**peaks, "100000": 113.0})
    assert (held.reached, grown.reached) == (False, True)


def test_the_table_shows_every_series_and_that_the_machine_was_busy() -> None:
    shown = table(result(rates=RATES))
    assert shown.startswith("NOT TO BE RELIED ON")
    for name in ("≥ 0.90  NO", "≥ 0.90  yes", *RATES, "native service", "100,000"):
        assert name in shown
