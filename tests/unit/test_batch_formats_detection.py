"""What an object is taken for: by content type, then by suffix, then by what it begins with."""

from __future__ import annotations

import gzip
import zlib
from io import BytesIO

import numpy as np
import pytest

from gluon_lambda.batch.formats.opening import open_rows
from gluon_lambda.errors import ObjectRefused
from tests.format_samples import SAMPLES, Sample, body, image, npy, npz, read, tarred, told, zipped

# Neither CSV of texts with line breaks in them nor one of a single column is told from prose.
BY_LOOK = [sample for sample in SAMPLES if not sample.key.startswith(("table.", "lines.jsonl"))]


@pytest.mark.parametrize("sample", BY_LOOK, ids=lambda sample: sample.key)
@pytest.mark.parametrize("content_type", ["", "binary/octet-stream", "application/octet-stream", "text/plain"])
def test_an_object_that_nothing_is_said_of_is_looked_at(sample: Sample, content_type: str) -> None:
    looked_at = read(sample.content, "in/unnamed", content_type)

    assert [told(row)[:3] for row in looked_at] == [told(row)[:3] for row in read(sample.content, sample.key)]


@pytest.mark.parametrize(
    ("content_type", "content", "rows"),
    [
        ("application/json", b"[1, 2]", 2),
        ("application/vnd.api+json", b"[1, 2]", 2),
        ("application/x-ndjson", b"[1, 2]\n", 1),
        ("application/jsonl", b"[1, 2]\n", 1),
        ("text/csv", b"[1,2]\n3,4\n5,6\n", 2),
        ("text/tab-separated-values", b"1\t2\n", 1),
        ("application/x-npy", npy(np.zeros((3, 2))), 3),
        ("application/x-npz", npz(x=np.zeros((3, 2))), 3),
        ("application/zip", zipped({"a.png": image(), "b.png": image()}), 2),
        ("application/x-tar", tarred({"a.png": image(), "b.png": image()}), 2),
        ("application/x-tgz", gzip.compress(tarred({"a.png": image()})), 1),
        ("image/png", image(), 1),
    ],
)
def test_the_content_type_counts_before_the_suffix(content_type: str, content: bytes, rows: int) -> None:
    assert len(read(content, "in/misnamed.jpeg", content_type)) == rows


def test_the_suffix_counts_before_the_look_and_where_the_content_type_is_none_that_is_read() -> None:
    assert [body(row) for row in read(b"[1,2]\n[3,4]\n", "a.NDJSON.GZ".removesuffix(".GZ"))] == [[1, 2], [3, 4]]
    # What browsers on Windows say of CSV.
    assert body(read(b"1,2\n", "a.csv", "application/vnd.ms-excel")[0]) == [1, 2]


def test_a_npz_that_is_called_a_zip_is_still_a_npz() -> None:
    (row,) = read(npz(x=np.zeros((1, 2))), "a.npz", "application/zip")

    assert row.payload is not None
    assert [part.name for part in row.payload.parts] == ["x"]


@pytest.mark.parametrize(
    ("key", "content_type", "came"),
    [
        ("a.jpg", "", "image/jpeg"),
        ("a.JPEG", "binary/octet-stream", "image/jpeg"),
        ("a.png", "image/jpg", "image/jpeg"),
        ("a.png", "image/jpeg", "image/jpeg"),
        ("folder.d/a", "", "image/png"),
        ("a.tiff", "", "image/tiff"),
        ("a", "image/x-anything", "image/x-anything"),
    ],
)
def test_an_image_is_a_body_of_its_type(key: str, content_type: str, came: str) -> None:
    (row,) = read(image(), key, content_type)

    assert row.payload is not None
    assert [(part.name, part.value, part.content_type) for part in row.payload.parts] == [("body", image(), came)]


@pytest.mark.parametrize("kind", ["BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"])
def test_images_are_told_by_what_they_begin_with(kind: str) -> None:
    (row,) = read(image(kind, (16, 16)), "unnamed")

    assert row.payload is not None
    assert row.payload.parts[0].content_type.startswith("image/")


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        (b"", "a.json", "s3://in/a.json is empty"),
        (b"", "a", "a is empty"),
        (gzip.compress(b""), "a.json.gz", "a.json.gz is empty"),
        (b"%PDF-1.7\n\x00\x01", "report.pdf", "begins with b'%PDF-1.7"),
        (b"Some prose, with a comma.\nAnd more of it.\n", "a.txt", "nothing that is read"),
        (b"\x00\x01\x02", "a", "Accepted: an image, JSON, JSON Lines, CSV, .npy or .npz"),
        ("a,b\n1,2\n".encode("utf-16"), "a.csv", "UTF-16"),
        (b"plain", "a.csv.gz", "is no gzip, as its name, type or content encoding says"),
        (gzip.compress(zipped({"a.png": image()})), "a.zip.gz", "a zip within a gzip"),
        (gzip.compress(b"[1]")[:-9], "a.json.gz", "breaks off or is damaged"),
        (gzip.compress(b"[1]")[:-5] + b"12345", "a.json.gz", "breaks off or is damaged"),
    ],
)
def test_what_is_not_read_is_refused_with_its_key_and_the_reason(content: bytes, key: str, message: str) -> None:
    with pytest.raises(ObjectRefused) as refused:
        read(content, f"s3://in/{key}")

    assert f"s3://in/{key}" in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("key", "content_type", "encoding"),
    [
        ("a.jsonl.gz", "", ""),
        ("a.jsonl", "", "gzip"),
        ("a.jsonl.gz", "", "aws-chunked,gzip"),
        ("a.jsonl", "", ""),
        ("a.jsonl.gz", "application/gzip", ""),
        ("a", "application/x-ndjson", ""),
    ],
)
def test_a_gzip_is_told_by_what_it_begins_with_whatever_is_said_of_it(
    key: str, content_type: str, encoding: str
) -> None:
    packed = gzip.compress(b"1\n") + gzip.compress(b"2\n")

    assert [body(row) for row in read(packed, key, content_type, encoding=encoding)] == [1, 2]


def test_a_gzip_that_was_packed_once_more_is_unpacked_twice() -> None:
    packed = gzip.compress(gzip.compress(b"1\n2\n"))

    assert [body(row) for row in read(packed, "a.jsonl.gz", encoding="gzip")] == [1, 2]


def test_another_content_encoding_is_refused() -> None:
    with pytest.raises(ObjectRefused, match="content encoding br; gzip is read"):
        read(b"1\n", "a.jsonl", encoding="br")


def test_the_rows_before_the_place_where_a_gzip_breaks_off_stand() -> None:
    content = b"".join(b'{"a": %d}\n' % (at * 7919 % 100_003) for at in range(200_000))
    packed = gzip.compress(content)
    cut = packed[: len(packed) // 2]
    readable = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(cut).count(b"\n")
    rows: list[int] = []

    with pytest.raises(ObjectRefused, match="breaks off"):
        rows.extend(body(row)["a"] for row in open_rows(BytesIO(cut), key="a.jsonl.gz"))

    assert len(rows) == readable > 50_000
    assert rows == [at * 7919 % 100_003 for at in range(len(rows))]
