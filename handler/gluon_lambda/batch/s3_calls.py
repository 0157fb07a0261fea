"""Calls to S3: which client makes them, and for how long they are waited for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from gluon_lambda.archive_store.s3 import make_full_client
from gluon_lambda.archive_store.s3_lean import LeanClient
from gluon_lambda.archive_store.s3_settings import read_settings
from gluon_lambda.batch.s3_requests import OPERATIONS
from gluon_lambda.pending import Pending, begin

# One for each thread that reads ahead, decodes, or sends a part.
CONNECTIONS = 80


class Connection:
    """S3 for as long as the sandbox lives: the lean client where the environment says all that it has to know, boto3's for all else.

    A request costs the lean one a fifth of what it costs boto3's (docs/decisions/0004-s3-client.md).
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, *, connections: int = CONNECTIONS) -> None:
        """Nobody is asked yet.

        Args:
            environ: AWS's own variables.
            connections: How many boto3's client keeps.
        """
        self._environ = environ
        self._connections = connections
        self._making = threading.Lock()
        self._full: Any = None
        settings = read_settings(environ)
        self._lean = LeanClient(settings, self.full) if settings else None

    def ask(self, operation: str, **request: Any) -> Any:
        """Make a call, by the name of boto3's method and with its parameters; raises botocore's errors."""
        if self._lean and request.get(
            "Key", "a key"
        ):  # botocore refuses an empty one; S3 would take the bucket to be meant
            known = OPERATIONS[operation]
            answer = self._lean.send(request["Bucket"], known.call(request))
            if answer is not None:
                return known.read(answer)
        if "Body" in request:
            request["Body"] = bytes(request["Body"])  # boto3 takes no views
        return getattr(self.full(), operation)(**request)

    def full(self) -> Any:
        """boto3's client, made when it is first needed (140 to 240 ms); may be used by any number of threads at a time."""
        with self._making:
            if self._full is None:
                self._full = make_full_client(self._environ, connections=self._connections)
            return self._full


class Calls:
    """Calls to S3, none of which is waited for when the time is up."""

    def __init__(self, connection: Connection, remaining_ms: Callable[[], int]) -> None:
        self._connection = connection
        self._remaining_ms = remaining_ms

    @property
    def seconds_left(self) -> float:
        """How long may still be waited."""
        return max(0.0, self._remaining_ms() / 1000)

    def begin(self, operation: str, **request: Any) -> Pending[Any]:
        """Begin a call of ``Connection.ask``'s."""
        return begin(operation, lambda: self._connection.ask(operation, **request))

    def ask(self, operation: str, **request: Any) -> Any:
        """Make a call of ``Connection.ask``'s; raises botocore's errors, and TimeoutError."""
        return self.run(lambda connection: connection.ask(operation, **request))

    def run(self, call: Callable[[Connection], Any]) -> Any:
        """Make a call that is given the connection.

        In a thread of its own, because a socket's timeout counts from one byte to the next: an answer that drips never meets it. One that is
        given up goes on dripping until S3 ends it.
        """
        if not self.seconds_left:
            raise TimeoutError
        pending = begin("s3", lambda: call(self._connection))
        if not pending.wait(self.seconds_left):
            raise TimeoutError
        return pending.result()

    def pause(self, attempt: int) -> None:
        """Wait before the next attempt, twice as long each time."""
        time.sleep(min(0.05 * 2**attempt, self.seconds_left))
