"""What batches are given: pictures, in a zip and one by one, rows of JSON, and the events that tell of them."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote_plus

from benchmarks.batch_nets import NUMBERS
from benchmarks.pictures import Wanted, jpeg
from benchmarks.workload import REVIEW

BUCKET, OUTPUTS = "inputs", "outputs"
JPEG_BYTES = 38_000
# Of 3 to 2, standing and lying: resized to a shorter side of 256 they have whole pixels. Each gives another picture.
SIZES = ((600, 400), (660, 440), (400, 600), (540, 360), (440, 660), (510, 340), (360, 540), (630, 420))
SEED = 20


def make_pictures() -> list[bytes]:
    """A JPEG of each size."""
    return [jpeg(Wanted(width, height, JPEG_BYTES)) for width, height in SIZES]


def zip_of(pictures: Sequence[bytes], count: int) -> bytes:
    """So many of the pictures, over and over, stored in a zip: JPEGs hardly shrink."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for at in range(count):
            archive.writestr(f"{at:05}.jpg", pictures[at % len(pictures)])
    return target.getvalue()


def review_rows(count: int) -> bytes:
    """JSON Lines for char_cnn, each another review; in a list, which both of its services take."""
    return json_lines([{**REVIEW, "review_title": f"{REVIEW['review_title']}, part {at}"}] for at in range(count))


def number_rows(count: int) -> bytes:
    """JSON Lines for the small net."""
    chance = random.Random(SEED)
    return json_lines([round(chance.uniform(-1, 1), 4) for _ in range(NUMBERS)] for _ in range(count))


def json_lines(values: Any) -> bytes:
    """A line for each value."""
    return "".join(f"{json.dumps(value)}\n" for value in values).encode()


def event_of_keys(keys: Sequence[str]) -> bytes:
    """The plain form: one event for all of them, whose answer has an entry for each."""
    return json.dumps({"bucket": BUCKET, "keys": list(keys)}).encode()


def s3_event(key: str) -> bytes:
    """The notification that S3 sends of one object (Amazon S3 User Guide, "Event message structure")."""
    told = {"bucket": {"name": BUCKET, "arn": f"arn:aws:s3:::{BUCKET}"}, "object": {"key": quote_plus(key)}}
    record = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": told}
    return json.dumps({"Records": [record]}).encode()
