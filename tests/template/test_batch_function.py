"""The batch function as the template configures it, from a new object to its prediction: moto's S3 tells moto's SQS, the emulator polls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
from PIL import Image

from local_emulator.local_aws import moto_server
from tests.template.stack import ROOT, TEMPLATE, stack
from tests.template.test_events import in_s3s_words, make_queue

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
MODELS, INPUTS, OUTPUTS = "models-of-the-function", "inputs-of-the-function", "outputs-of-the-function"


def test_an_object_that_lands_in_the_input_bucket_is_answered_in_the_output_bucket(
    image_archive: Path, tmp_path: Path
) -> None:
    Image.radial_gradient("L").convert("RGB").save(tmp_path / "a b.png")
    parameters = {
        "ModelBucket": MODELS,
        "Models": f"kinds=s3://{MODELS}/models/kinds.model",
        "InputBucket": INPUTS,
        "InputPrefix": "in/",
        "OutputBucket": OUTPUTS,
        "BatchTimeout": "60",
    }
    with moto_server() as url:
        s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **{k.lower(): v for k, v in KEYS.items()})
        for bucket in (MODELS, INPUTS, OUTPUTS):
            s3.create_bucket(Bucket=bucket)
        s3.upload_file(str(image_archive), MODELS, "models/kinds.model")
        _, arn = make_queue(stack(**parameters), url, "work-of-the-function")
        # As of a bucket of the stack's own; the rule of another one has tests of its own.
        told = stack(InputPrefix="in/").properties("Inputs")["NotificationConfiguration"]
        s3.put_bucket_notification_configuration(Bucket=INPUTS, NotificationConfiguration=in_s3s_words(told, arn))
        s3.upload_file(str(tmp_path / "a b.png"), INPUTS, "in/a b.png")
        s3.upload_file(str(tmp_path / "a b.png"), INPUTS, "elsewhere.png")

        printed = poll(url, parameters, tmp_path)

        # One of them is the test event with which S3 begins.
        assert "2 received: 2 done, 0 left to come again" in printed
        keys = [each["Key"] for each in s3.list_objects_v2(Bucket=OUTPUTS)["Contents"]]
        (results,) = [key for key in keys if not key.endswith("_summary.json")]
        assert len(keys) == 2
        assert results.startswith("predictions/kinds@")
        assert "/in/a b.png/" in results
        line = json.loads(s3.get_object(Bucket=OUTPUTS, Key=results)["Body"].read())
        assert line["prediction"][0]["class"] in ("ant", "bee", "cat", "dog")


def poll(url: str, parameters: dict[str, str], folder: Path) -> str:
    """What the emulator prints when it has emptied the queue."""
    command = [
        *(sys.executable, "-m", "local_emulator", "poll", "--queue", "work-of-the-function", "--endpoint-url", url),
        *("--template", str(TEMPLATE), "--function", "BatchFunction", "--until-empty", "1"),
        *("--function-log", str(folder / "log")),
        *("--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items())),
    ]
    environ = {**os.environ, **KEYS, "AWS_REGION": "us-east-1", "GLUON_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
