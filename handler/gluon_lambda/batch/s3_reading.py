"""Reading an object, or a part of it: bodies that break off go on where they broke off, in the same state of the object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

from gluon_lambda.archive_store.s3_errors import unanswered_error
from gluon_lambda.archive_store.s3_transfer import broken_off
from gluon_lambda.batch.objects import ATTEMPTS
from gluon_lambda.batch.s3_calls import Ask


class Reading(ABC):
    """One read: what has come so far, and how the rest is asked for.

    Attributes:
        answer: S3's last one.
    """

    def __init__(self, request: Mapping[str, Any]) -> None:
        """Ready to go; ``request`` is GetObject's: bucket, key, and what pins the state, where something does."""
        self._request = dict(request)
        self.answer: Mapping[str, Any] = {}

    def run(self, ask: Ask, may_go_on: Callable[[], bool]) -> memoryview:
        """Read by ``ask``; goes on as long as ``may_go_on`` says.

        Raises:
            ClientError: S3 answered with an error: ``PreconditionFailed`` where the object was replaced.
            BotoCoreError: It did not answer, or never sent all of it.
        """
        attempt = 0
        while True:
            self.answer = ask("get_object", **self._request, **self._asked())
            attempt += 1
            try:
                with closing(self.answer["Body"]) as body:
                    return self._receive(body)
            except (unanswered_error(), _broken_stream()):
                if attempt == ATTEMPTS or not may_go_on():
                    raise
                if self.answer.get("ETag"):
                    self._request["IfMatch"] = self.answer["ETag"]

    @abstractmethod
    def _asked(self) -> dict[str, str]:
        """What is still missing, as GetObject takes it."""

    @abstractmethod
    def _receive(self, body: Any) -> memoryview:
        """Read a body to its end."""

    @property
    def sent(self) -> int:
        """How long S3 says that the body is."""
        return int(self.answer["ContentLength"])


class PartReading(Reading):
    """Reads exactly so many bytes, from a given one on."""

    def __init__(self, request: Mapping[str, Any], start: int, buffer: memoryview) -> None:
        """Ready to fill ``buffer`` with what begins at byte ``start``."""
        super().__init__(request)
        self._start = start
        self._buffer = buffer
        self._filled = 0

    def _asked(self) -> dict[str, str]:
        return {"Range": f"bytes={self._start + self._filled}-{self._start + len(self._buffer) - 1}"}

    def _receive(self, body: Any) -> memoryview:
        position, end = self._start + self._filled, self._start + len(self._buffer)
        said = self.answer.get("ContentRange")
        is_whole = said is None and position == 0
        if self.sent != end - position or not (is_whole or str(said).startswith(f"bytes {position}-{end - 1}/")):
            raise broken_off(f"asked for bytes {position}-{end - 1}, got {self.sent} bytes, {said}")
        for count in _pieces(body, self._buffer[self._filled :]):
            self._filled += count
        try:
            _expect_end(body)
        except (unanswered_error(), _broken_stream()):
            self._filled = 0  # all has come, and is not what it should be
            raise
        return self._buffer


class WholeReading(Reading):
    """Reads what S3 sends, from the beginning, up to a number of bytes."""

    def __init__(self, request: Mapping[str, Any], most: int = 0) -> None:
        """Ready to read the object's first ``most`` bytes, or all of it where that is 0."""
        super().__init__(request)
        self._most = most

    def _asked(self) -> dict[str, str]:
        return {"Range": f"bytes=0-{self._most - 1}"} if self._most else {}

    def _receive(self, body: Any) -> memoryview:
        if self._most and self.sent > self._most:
            raise broken_off(f"asked for {self._most} bytes, got {self.sent}")
        buffer = memoryview(bytearray(self.sent))
        for _ in _pieces(body, buffer):
            pass
        _expect_end(body)
        return buffer


def _pieces(body: Any, buffer: memoryview) -> Iterator[int]:
    """Fill the buffer from a body, telling how much has come."""
    while buffer:
        count = body.readinto(buffer)
        if not count:
            raise broken_off(f"{len(buffer)} bytes are missing")
        yield count
        buffer = buffer[count:]


def _expect_end(body: Any) -> None:
    """Read the end, where botocore compares lengths and checksums."""
    body.readinto(memoryview(bytearray(1)))


def _broken_stream() -> type[Exception]:
    """What urllib3 raises of a body and botocore does not translate: TLS that goes wrong within it."""
    from urllib3.exceptions import HTTPError  # lazy: comes with boto3, and only where something has been raised

    found: type[Exception] = HTTPError
    return found
