"""``poll`` against moto's S3 and SQS, with real sandboxes: what is done is deleted, what is not comes again, nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from local_emulator.command_line import main
from local_emulator.local_aws import moto_server
from local_emulator.triggers.event_source import Quiet
from local_emulator.triggers.poller import Poller, Polling
from local_emulator.triggers.queue import SqsQueue, open_queue
from local_emulator.triggers.reports import BatchReport
from tests.emulator.sample_function import BROKEN_HANDLER, MakeFolder, MakeFunction, is_running

ROOT = Path(__file__).parents[2]
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "eu-west-1"}

# Does what each message asks for, and notes in a file what it was given.
HANDLER = textwrap.dedent(
    '''
    """A consumer of a queue: the ways in which messages can fail."""
    import json
    import os
    import time

    def note(what):
        with open("seen", "a") as file:
            file.write(json.dumps(what) + "\\n")

    def handler(event, context):
        if "Records" not in event:
            return invoked(event)
        failed = [record["messageId"] for record in event["Records"] if not done(record, context)]
        return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}

    def done(record, context):
        body, count = json.loads(record["body"]), int(record["attributes"]["ApproximateReceiveCount"])
        note({"body": body, "count": count, "pid": os.getpid(), "request": context.aws_request_id})
        how = body.get("do")
        if how == "meet":
            meet(body["both"])
        if how == "invoke":
            client("lambda").invoke(FunctionName=context.invoked_function_arn, InvocationType="Event", Payload=record["body"])
        if count > 1 and how != "never":
            return True
        if how == "raise":
            raise ValueError("this is wrong")
        if how == "sleep":
            time.sleep(60)
        if how == "exit":
            os._exit(3)
        return how not in ("fail", "never")

    def invoked(event):
        note({"event": event})
        if event.get("then"):
            client("sqs").send_message(QueueUrl=event["queue"], MessageBody=json.dumps(event["then"]))

    def meet(count):
        open(f"here-{os.getpid()}", "w").close()
        while sum(name.startswith("here-") for name in os.listdir()) < count:
            time.sleep(0.01)

    def client(service):
        import boto3
        return boto3.client(service)
    '''
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of moto's server."""
    with moto_server() as url:
        yield url


@pytest.fixture(scope="module")
def connect(endpoint: str) -> Callable[[str], Any]:
    """A boto3 client of moto's."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": KEYS["AWS_REGION"]}
    return lambda service: boto3.client(service, endpoint_url=endpoint, **keys)


class Jobs:
    """A queue of a test's own."""

    def __init__(self, client: Any, *, suffix: str = "", **attributes: str) -> None:
        self.client = client
        self.name = f"jobs-{uuid.uuid4().hex[:8]}{suffix}"
        self.url = client.create_queue(QueueName=self.name, Attributes=attributes)["QueueUrl"]
        self.arn = self.attribute("QueueArn")

    def attribute(self, name: str) -> str:
        return str(self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])["Attributes"][name])

    def send(self, *bodies: dict[str, Any], **options: Any) -> None:
        for body in bodies:
            self.client.send_message(QueueUrl=self.url, MessageBody=json.dumps(body), **options)


def seen(folder: Path) -> list[dict[str, Any]]:
    """What the function noted."""
    noted = folder / "code" / "seen"
    return [json.loads(text) for text in noted.read_text().splitlines()] if noted.exists() else []


def drive(jobs: Jobs, endpoint: str, invoke: Any, **settings: int) -> list[BatchReport]:
    """Poll in this process until the queue is empty."""
    queue = open_queue(jobs.url, endpoint_url=endpoint, shell=KEYS)
    return drive_queue(queue, invoke, **settings)


def drive_queue(queue: SqsQueue, invoke: Any, **settings: int) -> list[BatchReport]:
    reports: list[BatchReport] = []
    polling = Polling(wait_seconds=0)._replace(**settings)
    poller = Poller(queue, invoke, polling, report=reports.append, log=reports.append)  # type: ignore[arg-type]
    poller.run(is_over=Quiet(lambda: not queue.left(), 0.0))
    return reports


# What comes again.


def test_what_fails_comes_again_and_what_is_done_does_not(
    make_function: MakeFunction, tmp_path: Path, connect: Callable[[str], Any], endpoint: str
) -> None:
    function, _ = make_function(HANDLER)
    jobs = Jobs(connect("sqs"), VisibilityTimeout="1")
    jobs.send({"n": 1}, {"n": 2, "do": "fail"}, {"n": 3})
    first, second = drive(jobs, endpoint, function.invoke)
    assert [(each["body"]["n"], each["count"]) for each in seen(tmp_path)] == [(1, 1), (2, 1), (3, 1), (2, 2)]
    assert (first.messages, first.left, first.reason) == (3, 1, "")
    assert (second.messages, second.left) == (1, 0)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", r"ValueError: this is wrong"),
        ("sleep", r"Sandbox.Timedout: .* Task timed out after 1.00 seconds"),
        ("exit", r"Runtime.ExitError: .* exit status 3"),
    ],
)
def test_a_batch_whose_sandbox_fails_or_is_killed_comes_again_as_a_whole(
    make_function: MakeFunction, tmp_path: Path, connect: Callable[[str], Any], endpoint: str, how: str, reason: str
) -> None:
    function, _ = make_function(HANDLER, timeout_seconds=1)
    jobs = Jobs(connect("sqs"), VisibilityTimeout="1")
    jobs.send({"n": 1}, {"n": 2, "do": how}, {"n": 3})
    first, *rest = drive(jobs, endpoint, function.invoke)
    assert (first.messages, first.left) == (3, 3)
    assert re.match(reason, first.reason)
    assert sum(report.messages for report in rest) == 3
    assert {(each["body"]["n"], each["count"]) for each in seen(tmp_path)} == {(1, 1), (2, 1), (1, 2), (2, 2), (3, 2)}


def test_what_sqs_does_not_delete_is_told(connect: Callable[[str], Any], endpoint: str) -> None:
    jobs = Jobs(connect("sqs"), VisibilityTimeout="0")
    jobs.send({"n": 1})
    queue = open_queue(jobs.name, endpoint_url=endpoint, shell=KEYS)
    (message,) = queue.receive(10, 0)
    assert queue.delete([message, message._replace(receipt_handle="unknown")])[0].startswith("ReceiptHandleIsInvalid")
    assert queue.left() == 0


# Order and concurrency.


def test_the_messages_of_a_group_come_one_after_another(
    make_function: MakeFunction, tmp_path: Path, connect: Callable[[str], Any], endpoint: str
) -> None:
    function, _ = make_function(HANDLER)
    jobs = Jobs(connect("sqs"), suffix=".fifo", FifoQueue="true", ContentBasedDeduplication="true")
    for number in range(8):
        jobs.send({"n": number, "group": number % 2}, MessageGroupId=str(number % 2))
    drive(jobs, endpoint, function.invoke, batch_size=3, concurrency=2)
    order = [(each["body"]["group"], each["body"]["n"]) for each in seen(tmp_path)]
    assert [n for group, n in order if group == 0] == [0, 2, 4, 6]
    assert [n for group, n in order if group == 1] == [1, 3, 5, 7]


# The command.


@pytest.fixture
def folder(make_folder: MakeFolder) -> Path:
    """The consumer's folder. On a busy machine, what it imports and waits for may take longer than the other functions may."""
    return with_timeout(make_folder(HANDLER), 20)


def with_timeout(folder: Path, seconds: int) -> Path:
    template = folder / "template.yaml"
    template.write_text(template.read_text().replace("Timeout: 2", f"Timeout: {seconds}"))
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "local_emulator", "poll", *arguments]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **KEYS, **variables}


def poll(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_objects_that_land_in_a_bucket_reach_the_function(
    folder: Path, connect: Callable[[str], Any], endpoint: str
) -> None:
    jobs, s3 = Jobs(connect("sqs")), connect("s3")
    s3.create_bucket(Bucket=jobs.name, CreateBucketConfiguration={"LocationConstraint": KEYS["AWS_REGION"]})
    notification = {"QueueArn": jobs.arn, "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(
        Bucket=jobs.name, NotificationConfiguration={"QueueConfigurations": [notification]}
    )
    for number in range(12):
        s3.put_object(Bucket=jobs.name, Key=f"in/{number} ü.json", Body=b"{}")
    done = poll(folder, "--queue", jobs.url, "--endpoint-url", endpoint, "--until-empty", "0")
    assert done.returncode == 0, done.stderr
    records = [each["body"]["Records"][0]["s3"] for each in seen(folder) if "Records" in each["body"]]
    assert {(each["bucket"]["name"], each["object"]["key"]) for each in records} == {
        (jobs.name, f"in%2F{number}+%C3%BC.json") for number in range(12)
    }
    # The thirteenth is S3's own test event, sent when the notification is configured.
    assert re.search(r"^poll: Echo takes batches of 10 from \S+, 1 at a time", done.stderr, re.MULTILINE)
    assert re.search(r"^poll: 10 messages: 10 done, \d+ ms, RequestId [0-9a-f-]{36}$", done.stderr, re.MULTILINE)
    assert "has no dead-letter queue" in done.stderr
    assert re.search(r"^messages +1[23] received: 1[23] done, 0 left to come again$", done.stdout, re.MULTILINE)


def test_a_function_invokes_itself_asynchronously_and_sends_messages_to_the_queue(
    folder: Path, connect: Callable[[str], Any], endpoint: str
) -> None:
    jobs = Jobs(connect("sqs"))
    jobs.send({"do": "invoke", "queue": jobs.url, "then": {"n": "the last"}})
    log = folder / "log"
    options = ("--queue", jobs.url, "--endpoint-url", endpoint, "--until-empty", "0", "--function-log", str(log))
    done = poll(folder, *options)
    assert done.returncode == 0, done.stderr
    _, event, last = seen(folder)
    assert (event["event"]["do"], last["body"]) == ("invoke", {"n": "the last"})
    assert "asynchronous invoke: done" in done.stderr
    assert "asynchronous  1 invoke in 1 attempt, 0 given up" in done.stdout
    assert "START RequestId" in log.read_text()
    assert "START RequestId" not in done.stderr


def test_sandboxes_run_at_the_same_time(folder: Path, connect: Callable[[str], Any], endpoint: str) -> None:
    jobs = Jobs(connect("sqs"))
    jobs.send({"do": "meet", "both": 2}, {"do": "meet", "both": 2})
    batches = ("--batch-size", "1", "--concurrency", "2")
    done = poll(folder, "--queue", jobs.name, "--endpoint-url", endpoint, "--until-empty", "0", *batches)
    assert done.returncode == 0, done.stderr
    assert len({each["pid"] for each in seen(folder)}) == 2


def test_what_always_fails_ends_in_the_dead_letter_queue_and_that_is_exit_code_1(
    make_folder: MakeFolder, connect: Callable[[str], Any], endpoint: str
) -> None:
    folder, lost = with_timeout(make_folder(HANDLER), 1), Jobs(connect("sqs"))
    redrive = json.dumps({"deadLetterTargetArn": lost.arn, "maxReceiveCount": 2})
    jobs = Jobs(connect("sqs"), VisibilityTimeout="1", RedrivePolicy=redrive)
    jobs.send({"n": 1, "do": "never"}, {"n": 2})
    done = poll(folder, "--queue", jobs.arn, "--endpoint-url", endpoint, "--until-empty", "0")
    assert [(each["body"]["n"], each["count"]) for each in seen(folder)] == [(1, 1), (2, 1), (1, 2)]
    assert int(lost.attribute("ApproximateNumberOfMessages")) == 1
    assert done.returncode == 1
    assert f"dead letters  1 in {lost.name}" in done.stdout
    assert "1 message: 1 comes again" in done.stderr


@contextlib.contextmanager
def polling(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command(*arguments), cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--until-empty",), 130)])
def test_an_interrupt_ends_it_with_the_summary_and_the_message_comes_again(
    folder: Path,
    connect: Callable[[str], Any],
    endpoint: str,
    options: tuple[str, ...],
    code: int,
) -> None:
    jobs = Jobs(connect("sqs"))
    jobs.send({"n": 1}, {"do": "meet", "both": 2})
    with polling(folder, "--queue", jobs.url, "--endpoint-url", endpoint, "--batch-size", "1", *options) as process:
        until = time.monotonic() + 20
        while len(seen(folder)) < 2:
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == code
        assert process.stdout is not None
        assert "messages      1 received: 1 done, 0 left to come again" in process.stdout.read()
    log = (folder / "log").read_text()
    assert "Ending. Cut off: 1 batch." in log
    assert "Traceback" not in log
    assert not is_running(seen(folder)[0]["pid"])
    assert int(jobs.attribute("ApproximateNumberOfMessagesNotVisible")) == 1


def test_a_function_that_does_not_start_leaves_the_queue_alone(
    make_folder: MakeFolder, connect: Callable[[str], Any], endpoint: str
) -> None:
    jobs = Jobs(connect("sqs"))
    jobs.send({"n": 1})
    done = poll(make_folder(BROKEN_HANDLER), "--queue", jobs.url, "--endpoint-url", endpoint)
    assert done.returncode == 1
    assert "INIT failed, so nothing is taken from the queue. RuntimeError: the model is not there" in done.stderr
    assert int(jobs.attribute("ApproximateNumberOfMessages")) == 1


def test_what_is_wrong_with_the_queue_is_one_line_and_code_2(
    make_folder: MakeFolder,
    connect: Callable[[str], Any],
    endpoint: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(make_folder(HANDLER))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    jobs = Jobs(connect("sqs"), VisibilityTimeout="1")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    for queue, address, complaint in [
        ("nothing", endpoint, f"there is no queue nothing at {endpoint} (region eu-west-1)"),
        (f"{endpoint}/1/nothing", endpoint, f"there is no queue {endpoint}/1/nothing at"),
        (jobs.url, nowhere, f"SQS at {nowhere} (region eu-west-1) does not answer: Could not connect"),
        (jobs.url, "here", "--endpoint-url takes an address like http://127.0.0.1:5000, not 'here'"),
        (jobs.url, endpoint, "is 1 seconds, less than the function's timeout of 2"),
    ]:
        assert main(["poll", "--queue", queue, "--endpoint-url", address]) == 2
        told = capfd.readouterr().err
        assert told.startswith("local_emulator: ")
        assert complaint in told
        assert told.count("\n") == 1


@pytest.mark.parametrize(
    "option", [("--batch-size", "0"), ("--batch-size", "x"), ("--window", "301"), ("--concurrency", "nan")]
)
def test_a_number_out_of_its_range_is_refused(option: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["poll", "--queue", "jobs", *option])
    assert "a number from " in capfd.readouterr().err
