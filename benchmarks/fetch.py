"""What the wire alone takes: one GET on an open connection, read into memory that is there already, and nothing else."""

from __future__ import annotations

import http.client
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class FetchFailed(Exception):
    """Raised when the file server does not give the file; says what it answered."""


class BareFetch:
    """One connection to the file server and one buffer, both made once. Use it as a context manager."""

    def __init__(self, endpoint: str, path: str) -> None:
        """Connect, and get the file once, which shows how large it is.

        Args:
            endpoint: The file server's URL.
            path: The file's path in it: ``/bucket/key``.

        Raises:
            FetchFailed: There is no such file.
        """
        self._path = path
        self._connection = http.client.HTTPConnection(urlsplit(endpoint).netloc)
        response = self._ask()
        self._buffer = memoryview(bytearray(response.read()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @property
    def size(self) -> int:
        """The file's bytes."""
        return len(self._buffer)

    def milliseconds(self) -> float:
        """Get the file once more: request written to last byte read.

        Raises:
            FetchFailed: Something else than the whole file came.
        """
        started = time.monotonic()
        response = self._ask()
        end = 0
        while end < self.size and (count := response.readinto(self._buffer[end:])):
            end += count
        taken = 1000 * (time.monotonic() - started)
        response.read()  # the end of the response, so that the connection can be asked again
        if end != self.size:
            raise FetchFailed(f"{self._path}: {end} bytes came of {self.size}")
        return taken

    def _ask(self) -> http.client.HTTPResponse:
        # Any credentials will do; a request without them is refused, as by S3.
        self._connection.request("GET", self._path, headers={"Authorization": "benchmark"})
        response = self._connection.getresponse()
        if response.status != 200:
            raise FetchFailed(f"{self._path}: the file server answered {response.status}: {response.read(500)!r}")
        return response
