"""Batches through the real awslambdaric: events in, moto's S3 and SQS behind it, predictions of real nets out."""

from __future__ import annotations

import io
import itertools
import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import boto3
import numpy as np
import pytest
from PIL import Image

from local_emulator.local_aws import moto_server
from tests.conftest import TENSOR_SIGNATURE, ExportedNet, write_archive
from tests.lambda_process import NEXT, PATIENCE_SECONDS, LambdaProcess, Reply, http_event, running
from tests.scripted_s3 import Asked, RelayingS3, breaking_off, error_bytes, failing, resetting, well

# All tests of a process share moto's buckets and queues.
INPUT, OUTPUT = "input-of-batches", "output-of-batches"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
NUMBERS = itertools.count()
OF_THE_RUNS = ("started", "finished", "milliseconds", "invocations")
KIBIBYTE, MEGABYTE = 1 << 10, 1 << 20


class Cloud(NamedTuple):
    """S3 and SQS, and a function's variables for them.

    Attributes:
        s3: A client.
        sqs: A client.
        environ: What a function needs to find them, and its models.
    """

    s3: Any
    sqs: Any
    environ: dict[str, str]

    def put(self, key: str, content: bytes) -> dict[str, Any]:
        """Write an input; returns S3's notification of it."""
        self.s3.put_object(Bucket=INPUT, Key=key, Body=content)
        named = {"bucket": {"name": INPUT}, "object": {"key": quote_plus(key), "size": len(content)}}
        record = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": named}
        return {"Records": [record]}

    def outputs(self, prefix: str) -> dict[str, bytes]:
        """All that lies under a prefix of the outputs, by what follows the prefix."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=OUTPUT, Prefix=prefix)
        keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
        return {key.removeprefix(prefix): self.s3.get_object(Bucket=OUTPUT, Key=key)["Body"].read() for key in keys}

    def times(self, prefix: str) -> dict[str, Any]:
        """When each output was written."""
        listed = self.s3.list_objects_v2(Bucket=OUTPUT, Prefix=prefix)["Contents"]
        return {each["Key"]: each["LastModified"] for each in listed}


@pytest.fixture(scope="module")
def cloud(image_archive: Path, tensor_archive: Path) -> Iterator[Cloud]:
    with moto_server() as url:
        credentials = {name.lower(): value for name, value in KEYS.items()}
        s3, sqs = (
            boto3.client(service, endpoint_url=url, region_name="us-east-1", **credentials) for service in ("s3", "sqs")
        )
        for bucket in (INPUT, OUTPUT):
            s3.create_bucket(Bucket=bucket)
        models = f"images={image_archive} tensors={tensor_archive}"
        routes = f"images/=images rows/=tensors s3://{INPUT}/long/=wide"
        environ = {
            "AWS_ENDPOINT_URL": url,
            "GLUON_MODELS": models,
            "GLUON_ROUTES": routes,
            "GLUON_BATCH_SIZE": "32",
            "GLUON_THREADS": "1",
        }
        yield Cloud(s3, sqs, KEYS | environ)


Start = Callable[..., AbstractContextManager[LambdaProcess]]


@pytest.fixture
def start(cloud: Cloud, tmp_path: Path) -> Start:
    """Start a function that writes under a prefix."""
    return lambda prefix, **environ: running(
        tmp_path / f"run-{next(NUMBERS)}", **(cloud.environ | {"GLUON_OUTPUT": f"s3://{OUTPUT}/{prefix}"} | environ)
    )


def sqs_event(*bodies: dict[str, Any], queue: str = "arn:aws:sqs:us-east-1:123456789012:none") -> dict[str, Any]:
    common = {"eventSource": "aws:sqs", "eventSourceARN": queue, "messageAttributes": {}}
    records = [{**common, "messageId": f"m{at}", "body": json.dumps(body)} for at, body in enumerate(bodies)]
    return {"Records": records}


def invoke(function: LambdaProcess, event: Any, *, seconds: float = 60) -> Any:
    """What an invocation answers, once the function asks for the next one."""
    reply = function.invoke(event, seconds=seconds)
    function.expect(NEXT)
    assert reply.kind == "response", reply.body
    return reply.body


def error_of(function: LambdaProcess, event: Any) -> Reply:
    function.expect(NEXT)
    return function.invoke(event)


def png(seed: int) -> bytes:
    sink = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 255, (8, 8), dtype=np.uint8)
    Image.fromarray(values).save(sink, "PNG")
    return sink.getvalue()


def rows(count: int) -> list[str]:
    draw = random.Random(count)
    return [json.dumps({"data": [[[[draw.randrange(9) for _ in range(8)] for _ in range(8)]]]}) for _ in range(count)]


def text_of(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def without_runs(outputs: dict[str, bytes]) -> dict[str, Any]:
    """The outputs, with no more of the summaries than does not depend on the runs, nor on the prefix."""
    found: dict[str, Any] = dict(outputs)
    for key in found:
        if key.endswith("_summary.json"):
            summary = json.loads(found[key])
            left_out = (*OF_THE_RUNS, "results", "errors")
            found[key] = {name: value for name, value in summary.items() if name not in left_out}
    return found


def results(outputs: dict[str, bytes], part: str) -> list[dict[str, Any]]:
    """The lines of the only results whose key has this in it."""
    (content,) = [
        value for key, value in outputs.items() if part in key and key.endswith(".jsonl") and "_err" not in key
    ]
    return [json.loads(line) for line in content.splitlines()]


def named(outputs: dict[str, bytes], part: str, ending: str) -> bytes:
    (content,) = [value for key, value in outputs.items() if part in key and key.endswith(ending)]
    return content


def test_messages_with_images_and_rows_are_answered_as_http_answers_them(cloud: Cloud, start: Start) -> None:
    lines = rows(20)
    lines[7] = "{broken"
    messages = [cloud.put(f"images/{number} ü.png", png(number)) for number in range(20)]
    messages += [cloud.put("images/broken.png", b"no image"), cloud.put("rows/r.jsonl", text_of(lines))]
    with start("answers/") as function:
        function.expect(NEXT)
        assert invoke(function, sqs_event(*messages)) == {"batchItemFailures": []}
        outputs, written = cloud.outputs("answers/"), cloud.times("answers/")
        answered = results(outputs, "rows/r.jsonl/")
        for number in (0, 6, 19):
            asked = invoke(function, http_event("POST", "/tensors/predict", lines[number]))
            expected = json.loads(asked["body"])["prediction"]
            assert np.allclose(answered[number]["prediction"], expected, rtol=1e-4, atol=1e-5)
        # The same event again: nothing is written anew.
        assert invoke(function, sqs_event(*messages)) == {"batchItemFailures": []}
        assert cloud.times("answers/") == written
    assert [line["index"] for line in answered] == list(range(20))
    assert answered[7]["error"]["type"] == "MalformedBody"
    broken = json.loads(named(outputs, "images/broken.png/", "_errors.jsonl"))
    assert (broken["error"]["type"], broken["error"]["class"]) == ("MalformedBody", "Permanent")
    assert len([key for key in outputs if key.endswith("_summary.json")]) == 22
    assert {line["class"] for line in json.loads(named(outputs, "images/3 ü.png/", ".jsonl"))["prediction"]} <= {
        "ant",
        "bee",
        "cat",
        "dog",
    }


@pytest.mark.slow
def test_a_killed_process_leaves_what_another_one_ends_with_the_same_bytes(
    cloud: Cloud, start: Start, wide_archive: Path
) -> None:
    """Its results are long, so that parts are stored within one invocation."""
    message = cloud.put("long/all.jsonl", text_of(rows(800)))
    models = {"GLUON_MODELS": f"wide={wide_archive}"}
    with start("undisturbed/", **models) as function:
        function.expect(NEXT)
        assert invoke(function, sqs_event(message)) == {"batchItemFailures": []}
    with start("killed/", **models) as function:
        function.expect(NEXT)
        function.hand_over(sqs_event(message))
        wait_for(lambda: any(key.endswith(".results") for key in cloud.outputs("killed/_parts/")))
        function.process.send_signal(signal.SIGKILL)
        assert function.exit_code() == -signal.SIGKILL
    assert not [key for key in cloud.outputs("killed/") if key.endswith("_summary.json")]
    with start("killed/", **models) as function:
        function.expect(NEXT)
        assert invoke(function, sqs_event(message)) == {"batchItemFailures": []}
    expected = without_runs(cloud.outputs("undisturbed/"))
    assert len(named(cloud.outputs("undisturbed/"), "all.jsonl/", ".jsonl")) > 8 * MEGABYTE
    assert without_runs(cloud.outputs("killed/")) == expected


@pytest.fixture(scope="module")
def wide_archive(mx: Any, export: Callable[..., ExportedNet], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net with long answers."""
    mx.random.seed(7)
    block = mx.gluon.nn.Dense(1500, prefix="wide_")
    block.initialize(mx.init.Xavier())
    signature = TENSOR_SIGNATURE | {"outputs": [{"data_name": "scores", "data_shape": [0, 1500]}]}
    return write_archive(
        tmp_path_factory.mktemp("wide") / "wide.model", export(block, mx.nd.ones((1, 1, 8, 8))), signature
    )


def wait_for(holds: Callable[[], bool]) -> None:
    patient_until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < patient_until
        time.sleep(0.02)


def test_what_there_is_no_time_for_goes_on_by_the_queue(cloud: Cloud, start: Start) -> None:
    queue = cloud.sqs.create_queue(QueueName="continuations-of-batches")["QueueUrl"]
    notification = cloud.put("rows/late.jsonl", text_of(rows(3)))
    with start("handed-on/", GLUON_CONTINUE_QUEUE=queue) as function:
        function.expect(NEXT)
        # Less than is kept for the end.
        told = invoke(function, notification, seconds=1.9)
        assert told["results"][0]["state"] == "continued"
        (message,) = cloud.sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"]
        assert not cloud.outputs("handed-on/")
        body = json.loads(message["Body"])
        assert body["gluonContinuation"]["hand_overs"] == 1
        assert invoke(function, sqs_event(body)) == {"batchItemFailures": []}
    summary = json.loads(named(cloud.outputs("handed-on/"), "late.jsonl/", "_summary.json"))
    assert (summary["rows"], summary["invocations"]) == (3, 2)


class Throttling(RelayingS3):
    """Moto's S3, which answers no request for some of the keys.

    Attributes:
        throttled: Parts of their targets.
    """

    throttled: tuple[str, ...] = ()

    def answer(self, request: Asked) -> bytes:
        if any(part in request.target for part in self.throttled):
            return error_bytes(503, "SlowDown")
        return super().answer(request)


def test_what_an_overloaded_s3_does_not_give_comes_again_and_nothing_else(cloud: Cloud, start: Start) -> None:
    messages = [cloud.put(f"images/slow-{number}.png", png(number)) for number in range(12)]
    s3 = Throttling(cloud.environ["AWS_ENDPOINT_URL"])
    s3.throttled = (f"/{INPUT}/images/slow-3.png", "/images/slow-7.png/")
    s3.script += [failing(503, "SlowDown"), well, resetting, well, well, breaking_off(20), well, well] * 2
    with closing(s3), start("slow/", AWS_ENDPOINT_URL_S3=s3.url, AWS_MAX_ATTEMPTS="3") as function:
        function.expect(NEXT)
        told = invoke(function, sqs_event(*messages))
        assert told == {"batchItemFailures": [{"itemIdentifier": "m3"}, {"itemIdentifier": "m7"}]}
        assert len([key for key in cloud.outputs("slow/") if key.endswith("_summary.json")]) == 10
        s3.throttled = ()
        assert invoke(function, sqs_event(messages[3], messages[7])) == {"batchItemFailures": []}
    outputs = cloud.outputs("slow/")
    assert len([key for key in outputs if key.endswith("_summary.json")]) == 12
    assert all("prediction" in results(outputs, f"slow-{number}.png/")[0] for number in range(12))


def test_batch_operations_and_step_functions_are_told_of_each_object(cloud: Cloud, start: Start) -> None:
    cloud.put("rows/good.jsonl", text_of(rows(2)))
    cloud.put("rows/empty.jsonl", b"")
    keys = ["rows/good.jsonl", "rows/empty.jsonl", "rows/gone.jsonl", "unrouted/a.jsonl"]
    cloud.put(keys[3], b"{}")
    tasks = [{"taskId": key, "s3Key": key, "s3BucketArn": f"arn:aws:s3:::{INPUT}"} for key in keys]
    job = {"invocationSchemaVersion": "1.0", "invocationId": "i", "job": {"id": "j"}, "tasks": tasks}
    with start("told/") as function:
        function.expect(NEXT)
        told = invoke(function, job)["results"]
        assert [task["resultCode"] for task in told] == [
            "Succeeded",
            "PermanentFailure",
            "Succeeded",
            "PermanentFailure",
        ]
        told = invoke(function, {"bucket": INPUT, "keys": keys})
        assert [entry["state"] for entry in told["results"]] == ["done", "permanent", "skipped", "permanent"]
        assert told["failed"] == 2
        (entry,) = invoke(function, {"bucket": "no-such-bucket-of-batches", "keys": ["rows/a.jsonl"]})["results"]
        assert "BucketMissing" in entry["message"]
    outputs = cloud.outputs("told/")
    assert json.loads(named(outputs, "rows/empty.jsonl/", "_errors.jsonl"))["error"]["type"] == "ObjectRefused"
    assert json.loads(named(outputs, "unrouted/a.jsonl/", "_errors.jsonl"))["error"]["type"] == "ModelNotFound"


def test_a_batch_without_a_place_for_outputs_says_what_to_set(start: Start) -> None:
    with start("", GLUON_OUTPUT="") as function:
        reply = error_of(function, sqs_event({"bucket": INPUT, "key": "rows/r.jsonl"}))
        assert (reply.kind, reply.body["errorType"]) == ("error", "UnsupportedEvent")
        assert "GLUON_OUTPUT" in reply.body["errorMessage"]


@pytest.mark.parametrize(
    ("output", "said"),
    [(f"s3://{INPUT}/rows/out/", "GLUON_INPUT"), ("s3://", "GLUON_OUTPUT"), (f"s3://{INPUT}", "GLUON_INPUT")],
)
def test_outputs_that_would_be_inputs_fail_init(start: Start, output: str, said: str) -> None:
    with start("", GLUON_OUTPUT=output, GLUON_INPUT=f"s3://{INPUT}/rows/") as function:
        call = function.expect("/runtime/init/error")
        error = json.loads(call.body)
        assert error["errorType"].endswith("ConfigurationError")
        assert said in error["errorMessage"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(cloud: Cloud, start: Start) -> None:
    """Rows of 2 KB, so that whoever holds them all holds 40 MB."""
    peaks = {}
    lines = [line.replace(":", ":" + " " * 1850) for line in rows(100)]
    for count in (10, 20_000):
        message = cloud.put(f"rows/{count}.jsonl", text_of([lines[at % 100] for at in range(count)]))
        with start(f"memory-{count}/") as function:
            function.expect(NEXT)
            assert invoke(function, sqs_event(message), seconds=300) == {"batchItemFailures": []}
            peaks[count] = peak_bytes(function)
        summary = json.loads(named(cloud.outputs(f"memory-{count}/"), ".jsonl/", "_summary.json"))
        assert (summary["rows"], summary["failed"]) == (count, 0)
    # Three blocks of the input, and a mebibyte of lines or a part of the results: 8 MB as measured, however many rows there are. All rows at a
    # time would be 90 MB.
    assert peaks[20_000] - peaks[10] < 24 * MEGABYTE, peaks


def peak_bytes(function: LambdaProcess) -> int:
    with open(f"/proc/{function.process.pid}/status") as file:
        (line,) = [line for line in file if line.startswith("VmHWM")]
    return int(line.split()[1]) * KIBIBYTE
