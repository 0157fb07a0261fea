"""The Runtime API of one sandbox, as little of it as a handler needs: next, response and the two errors.

The benchmark's own, so that no emulator's cost is measured with the handler's. Each call is stamped with the monotonic
clock in the thread that reads or writes it. AWS: "Using the Lambda runtime API for custom runtimes", version 2018-06-01.
"""

from __future__ import annotations

import queue
import socket
import socketserver
import threading
import time
from contextlib import suppress
from typing import NamedTuple, Protocol

NEXT = "/2018-06-01/runtime/invocation/next"
LOOPBACK = "127.0.0.1"
TIMEOUT_MS = 60_000


class Call(NamedTuple):
    """One call of the runtime.

    Attributes:
        path: The URL's path.
        body: The whole body.
        at: Monotonic time in seconds at which the call had been read.
    """

    path: str
    body: bytes
    at: float


class Delivery(NamedTuple):
    """An event that is to be handed to the runtime.

    Attributes:
        request_id: Lambda's id of the invocation.
        event: The event as JSON.
    """

    request_id: str
    event: bytes


class Readable(Protocol):
    """What is used of a connection's reading side."""

    def readline(self) -> bytes:
        """The bytes up to and with the next line feed."""
        ...

    def read(self, size: int, /) -> bytes:
        """Exactly so many bytes, unless the connection ends."""
        ...


def read_call(stream: Readable) -> Call | None:
    """Read one HTTP request, or None where the connection has ended.

    A few lines of parsing instead of http.server, whose own cost would be a part of every measurement.
    """
    request_line = stream.readline().split()
    if len(request_line) < 2:
        return None
    length = 0
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    body = stream.read(length)
    return Call(request_line[1].decode("ascii"), body, time.monotonic())


def http_response(status: str, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A whole HTTP response, to be sent in one piece."""
    pairs = (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("ascii") + body


def next_response(delivery: Delivery) -> bytes:
    """What ``next`` answers."""
    deadline = int(time.time() * 1000) + TIMEOUT_MS
    headers = (
        ("Lambda-Runtime-Aws-Request-Id", delivery.request_id),
        ("Lambda-Runtime-Deadline-Ms", str(deadline)),
        ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:benchmark"),
    )
    return http_response("200 OK", delivery.event, headers)


class RuntimeApi:
    """Serves one sandbox on a free port of 127.0.0.1: hands out what is delivered, keeps what is called."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self.delivered_at = 0.0
        self._deliveries: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._server = _Server(self)
        self._open = True
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        """Host and port, for ``AWS_LAMBDA_RUNTIME_API``."""
        return f"{LOOPBACK}:{self._server.server_address[1]}"

    def deliver(self, delivery: Delivery) -> None:
        """Answer the runtime's next ``next`` with this event."""
        self._deliveries.put(delivery)

    def answer(self, call: Call) -> bytes:
        """The response to ``call``; for ``next`` it waits until there is an event. Empty: hang up."""
        self.calls.put(call)
        if call.path != NEXT:
            return http_response("202 Accepted", b'{"status":"OK"}')
        delivery = self._deliveries.get()
        self.delivered_at = time.monotonic()
        return b"" if delivery is None else next_response(delivery)

    def close(self) -> None:
        """Let go of the port, and of a connection that waits for an event."""
        self._open = False
        self._deliveries.put(None)
        # Wakes the thread that waits for a connection. One that has just come may have made it look, and end, by itself.
        with suppress(ConnectionError):
            socket.create_connection((LOOPBACK, self._server.server_address[1])).close()

    def _serve(self) -> None:
        """Accept connections until closed; unlike serve_forever it does not wake up meanwhile to look whether it is."""
        with self._server:
            while self._open:
                self._server.handle_request()


class _Server(socketserver.ThreadingTCPServer):
    """Listens for one RuntimeApi."""

    daemon_threads = True

    def __init__(self, api: RuntimeApi) -> None:
        super().__init__((LOOPBACK, 0), _Connection)
        self.api = api


class _Connection(socketserver.StreamRequestHandler):
    """One connection of the runtime, kept open between calls."""

    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        """Answer call after call, until the runtime's process ends or is ended."""
        with suppress(ConnectionError):
            while (call := read_call(self.rfile)) is not None:
                if not (response := self.server.api.answer(call)):
                    return
                self.wfile.write(response)
