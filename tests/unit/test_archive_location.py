"""The text of a location, and what is refused."""

from __future__ import annotations

import pytest

from gluon_lambda.archive_store.location import Location, child_location, parse_location
from gluon_lambda.errors import ConfigurationError

DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "path", "bucket", "version_id", "sha256"),
    [
        ("gluon.model", "gluon.model", "", "", ""),
        ("/opt/models/gluon.model", "/opt/models/gluon.model", "", "", ""),
        ("../models", "../models", "", "", ""),
        ("file:///opt/gluon.model", "/opt/gluon.model", "", "", ""),
        ("my%20model%23%3F%25.mar", "my model#?%.mar", "", "", ""),
        (f"gluon.model#sha256={DIGEST}", "gluon.model", "", "", DIGEST),
        (f"gluon.model#sha256={DIGEST.upper()}", "gluon.model", "", "", DIGEST),
        ("s3://bucket/key", "key", "bucket", "", ""),
        ("s3://bucket/a/b%20c+d.mar", "a/b c+d.mar", "bucket", "", ""),
        ("s3://bucket/k?versionId=3/L4kq+xyz", "k", "bucket", "3/L4kq+xyz", ""),
        (f"s3://bucket/k?versionId=null#sha256={DIGEST}", "k", "bucket", "null", DIGEST),
        ("s3://bucket", "", "bucket", "", ""),
        ("s3://bucket/models/", "models/", "bucket", "", ""),
    ],
)
def test_a_location_is_read(text: str, path: str, bucket: str, version_id: str, sha256: str) -> None:
    location = parse_location(text)
    assert location == Location(text, path, bucket, version_id, sha256)
    assert location.on_s3 == bool(bucket)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no path"),
        ("#sha256=" + DIGEST, "no path"),
        ("a%00b", "no path"),
        ("https://example.com/gluon.model", "https:// is not fetched"),
        ("s3:///key", "no S3 bucket name"),
        ("s3://b_/key", "no S3 bucket name"),
        ("gluon.model#sha256=abc", "64 hex digits"),
        ("gluon.model#md5=" + DIGEST, "sha256="),
        ("a#b.model", "%23"),
        ("a?b.model", "%3F"),
        ("gluon.model?versionId=1", "only S3 has a versionId"),
        ("s3://bucket/k?version=1", "versionId="),
        ("s3://bucket/k?versionId=", "versionId="),
        ("s3://bucket/k?versionId=1&versionId=2", "versionId="),
    ],
)
def test_what_is_no_location_is_refused_with_the_accepted_form(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        parse_location(text)


def test_a_childs_text_reads_back_as_the_child() -> None:
    for parent in ("s3://bucket/models", "s3://bucket/models/", "s3://bucket", "models", "/opt/a%20b/"):
        child = child_location(parse_location(parent), "a #1.mar")
        assert parse_location(child.text) == child
