"""The simulation of batches against ``poll`` with real sandboxes: the same small workload, the same counts, and about the same time."""

from __future__ import annotations

import json
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from benchmarks.batch_durations import Durations, Measured
from benchmarks.simulated_batches import NO_THING, Arrival, Outcome, Plan, Simulation, Trigger
from benchmarks.simulated_fleet import FleetRules, fixed
from benchmarks.simulated_queue import Queue, QueueRules
from local_emulator.local_aws import moto_server
from tests.end_to_end.endpoint import ROOT, shell_variables
from tests.examples.conftest import built

pytestmark = pytest.mark.slow  # a message has to come twice and be looked for once more: three visibility timeouts

IMAGES, BATCH, SANDBOXES = 60, 10, 2
TIMEOUT_S, MAX_RECEIVES = 12, 2
# How far a simulated time may lie from the measured one. The simulation knows each invocation's duration and nothing of what the poller, moto
# and two processes on the same CPUs do between them.
TOLERANCE = 0.35
SEEDS = range(20)
SAMPLE = ROOT / "archives" / "digits_lenet" / "sample.png"

LINE = re.compile(r"poll: (\d+) messages?: .*?(\d+) ms, RequestId (\S+)$")
REPORT = re.compile(r"REPORT RequestId: (\S+)\tDuration: ([\d.]+) ms\t(?:.*\tInit Duration: ([\d.]+) ms)?")


class Batch(NamedTuple):
    """What was seen of an invocation.

    Attributes:
        messages: How many it was given.
        at: When its end was told, in seconds of the monotonic clock.
        milliseconds: How long it took, INIT left out.
        init_ms: Its sandbox's INIT; None where that had answered before.
    """

    messages: int
    at: float
    milliseconds: float
    init_ms: float | None


class Real(NamedTuple):
    """What came of the real run.

    Attributes:
        batches: In the order of their ends.
        began: When the poller was ready.
        ended: When it had ended.
        summaries: How many objects are done.
        dead: How many dead letters there are.
        left: How many messages were left to come again, counted each time.
    """

    batches: tuple[Batch, ...]
    began: float
    ended: float
    summaries: int
    dead: int
    left: int


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as url:
        yield url


def client(service: str, endpoint: str) -> Any:
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "us-east-1"}
    return boto3.client(service, endpoint_url=endpoint, **keys)


def queues(sqs: Any) -> tuple[str, str]:
    """A queue, and its dead letters' queue."""
    dead = sqs.create_queue(QueueName="simulated-dead")["QueueUrl"]
    redrive = {"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": MAX_RECEIVES}
    attributes = {"VisibilityTimeout": str(TIMEOUT_S), "RedrivePolicy": json.dumps(redrive)}
    return sqs.create_queue(QueueName="simulated", Attributes=attributes)["QueueUrl"], dead


def arn(sqs: Any, queue: str) -> str:
    return str(sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


def upload(s3: Any, sqs: Any, queue: str) -> None:
    """The images, the first of them twice, and one message that names nothing."""
    for bucket in ("simulated-in", "simulated-out"):
        s3.create_bucket(Bucket=bucket)
    told = {"QueueArn": arn(sqs, queue), "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(
        Bucket="simulated-in", NotificationConfiguration={"QueueConfigurations": [told]}
    )
    sqs.purge_queue(QueueUrl=queue)  # S3's own test event
    for number in (*range(IMAGES), 0):
        s3.put_object(Bucket="simulated-in", Key=f"{number:03d}.png", Body=SAMPLE.read_bytes())
    sqs.send_message(QueueUrl=queue, MessageBody='{"nothing": "that names an object"}')


def command(queue: str, endpoint: str, folder: Path) -> list[str]:
    polled = ["--queue", queue, "--endpoint-url", endpoint, "--until-empty", "0"]
    polled += ["--batch-size", str(BATCH), "--concurrency", str(SANDBOXES), "--function-log", str(folder / "log")]
    polled += [
        "--parameter-overrides",
        f"Timeout={TIMEOUT_S}",
        "--models",
        f"digits={built('digits_lenet', 'digits_lenet.model')}",
    ]
    polled += ["--env", "GLUON_OUTPUT=s3://simulated-out/", "GLUON_BATCH_SIZE=10"]
    return [sys.executable, "-m", "local_emulator", "poll", *polled]


def polled(queue: str, endpoint: str, folder: Path) -> tuple[list[tuple[float, str]], str]:
    """Run the poller until the queue is empty: each line of its log with its time, and its totals."""
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    told: list[tuple[float, str]] = []
    with subprocess.Popen(
        command(queue, endpoint, folder),
        env=shell_variables(**keys),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            told.append((time.monotonic(), line.rstrip()))
        totals = process.stdout.read()
        watchdog.cancel()
    assert process.returncode == 1, told  # since a message is dead
    return told, totals


def reports(log: str) -> dict[str, tuple[float, float | None]]:
    """Duration and INIT of each invocation, by its id."""
    found = (REPORT.search(line) for line in log.splitlines())
    return {each[1]: (float(each[2]), float(each[3]) if each[3] else None) for each in found if each}


@pytest.fixture(scope="module")
def real(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Real:
    """The workload through real sandboxes."""
    folder, sqs, s3 = tmp_path_factory.mktemp("polled"), client("sqs", endpoint), client("s3", endpoint)
    queue, dead = queues(sqs)
    upload(s3, sqs, queue)
    told, totals = polled(queue, endpoint, folder)
    ended, durations = time.monotonic(), reports((folder / "log").read_text())
    began = next(at for at, line in told if "takes batches" in line)
    lines = [(at, found) for at, line in told if (found := LINE.search(line))]
    batches = tuple(Batch(int(found[1]), at, *durations[found[3]]) for at, found in lines)
    outputs = s3.list_objects_v2(Bucket="simulated-out")["Contents"]
    summaries = sum(each["Key"].endswith("_summary.json") for each in outputs)
    attributes = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    left = re.search(r"(\d+) left to come again", totals)
    assert left is not None
    return Real(batches, began, ended, summaries, int(attributes["ApproximateNumberOfMessages"]), int(left[1]))


def measured(real: Real) -> Measured:
    """The run's own durations, as the simulation draws from them."""
    first = tuple(batch.milliseconds for batch in real.batches if batch.init_ms is not None)
    warm = [batch for batch in real.batches if batch.init_ms is None]
    full = tuple(batch.milliseconds for batch in warm if batch.messages == BATCH)
    small = tuple(batch.milliseconds for batch in warm if batch.messages < BATCH)
    init = tuple(batch.init_ms for batch in real.batches if batch.init_ms is not None)
    return Measured("digits", 1769, 0, init, first, BATCH, {BATCH: full}, {1: small}, {}, {})


def simulated(drawn_from: Measured, seed: int) -> Outcome:
    """The same workload in the simulation."""
    plan = Plan(
        IMAGES, Trigger(BATCH, fixed(SANDBOXES)), FleetRules(SANDBOXES), TIMEOUT_S, started_ahead=1, bucket_s=1.0
    )
    chance = random.Random(seed)
    queue = Queue(QueueRules(TIMEOUT_S, MAX_RECEIVES))
    simulation = Simulation(plan, queue, Durations(drawn_from, chance), chance)
    return simulation.run([Arrival(0.0, (*range(IMAGES), 0, NO_THING))])


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def test_invocations_cold_starts_retries_duplicates_and_dead_letters_are_the_same(real: Real) -> None:
    outcome = simulated(measured(real), 0)
    received = sum(batch.messages for batch in real.batches)
    sent = IMAGES + 2
    assert outcome.invocations == len(real.batches)
    assert outcome.cold_starts == sum(batch.init_ms is not None for batch in real.batches) == SANDBOXES
    assert outcome.received == received
    assert outcome.retries == received - sent
    assert outcome.done == real.summaries == IMAGES
    assert outcome.duplicates == received - real.left - real.summaries
    assert outcome.dead == real.dead == 1


def test_the_time_is_about_the_same(real: Real) -> None:
    outcomes = [simulated(measured(real), seed) for seed in SEEDS]
    drained = max(batch.at for batch in real.batches if batch.messages == BATCH) - real.began
    assert median([outcome.drained_s for outcome in outcomes]) == pytest.approx(drained, rel=TOLERANCE)
    ended = real.ended - real.began
    assert median([outcome.ended_s for outcome in outcomes]) == pytest.approx(ended, rel=TOLERANCE)
