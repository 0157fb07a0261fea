"""How a partly done object goes on: a message to a queue, or an asynchronous invoke of this very function.

Contracts: Amazon SQS API Reference, SendMessage; AWS Lambda API Reference, Invoke (``InvocationType: Event``). Lambda stops a function that
calls itself after about 16 times, unless its ``RecursiveLoop`` is ``Allow``: docs/batch.md says how to set it. What keeps a chain from running
for ever is our own count (``MOST_STALLED``, ``MOST_HAND_OVERS``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from gluon_lambda.archive_store.s3_errors import answered_error, unanswered_error
from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.errors import ObjectUnavailable

# Hand-overs in a row that got no further.
MOST_STALLED = 2
# A 2 GB file in a function of 15 minutes takes tens; whatever needs more would not end by itself.
MOST_HAND_OVERS = 1000


class Channel(Protocol):
    """Takes a continuation message to whoever goes on."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Send it.

        Raises:
            ObjectUnavailable: It was not taken.
        """
        ...


class QueueChannel:
    """A message to an SQS queue."""

    def __init__(self, make_client: Callable[[], Any], *, url: str = "", arn: str = "") -> None:
        """Send to the queue at ``url``, or to the one of this ``arn``."""
        self._make_client = make_client
        self._url = url
        self._arn = arn

    def send(self, message: Mapping[str, Any]) -> None:
        """See ``Channel``. To a FIFO queue in a group of its own, so that it waits for nobody."""
        body = json.dumps(message)
        with _refusal(f"the queue {self._url or self._arn}", "sqs:SendMessage and sqs:GetQueueUrl"):
            client = self._make_client()
            url = self._url or _queue_url(client, self._arn)
            client.send_message(QueueUrl=url, MessageBody=body, **_fifo(url, body))


class InvokeChannel:
    """An asynchronous invoke of a function."""

    def __init__(self, make_client: Callable[[], Any], function: str) -> None:
        """Invoke ``function``, by name or ARN."""
        self._make_client = make_client
        self._function = function

    def send(self, message: Mapping[str, Any]) -> None:
        """See ``Channel``."""
        with _refusal(f"the function {self._function}", "lambda:InvokeFunction"):
            self._make_client().invoke(
                FunctionName=self._function, InvocationType="Event", Payload=json.dumps(message).encode()
            )


def stalled(reference: ObjectRef, rows: int) -> int:
    """How many hand-overs in a row got no further, this one included, where ``rows`` are done now."""
    return reference.stalled + 1 if rows <= reference.rows else 0


def goes_nowhere(reference: ObjectRef, stuck: int) -> bool:
    """Whether an object should be given up instead of handed on once more, of whose last hand-overs so many got no further."""
    return stuck >= MOST_STALLED or reference.hand_overs >= MOST_HAND_OVERS


@contextmanager
def _refusal(target: str, actions: str) -> Iterator[None]:
    try:
        yield
    except (answered_error(), unanswered_error()) as error:
        raise ObjectUnavailable(
            f"{target} does not take the continuation: {error}. The function's role needs {actions}"
        ) from error


def _queue_url(client: Any, arn: str) -> str:
    _, _, _, _, account, name = arn.split(":", 5)
    return str(client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"])


def _fifo(url: str, body: str) -> dict[str, str]:
    if not url.endswith(".fifo"):
        return {}
    digest = hashlib.sha256(body.encode()).hexdigest()
    return {"MessageGroupId": digest, "MessageDeduplicationId": digest}
