"""``python -m local_emulator.demo_batch`` (``make demo-batch``): files land in a bucket on this machine, predictions land in another one.

moto's server is S3 and SQS. The bucket sends S3's notifications to a queue, ``poll`` takes them from there to the function, and the function
does the rest, as on AWS. Nothing is left behind but the function's log.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from local_emulator.local_aws import moto_server
from local_emulator.sandbox.environment import REGION

_INPUT, _OUTPUT, _QUEUE, _LOST = "photos-and-texts", "predictions", "new-objects", "lost-objects"
# Six times the function's timeout, as AWS advises.
_VISIBILITY_SECONDS = "180"
_RECEIVES = 5
_SHOWN_CHARACTERS = 120
_SHOWN_RESULTS = 4


class Upload(NamedTuple):
    """A file on its way to the bucket: key and content."""

    key: str
    content: bytes


def main() -> int:
    """Upload, poll until nothing is left, show what was written. Returns the poller's exit code."""
    options = _options()
    try:
        return _demonstrate(options)
    except KeyboardInterrupt:
        return 130


def _demonstrate(options: argparse.Namespace) -> int:
    uploads = [*_pictures(options.images[1], options.most), *_texts(options.texts[1])]
    os.makedirs(os.path.dirname(os.path.abspath(options.log)), exist_ok=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line on the terminal for each request
    with moto_server() as endpoint:
        s3 = _client("s3", endpoint)
        queue_url = _prepare(s3, _client("sqs", endpoint))
        for upload in uploads:
            s3.put_object(Bucket=_INPUT, Key=upload.key, Body=upload.content)
        print(f"{len(uploads)} files are in s3://{_INPUT}/, which tells the queue {_QUEUE} of each.\n", flush=True)
        code = _poll(queue_url, endpoint, options)
        print("\n".join(_shown(s3)))
    return code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local_emulator.demo_batch", description=__doc__)
    parser.add_argument(
        "--images", type=_pair, required=True, metavar="MODEL=FOLDER", help="PNGs, and the model for them"
    )
    parser.add_argument("--most", type=int, default=24, metavar="N", help="how many of them (%(default)s)")
    parser.add_argument(
        "--texts", type=_pair, required=True, metavar="MODEL=FILE", help="JSON Lines, and the model for them"
    )
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME=LOCATION", help="as for poll")
    parser.add_argument(
        "--log", default="build/demo-batch.log", metavar="FILE", help="the function's log (%(default)s)"
    )
    return parser.parse_args()


def _pair(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and os.path.exists(path)):
        raise argparse.ArgumentTypeError(f"MODEL=PATH, of something that is there, and not {text!r}")
    return name, Path(path)


def _pictures(folder: Path, most: int) -> list[Upload]:
    whole = [Upload(f"pictures/{path.name}", path.read_bytes()) for path in sorted(folder.glob("*.png"))[:most]]
    if not whole:
        sys.exit(f"{folder} holds no PNGs")
    return [*whole, Upload("pictures/broken on purpose.png", whole[0].content[: len(whole[0].content) // 2])]


def _texts(file: Path) -> list[Upload]:
    return [Upload(f"texts/{file.name}", file.read_bytes())]


def _client(service: str, endpoint: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": REGION}
    return boto3.client(service, endpoint_url=endpoint, **keys)


def _prepare(s3: Any, sqs: Any) -> str:
    """Two buckets, a queue that hears of what lands in the first one, and a place for messages that always fail. Returns the queue's URL."""
    lost = _arn(sqs, sqs.create_queue(QueueName=_LOST)["QueueUrl"])
    redrive = json.dumps({"deadLetterTargetArn": lost, "maxReceiveCount": _RECEIVES})
    attributes = {"VisibilityTimeout": _VISIBILITY_SECONDS, "RedrivePolicy": redrive}
    url = str(sqs.create_queue(QueueName=_QUEUE, Attributes=attributes)["QueueUrl"])
    for bucket in (_INPUT, _OUTPUT):
        s3.create_bucket(Bucket=bucket)
    told = {"QueueConfigurations": [{"QueueArn": _arn(sqs, url), "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket=_INPUT, NotificationConfiguration=told)
    return url


def _arn(sqs: Any, url: str) -> str:
    return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


def _poll(queue_url: str, endpoint: str, options: argparse.Namespace) -> int:
    command = ["-m", "local_emulator", "poll", "--queue", queue_url, "--endpoint-url", endpoint, "--until-empty", "0.5"]
    command += ["--function-log", options.log, "--models", *options.models, "--env"]
    command += [f"GLUON_INPUT=s3://{_INPUT}", f"GLUON_OUTPUT=s3://{_OUTPUT}"]
    command += [f"GLUON_ROUTES=pictures/={options.images[0]} texts/={options.texts[0]}"]
    print(f"$ python {shlex.join(command)}", flush=True)
    # Nothing of the user's AWS account: what is sent to the wrong address must not be signed with its keys.
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    return subprocess.run([sys.executable, *command], env={**own, **keys}, check=False).returncode


def _shown(s3: Any) -> Iterator[str]:
    keys = [
        each["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=_OUTPUT)
        for each in page.get("Contents", [])
    ]
    summaries = [key for key in keys if key.endswith("_summary.json")]
    errors = [key for key in keys if key.endswith("_errors.jsonl")]
    results = [key for key in keys if key.endswith(".jsonl") and key not in errors]
    few = [key for key in results if "/pictures/" in key][:_SHOWN_RESULTS]
    yield from _section("Results", s3, [*few, *(key for key in results if "/texts/" in key)], of=len(results))
    yield from _section("Errors", s3, errors, of=len(errors))
    yield from _section("Summaries", s3, [key for key in summaries if "/texts/" in key], of=len(summaries))


def _section(title: str, s3: Any, keys: Iterable[str], *, of: int) -> Iterator[str]:
    shown = list(keys)
    yield f"\n{title}: {of} objects" + (f", {len(shown)} of them here" if len(shown) < of else "")
    for key in shown:
        yield f"  s3://{_OUTPUT}/{key}"
        for text in s3.get_object(Bucket=_OUTPUT, Key=key)["Body"].read().decode().splitlines():
            yield f"    {text if len(text) <= _SHOWN_CHARACTERS else f'{text[:_SHOWN_CHARACTERS]}…'}"


if __name__ == "__main__":
    sys.exit(main())
