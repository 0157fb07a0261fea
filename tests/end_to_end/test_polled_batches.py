"""Objects that land on S3 (moto's), S3's own notifications, ``poll``, and the real handler in sandboxes that die or have too little time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.end_to_end.endpoint import shell_variables
from tests.service_archives import manifest_1_x, write_files

# A model that takes as long as each row says, and dies where one says so, the first time.
SERVICE = '''
"""Doubles numbers."""
import os
import time


def handle(data, context):
    return [answer(row["body"]) for row in data] if data else None


def answer(row):
    if row.get("die") and not os.path.exists(row["die"]):
        open(row["die"], "w").close()
        os._exit(9)
    time.sleep(row.get("seconds", 0))
    return {"double": 2 * row["n"]}
'''
TIMEOUT_SECONDS = 4
# With what is kept for storing and handing on, there is time for one row of this length in an invocation, and not for a second one.
ONE_AN_INVOCATION = 0.7


class Outputs(NamedTuple):
    """Of one input: results, errors, summary."""

    results: bytes
    errors: bytes
    summary: dict[str, Any]


class Account:
    """Two buckets and a queue between them, and the function's archive."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint = endpoint
        self.folder = folder
        self.s3, self.sqs = self.client("s3"), self.client("sqs")
        attributes = {"VisibilityTimeout": str(TIMEOUT_SECONDS)}
        self.queue = self.sqs.create_queue(QueueName=f"jobs-{folder.name[-20:]}", Attributes=attributes)["QueueUrl"]
        # All tests of a process share moto's buckets and queues.
        self.input, self.output = (f"polled-{folder.name[-20:].replace('_', '-')}-{end}" for end in ("in", "out"))
        for bucket in (self.input, self.output):
            self.s3.create_bucket(Bucket=bucket)
        files: dict[str, str | bytes] = {"MAR-INF/MANIFEST.json": manifest_1_x("s.py:handle"), "s.py": SERVICE}
        self.archive = write_files(folder / "model", files)

    def client(self, service: str, endpoint: str = "") -> Any:
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "us-east-1"}
        return boto3.client(service, endpoint_url=endpoint or self.endpoint, **keys)

    def notify(self) -> None:
        """Have S3 tell the queue of each object."""
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])
        told = {"QueueArn": found["Attributes"]["QueueArn"], "Events": ["s3:ObjectCreated:*"]}
        self.s3.put_bucket_notification_configuration(
            Bucket=self.input, NotificationConfiguration={"QueueConfigurations": [told]}
        )

    def put(self, key: str, rows: list[Any]) -> None:
        body = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
        self.s3.put_object(Bucket=self.input, Key=key, Body=body.encode())

    def poller(self) -> subprocess.Popen[str]:
        """``poll`` until the queue is empty."""
        command = [sys.executable, "-m", "local_emulator", "poll"]
        command += ["--queue", self.queue, "--endpoint-url", self.endpoint, "--until-empty", "0.5", "--batch-size", "1"]
        command += ["--parameter-overrides", f"Timeout={TIMEOUT_SECONDS}", "--models", f"doubles={self.archive}"]
        command += ["--env", f"GLUON_OUTPUT=s3://{self.output}/", "GLUON_BATCH_SIZE=1"]
        command += ["--function-log", str(self.folder / "log")]
        keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
        return subprocess.Popen(
            command, env=shell_variables(**keys), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def outputs(self, key: str) -> Outputs:
        """What was written for an input; no part of anything is left."""
        listed = [each["Key"] for each in self.s3.list_objects_v2(Bucket=self.output).get("Contents", [])]
        assert not [each for each in listed if "_parts/" in each]
        own = {re.sub(r".*/[0-9a-f]{32}", "", each): self._read(each) for each in listed if f"/{key}/" in each}
        return Outputs(own[".jsonl"], own.get("_errors.jsonl", b""), json.loads(own["_summary.json"]))

    def _read(self, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=self.output, Key=key)["Body"].read())


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Account(f"http://{host}:{port}", tmp_path)
    server.stop()


def ended(poller: subprocess.Popen[str], within: float = 60) -> str:
    """What a poller that ends well says of its invocations."""
    try:
        _, told = poller.communicate(timeout=within)
    finally:
        poller.kill()
    assert poller.returncode == 0, told
    return told


@pytest.mark.slow
def test_a_sandbox_that_dies_within_an_object_leaves_what_a_retry_completes_byte_for_byte(account: Account) -> None:
    account.notify()
    marker, undisturbed = account.folder / "died", account.folder / "never dies"
    undisturbed.touch()
    disturbed = [{"n": 1}, "oops", {"n": 2}, {"n": 3, "die": str(marker)}, {"n": 4}]
    account.put("killed", disturbed)
    account.put("whole", [*disturbed[:3], {"n": 3, "die": str(undisturbed)}, {"n": 4}])
    account.put("killed", disturbed)  # S3 tells a second time of the same state
    told = ended(account.poller())
    assert "1 message: 1 comes again, Runtime.ExitError" in told
    assert marker.exists()
    killed, whole = account.outputs("killed"), account.outputs("whole")
    predictions = [json.loads(line).get("prediction") for line in whole.results.splitlines()]
    assert predictions == [{"double": 2}, None, {"double": 4}, {"double": 6}, {"double": 8}]
    assert whole.errors.splitlines() == [whole.results.splitlines()[1]]
    assert (killed.results, killed.errors) == (whole.results, whole.errors)
    assert [each.summary["answered"] for each in (killed, whole)] == [4, 4]


@pytest.mark.parametrize(
    ("rows", "through"),
    [
        (2, "invoke"),
        pytest.param(31, "queue", marks=pytest.mark.slow),
        pytest.param(31, "invoke", marks=pytest.mark.slow),
    ],
)
def test_an_object_that_one_invocation_has_no_time_for_is_handed_on(account: Account, rows: int, through: str) -> None:
    if through == "queue":
        account.notify()
    account.put("long.jsonl", [{"n": number, "seconds": ONE_AN_INVOCATION} for number in range(rows)])
    poller = account.poller()
    if through == "invoke":
        _invoke(account, poller, "long.jsonl")
    ended(poller, within=180)
    long = account.outputs("long.jsonl")
    assert [json.loads(line) for line in long.results.splitlines()] == [
        {"index": number, "prediction": {"double": 2 * number}} for number in range(rows)
    ]
    assert long.summary["rows"] == long.summary["answered"] == rows
    assert long.summary["invocations"] >= rows


def _invoke(account: Account, poller: subprocess.Popen[str], key: str) -> None:
    """Hand the function S3's notification asynchronously, as S3 does."""
    assert poller.stderr is not None
    announced = re.search(r"Invoke API on (\S+)", poller.stderr.readline())
    assert announced, poller.stderr.read()
    record = {"s3": {"bucket": {"name": account.input}, "object": {"key": key}}}
    event = {"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", **record}]}
    function = account.client("lambda", announced[1])
    function.invoke(FunctionName="PredictFunction", InvocationType="Event", Payload=json.dumps(event))
