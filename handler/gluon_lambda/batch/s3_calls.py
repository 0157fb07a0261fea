"""Calls to S3: which client makes them, and for how long they are waited for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from gluon_lambda.archive_store.s3 import make_full_client
from gluon_lambda.archive_store.s3_errors import unanswered_error
from gluon_lambda.archive_store.s3_lean import LeanClient
from gluon_lambda.archive_store.s3_settings import read_settings
from gluon_lambda.batch.s3_requests import OPERATIONS
from gluon_lambda.pending import begin

T = TypeVar("T")
# Makes a call, by the name of boto3's method and with its parameters.
Ask = Callable[..., Any]
# That boto3's client keeps: one for each thread that reads ahead, decodes, or sends a part.
CONNECTIONS = 80


class Left(Exception):
    """Raised where a call is boto3's to make: it has not been made."""


class Connection:
    """S3 for as long as the sandbox lives: the lean client where the environment says all that it has to know, boto3's for all else.

    A request costs the lean one a fifth of what it costs boto3's (docs/decisions/0004-s3-client.md).
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Nobody is asked yet; ``environ`` has AWS's own variables."""
        self._environ = environ
        self._making = threading.Lock()
        self._full: Any = None
        settings = read_settings(environ)
        self._lean = LeanClient(settings, self.full) if settings else None

    def ask_lean(self, seconds_left: Callable[[], float] | None, operation: str, **request: Any) -> Any:
        """Make a call through the lean client, by the name of boto3's method and with its parameters.

        Raises:
            Left: It is boto3's to make.
            BotoCoreError, ClientError: As boto3.
            TimeoutError: The time is up.
        """
        # botocore refuses an empty key; S3 would take the bucket to be meant.
        if self._lean is None or not request.get("Key", "a key"):
            raise Left
        known = OPERATIONS[operation]
        answer = self._lean.send(request["Bucket"], known.call(request), seconds_left)
        if answer is None:
            raise Left
        return known.read(answer)

    def ask_full(self, operation: str, **request: Any) -> Any:
        """Make a call through boto3's client."""
        if "Body" in request:
            request["Body"] = bytes(request["Body"])  # boto3 takes no views
        return getattr(self.full(), operation)(**request)

    def full(self) -> Any:
        """boto3's client, made when it is first needed (140 to 240 ms); may be used by any number of threads at a time."""
        with self._making:
            if self._full is None:
                self._full = make_full_client(self._environ, connections=CONNECTIONS)
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

    def tell(self, operation: str, **request: Any) -> None:
        """Make a call even where there is no time to hear the answer; whatever that is, nobody wants it."""
        begin(operation, self._untimed, operation, request).wait(self.seconds_left)

    def ask(self, operation: str, **request: Any) -> Any:
        """Make a call; raises botocore's errors, and TimeoutError."""
        return self.run(lambda ask: ask(operation, **request))

    def run(self, call: Callable[[Ask], T]) -> T:
        """Make calls by what ``call`` is given.

        boto3's are made in a thread of its own, because its sockets' timeouts count from one byte to the next: an answer that drips never meets
        them. One that is given up goes on dripping until S3 ends it. The lean client keeps to the time itself, and needs no thread.
        """
        if not self.seconds_left:
            raise TimeoutError
        try:
            return call(partial(self._connection.ask_lean, lambda: self.seconds_left))
        except Left:
            return self._by_boto3(call)
        except unanswered_error():
            if self.seconds_left:
                raise
            raise TimeoutError from None

    def _by_boto3(self, call: Callable[[Ask], T]) -> T:
        pending = begin("s3", call, self._connection.ask_full)
        if not pending.wait(self.seconds_left):
            raise TimeoutError
        return pending.result()

    def _untimed(self, operation: str, request: Mapping[str, Any]) -> None:
        try:
            self._connection.ask_lean(None, operation, **request)
        except Left:
            self._connection.ask_full(operation, **request)

    def pause(self, attempt: int) -> None:
        """Wait before the next attempt, twice as long each time."""
        time.sleep(min(0.05 * 2**attempt, self.seconds_left))
