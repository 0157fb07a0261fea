"""New objects reach the function, from a bucket that the stack makes and from one that was there before: moto's S3, EventBridge and SQS, set up
with what the template says, and the function's own unwrapper at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from gluon_lambda.batch_records import BatchCall, ObjectRef
from gluon_lambda.event_sources import sqs as source
from local_emulator.local_aws import moto_server
from tests.conftest import FakeContext
from tests.template.stack import Stack, stack, statements

KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
KEY = "in/a b+ü.png"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with moto_server() as address:
        yield address


def client(service: str, url: str) -> Any:
    return boto3.client(service, endpoint_url=url, region_name="us-east-1", **KEYS)


def make_queue(made: Stack, url: str, name: str) -> tuple[str, str]:
    """The queue as the template has it: its URL and its ARN."""
    sqs = client("sqs", url)
    visible = str(made.properties("Work")["VisibilityTimeout"])
    queue = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": visible})["QueueUrl"]
    return queue, sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def unwrapped(queue: str, arn: str, url: str) -> BatchCall:
    """What the function makes of the messages that lie in the queue."""
    told = client("sqs", url).receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    common = {"eventSource": "aws:sqs", "eventSourceARN": arn, "messageAttributes": {}}
    records = [{**common, "messageId": each["MessageId"], "body": each["Body"]} for each in told]
    event = {"Records": records}
    assert not records or source.matches(event)
    return source.to_call(event, FakeContext())


def put(url: str, bucket: str, *keys: str) -> None:
    for key in keys:
        client("s3", url).put_object(Bucket=bucket, Key=key, Body=b"abc")


def names(call: BatchCall) -> list[ObjectRef]:
    assert call.refused == ()
    return [ObjectRef(each.bucket, each.key, size=each.size) for each in call.objects]


@pytest.mark.parametrize("prefix", ["", "in/"])
def test_a_bucket_of_the_stack_tells_the_queue(url: str, prefix: str) -> None:
    made = stack(InputPrefix=prefix)
    queue, arn = make_queue(made, url, f"work-of-ours{len(prefix)}")
    properties = made.properties("Inputs")
    bucket = f"{properties['BucketName']}-{len(prefix)}"
    s3 = client("s3", url)
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration=in_s3s_words(properties["NotificationConfiguration"], arn)
    )
    # S3's test event, of the very beginning, is nothing to do.
    assert names(unwrapped(queue, arn, url)) == []

    put(url, bucket, KEY, "elsewhere/b.png")

    expected = [ObjectRef(bucket, KEY, size=3)]
    assert names(unwrapped(queue, arn, url)) == expected + (
        [] if prefix else [ObjectRef(bucket, "elsewhere/b.png", size=3)]
    )


def in_s3s_words(configuration: dict[str, Any], arn: str) -> dict[str, Any]:
    """CloudFormation's names for a notification, in those of S3's own API."""
    (queue,) = configuration["QueueConfigurations"]
    told: dict[str, Any] = {"QueueArn": arn, "Events": [queue["Event"]]}
    if "Filter" in queue:
        told["Filter"] = {"Key": {"FilterRules": queue["Filter"]["S3Key"]["Rules"]}}
    return {"QueueConfigurations": [told]}


@pytest.mark.parametrize("prefix", ["", "in/"])
def test_a_bucket_that_was_there_before_tells_the_rule_and_the_rule_the_queue(
    url: str, prefix: str, tmp_path: Path
) -> None:
    bucket = f"grown-{len(prefix)}"
    made = stack(InputBucket=bucket, InputPrefix=prefix)
    queue, arn = make_queue(made, url, f"work-of-{bucket}")
    make_rule(made, url, bucket, arn)
    client("s3", url).create_bucket(Bucket=bucket)
    put(url, bucket, "too-early.png")

    type_in(made.outputs["SwitchEventsOn"], tmp_path, url)

    put(url, bucket, KEY, "elsewhere/b.png")
    expected = [ObjectRef(bucket, KEY, size=3)]
    assert names(unwrapped(queue, arn, url)) == expected + (
        [] if prefix else [ObjectRef(bucket, "elsewhere/b.png", size=3)]
    )


def test_whom_a_bucket_tells_already_it_goes_on_telling(url: str, tmp_path: Path) -> None:
    bucket = "already-listened-to"
    made = stack(InputBucket=bucket)
    queue, arn = make_queue(made, url, "work-beside-others")
    others, others_arn = make_queue(made, url, "work-of-others")
    make_rule(made, url, bucket, arn)
    s3 = client("s3", url)
    s3.create_bucket(Bucket=bucket)
    theirs = {"Id": "theirs", "QueueArn": others_arn, "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [theirs]})

    type_in(made.outputs["SwitchEventsOn"], tmp_path, url)

    put(url, bucket, KEY)
    expected = [ObjectRef(bucket, KEY, size=3)]
    assert names(unwrapped(queue, arn, url)) == names(unwrapped(others, others_arn, url)) == expected


def test_where_it_cannot_be_read_whom_a_bucket_tells_nothing_is_written(url: str, tmp_path: Path) -> None:
    # What is put replaces all that the bucket had: nothing read, for whatever reason, is not "nobody is told".
    command = stack(InputBucket="not-to-be-read").outputs["SwitchEventsOn"]
    with pytest.raises(subprocess.CalledProcessError):
        type_in(command, tmp_path, url, refusing="get-bucket-notification-configuration")
    assert "put-bucket" not in (tmp_path / "asked").read_text()


def make_rule(made: Stack, url: str, name: str, arn: str) -> None:
    rule = made.properties("NewObjects")
    events = client("events", url)
    events.put_rule(Name=name, EventPattern=json.dumps(rule["EventPattern"]))
    (target,) = rule["Targets"]
    assert (target["Arn"], target["DeadLetterConfig"]) == ("<Work.Arn>", {"Arn": "<DeadLetters.Arn>"})
    events.put_targets(Rule=name, Targets=[{"Id": target["Id"], "Arn": arn}])


# AWS's command line is not among the tools here: two of its commands, with boto3.
AWS = """#!{python}
import argparse, json, os, sys
import boto3

parser = argparse.ArgumentParser()
parser.add_argument("service", choices=["s3api"])
parser.add_argument("command", choices=["get-bucket-notification-configuration", "put-bucket-notification-configuration"])
parser.add_argument("--bucket", required=True)
parser.add_argument("--output")
parser.add_argument("--notification-configuration")
given = parser.parse_args()
with open("asked", "a") as asked:
    print(given.command, file=asked)
if given.command == {refusing!r}:
    sys.exit(254)
client = boto3.client("s3", endpoint_url={url!r}, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
if given.command.startswith("get"):
    answer = client.get_bucket_notification_configuration(Bucket=given.bucket)
    answer.pop("ResponseMetadata")
    print(json.dumps(answer) if answer else "")
else:
    with open(given.notification_configuration.removeprefix("file://")) as file:
        client.put_bucket_notification_configuration(Bucket=given.bucket, NotificationConfiguration=json.load(file))
"""


def type_in(command: str, folder: Path, url: str, *, refusing: str = "") -> None:
    """Type a printed command into a shell that has an ``aws``, which may fail at a command, and a ``python3``."""
    aws = folder / "aws"
    aws.write_text(AWS.format(python=sys.executable, url=url, refusing=refusing))
    aws.chmod(0o755)
    (folder / "python3").symlink_to(sys.executable)
    path = f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"
    subprocess.run(command, shell=True, cwd=folder, env={**os.environ, "PATH": path}, check=True)


class TestWhoMaySend:
    def test_only_the_buckets_notification_may(self) -> None:
        made = stack()
        (tells, _) = statements(made.properties("WorkPolicy")["PolicyDocument"])
        assert tells["Principal"] == {"Service": "s3.amazonaws.com"}
        (arn,) = tells["Condition"]["ArnEquals"].values()
        # By its name, since the bucket itself waits for the policy.
        assert arn == f"arn:aws:s3:::{made.properties('Inputs')['BucketName']}"
        assert made.resources["Inputs"]["DependsOn"] == "WorkPolicy"
        assert "<Inputs" not in json.dumps(made.properties("WorkPolicy"))

    def test_only_the_rule_may_to_the_queue_and_to_its_dead_letters(self) -> None:
        made = stack(InputBucket="my-inputs")
        for policy in ("WorkPolicy", "DeadLettersPolicy"):
            (tells, _) = statements(made.properties(policy)["PolicyDocument"])
            assert tells["Principal"] == {"Service": "events.amazonaws.com"}
            assert tells["Condition"] == {"ArnEquals": {"aws:SourceArn": "<NewObjects.Arn>"}}
        assert "NewObjects" not in stack().resources
        assert "SwitchEventsOn" not in stack().outputs
