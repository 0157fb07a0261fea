"""One SQS queue: what the poller asks of it, and boto3's errors in words for whoever sits at the terminal."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from local_emulator.errors import QueueRefused, QueueUnavailable, UsageError
from local_emulator.sandbox.environment import REGION
from local_emulator.triggers.sqs_event import Message, message

#: What ReceiveMessage and DeleteMessageBatch take at most.
MOST_AT_ONCE = 10

_MISSING = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "InvalidAddress")
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class QueueFacts(NamedTuple):
    """What SQS says of a queue.

    Attributes:
        url: Its address.
        arn: Its ARN, which events name.
        visibility_seconds: How long a message that was received stays hidden.
        dead_letter_arn: Where messages go that failed too often; ``""`` for nowhere.
        max_receives: How often a message comes before that; 0 for ever.
    """

    url: str
    arn: str
    visibility_seconds: int
    dead_letter_arn: str
    max_receives: int

    @property
    def name(self) -> str:
        """Its name."""
        return self.arn.rpartition(":")[2]

    @property
    def is_fifo(self) -> bool:
        """Whether it keeps an order."""
        return self.name.endswith(".fifo")


class SqsQueue:
    """A queue that is there. For several threads."""

    def __init__(self, client: Any, url: str) -> None:
        """Ask for the queue at ``url``.

        Raises:
            QueueRefused: It is not there, or it is not for us.
            QueueUnavailable: Nobody answers.
        """
        self._client = client
        self.facts = _facts(url, _attributes(client, url))
        self._deleting = threading.Lock()

    def receive(self, most: int, wait_seconds: int) -> list[Message]:
        """Take up to ``most`` messages, at most ``MOST_AT_ONCE``; waits for the first one. Raises as the constructor does."""
        with _in_words(self._client, self.facts.url):
            answer = self._client.receive_message(
                QueueUrl=self.facts.url,
                MaxNumberOfMessages=min(most, MOST_AT_ONCE),
                WaitTimeSeconds=wait_seconds,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        return [message(each, self.facts.arn) for each in answer.get("Messages", [])]

    def delete(self, messages: Sequence[Message]) -> list[str]:
        """Delete messages. Returns why some are still there, if any. Raises as the constructor does."""
        failures: list[str] = []
        # moto's server loses track of messages that are deleted by two requests at once.
        with self._deleting:
            for start in range(0, len(messages), MOST_AT_ONCE):
                failures += self._delete(messages[start : start + MOST_AT_ONCE])
        return failures

    def _delete(self, messages: Sequence[Message]) -> list[str]:
        entries = [{"Id": str(number), "ReceiptHandle": each.receipt_handle} for number, each in enumerate(messages)]
        with _in_words(self._client, self.facts.url):
            answer = self._client.delete_message_batch(QueueUrl=self.facts.url, Entries=entries)
        return [f"{each['Code']}: {each.get('Message', '')}" for each in answer.get("Failed", [])]

    def left(self) -> int:
        """How many messages it holds, about: visible, received and delayed ones. Raises as the constructor does."""
        return _held(_attributes(self._client, self.facts.url))

    def dead_letters(self) -> int | None:
        """How many messages its dead-letter queue holds, about; None where it has none, or none that can be asked."""
        if not self.facts.dead_letter_arn:
            return None
        try:
            return _held(_attributes(self._client, _url(self._client, self.facts.dead_letter_arn)))
        except (QueueRefused, QueueUnavailable):
            return None


def open_queue(queue: str, *, endpoint_url: str, shell: Mapping[str, str]) -> SqsQueue:
    """The queue with this URL, ARN or name.

    Args:
        queue: What the user calls it.
        endpoint_url: Where SQS is; ``""`` for where boto3 finds it.
        shell: Of which region and credentials are taken.

    Raises:
        QueueRefused: It is not there, or it is not for us.
        QueueUnavailable: Nobody answers.
        UsageError: ``endpoint_url`` is not one.
    """
    client = _client(endpoint_url, shell)
    return SqsQueue(client, queue if "://" in queue else _url(client, queue))


def with_credentials(shell: Mapping[str, str], *, endpoint_url: str) -> dict[str, str]:
    """``shell``, with made-up credentials where a service of this machine is asked and the user has none: boto3 signs nothing without."""
    stored = shell.get("AWS_SHARED_CREDENTIALS_FILE") or os.path.expanduser("~/.aws/credentials")
    has = any(shell.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE")) or os.path.exists(stored)
    if has or not endpoint_url:
        return dict(shell)
    return {**shell, "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


def _client(endpoint_url: str, shell: Mapping[str, str]) -> Any:
    # Lazy: a fifth of a second that only this command has to pay.
    import boto3
    from botocore.config import Config

    keys = {
        "aws_access_key_id": shell.get("AWS_ACCESS_KEY_ID"),
        "aws_secret_access_key": shell.get("AWS_SECRET_ACCESS_KEY"),
        "aws_session_token": shell.get("AWS_SESSION_TOKEN"),
    }
    region = shell.get("AWS_REGION") or shell.get("AWS_DEFAULT_REGION") or REGION
    config = Config(connect_timeout=3, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 3})
    try:
        return boto3.client("sqs", endpoint_url=endpoint_url or None, region_name=region, config=config, **keys)
    except ValueError as error:
        raise UsageError(f"--endpoint-url takes an address like http://127.0.0.1:5000, not {endpoint_url!r}") from error


def _url(client: Any, queue: str) -> str:
    owner = {"QueueOwnerAWSAccountId": queue.split(":")[4]} if queue.count(":") == 5 else {}
    with _in_words(client, queue):
        return str(client.get_queue_url(QueueName=queue.rpartition(":")[2], **owner)["QueueUrl"])


def _attributes(client: Any, url: str) -> dict[str, str]:
    with _in_words(client, url):
        return dict(client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"])


def _facts(url: str, attributes: Mapping[str, str]) -> QueueFacts:
    redrive = json.loads(attributes.get("RedrivePolicy") or "{}")
    return QueueFacts(
        url=url,
        arn=attributes["QueueArn"],
        visibility_seconds=int(attributes["VisibilityTimeout"]),
        dead_letter_arn=redrive.get("deadLetterTargetArn", ""),
        max_receives=int(redrive.get("maxReceiveCount", 0)),
    )


def _held(attributes: Mapping[str, str]) -> int:
    return sum(int(attributes.get(name, 0)) for name in _COUNTS)


@contextmanager
def _in_words(client: Any, queue: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    where = f"{client.meta.endpoint_url} (region {client.meta.region_name})"
    try:
        yield
    except ClientError as error:
        raise _refusal(error.response, queue, where) from error
    except NoCredentialsError as error:
        raise QueueRefused(f"there are no AWS credentials to ask {where} with") from error
    except BotoCoreError as error:
        raise QueueUnavailable(f"SQS at {where} does not answer: {error}") from error


def _refusal(response: Mapping[str, Any], queue: str, where: str) -> UsageError:
    code, text = response["Error"].get("Code", ""), response["Error"].get("Message", "")
    if code in _MISSING:
        return QueueRefused(f"there is no queue {queue} at {where}")
    if response["ResponseMetadata"]["HTTPStatusCode"] >= 500 or "Throttl" in code:
        return QueueUnavailable(f"SQS at {where} fails: {code}: {text}")
    return QueueRefused(f"SQS at {where} refuses the queue {queue}: {code}: {text}")
