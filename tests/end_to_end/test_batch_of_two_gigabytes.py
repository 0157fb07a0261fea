"""An object far larger than the function: 2 GB of JSON Lines through the real awslambdaric, in half a gigabyte of memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.lambda_process import NEXT, running
from tests.scripted_s3 import CREDENTIALS, Asked, RelayingS3, answer_bytes
from tests.service_archives import manifest_1_x, write_files

LINES, LINE_BYTES = 2048, 1 << 20
SIZE = LINES * LINE_BYTES
LARGE = "/two-gigabytes/lines.jsonl"
MEGABYTES = 512

pytestmark = pytest.mark.slow


class WithALargeObject(RelayingS3):
    """moto's S3, and an object that is made up while it is read."""

    line = json.dumps("x" * (LINE_BYTES - 3)).encode() + b"\n"

    def answer(self, request: Asked) -> bytes:
        """The made-up object's bytes, or moto's answer."""
        if request.target != LARGE:
            return super().answer(request)
        facts = {"ETag": '"large"', "Content_Type": "application/x-ndjson"}
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if span is None:
            return answer_bytes(200, b"", **{**facts, "Content_Length": str(SIZE)})
        start, end = int(span[1]), min(int(span[2]) + 1, SIZE)
        skipped = start % LINE_BYTES
        lines = self.line * ((skipped + end - start) // LINE_BYTES + 1)
        part = {"Content_Range": f"bytes {start}-{end - 1}/{SIZE}"}
        return answer_bytes(206, lines[skipped : skipped + end - start], **facts, **part)


@pytest.fixture
def s3() -> Iterator[RelayingS3]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    s3 = WithALargeObject(f"http://{host}:{port}")
    yield s3
    s3.close()
    moto.stop()


@pytest.fixture
def lengths(tmp_path: Path) -> Path:
    """An MMS 1.x archive that answers each text with its length."""
    code = "def handle(data, context):\n    return [len(row['body']) for row in data or []]\n"
    return write_files(tmp_path / "lengths", {"MAR-INF/MANIFEST.json": manifest_1_x("s.py:handle"), "s.py": code})


def test_two_gigabytes_are_answered_line_by_line_in_half_a_gigabyte(
    s3: RelayingS3, lengths: Path, tmp_path: Path
) -> None:
    credentials = {name.lower(): CREDENTIALS[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    client: Any = boto3.client("s3", endpoint_url=s3.url, region_name="us-east-1", **credentials)
    client.create_bucket(Bucket="lengths-of-lines")
    settings = {"GLUON_MODELS": f"lengths={lengths}", "GLUON_OUTPUT": "s3://lengths-of-lines"}
    environ = {**CREDENTIALS, "AWS_ENDPOINT_URL": s3.url, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEGABYTES)}
    with running(tmp_path / "run", **settings, **environ) as function:
        function.expect(NEXT)
        function.hand_over({"bucket": "two-gigabytes", "keys": ["lines.jsonl"]}, seconds=900)
        answer = json.loads(function.expect("/response").body)
        status = Path(f"/proc/{function.process.pid}/status").read_text(encoding="ascii")
    (result,) = answer["results"]
    assert (result["state"], result["rows"], result["failed_rows"]) == ("done", LINES, 0)
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    assert int(peak[1]) < MEGABYTES << 10
    _, _, bucket, key = result["outputs"]["results"].split("/", 3)
    lines = client.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"index": number, "prediction": LINE_BYTES - 3} for number in range(LINES)
    ]
