"""HTTP/1.1 over sockets: what the Runtime API and the front ends are served with.

The standard library's ``http.server`` merges and re-parses headers through ``email`` and answers mistakes in HTML. A front end has to
see every header as it came, and has to refuse what API Gateway refuses, so reading a request is done here, in full.
"""

from __future__ import annotations

import errno
import re
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable
from http import HTTPStatus
from io import BufferedIOBase
from typing import NamedTuple

from local_emulator.errors import PortTaken

Pairs = tuple[tuple[str, str], ...]

_MAX_LINE_BYTES = 65_536
_MAX_HEADERS = 200
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_WITHOUT_BODY = frozenset({204, 304})


class HttpRequest(NamedTuple):
    """One request as it came.

    Attributes:
        method: As sent (methods are case-sensitive).
        target: Path and query, percent-encoded, without scheme and host.
        headers: Name and value pairs in order, repeats kept, names as sent.
        body: Bytes; chunks joined.
        client: The peer's address.
        port: The port that the request came in by.
        protocol: ``HTTP/1.0`` or ``HTTP/1.1``.
    """

    method: str
    target: str
    headers: Pairs
    body: bytes
    client: str
    port: int
    protocol: str = "HTTP/1.1"

    def header(self, name: str, default: str = "") -> str:
        """The first value of header ``name`` (any case), or ``default``."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), default)


class HttpResponse(NamedTuple):
    """One response; ``Date``, ``Content-Length`` and ``Connection`` are added while it is written."""

    status: int
    headers: Pairs = ()
    body: bytes = b""


class RequestHead(NamedTuple):
    """Request line and headers, before the body is read."""

    method: str
    target: str
    protocol: str
    headers: Pairs

    def values(self, name: str) -> list[str]:
        """Every value of header ``name`` (lower case), in order."""
        return [value for key, value in self.headers if key.lower() == name]


class ProtocolError(Exception):
    """Raised when what came is not a request that can be answered; carries the status to refuse it with."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def read_head(stream: BufferedIOBase) -> RequestHead | None:
    """Read request line and headers.

    Returns:
        The head, or None where the peer closed the connection between requests.

    Raises:
        ProtocolError: Malformed (400), too long (414, 431) or of another HTTP version (505).
    """
    line = _read_line(stream, too_long=HTTPStatus.REQUEST_URI_TOO_LONG)
    if line == b"\r\n":  # RFC 9112, 2.2: an empty line before the request line is to be ignored
        line = _read_line(stream, too_long=HTTPStatus.REQUEST_URI_TOO_LONG)
    if not line:
        return None
    method, target, protocol = _parse_request_line(line)
    return RequestHead(method, target, protocol, _read_headers(stream))


def _read_line(stream: BufferedIOBase, *, too_long: HTTPStatus) -> bytes:
    line = stream.readline(_MAX_LINE_BYTES + 1)
    if len(line) > _MAX_LINE_BYTES:
        raise ProtocolError(too_long)
    return line


def _parse_request_line(line: bytes) -> tuple[str, str, str]:
    words = line.decode("latin-1").rstrip("\r\n").split(" ")
    if len(words) != 3 or not _TOKEN.fullmatch(words[0]):
        raise ProtocolError(HTTPStatus.BAD_REQUEST)
    method, target, protocol = words
    if not re.fullmatch(r"HTTP/\d\.\d", protocol):
        raise ProtocolError(HTTPStatus.BAD_REQUEST)
    if protocol not in ("HTTP/1.0", "HTTP/1.1"):
        raise ProtocolError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    return method, _origin_form(target), protocol


def _origin_form(target: str) -> str:
    absolute = re.match(r"https?://[^/?#]+", target, re.IGNORECASE)
    if absolute:
        rest = target[absolute.end() :]
        target = rest if rest.startswith("/") else "/" + rest
    if not target.startswith("/") or not target.isprintable():
        raise ProtocolError(HTTPStatus.BAD_REQUEST)
    return target


def _read_headers(stream: BufferedIOBase) -> Pairs:
    headers: list[tuple[str, str]] = []
    while (line := _read_line(stream, too_long=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)) not in (b"\r\n", b"\n"):
        headers.append(_parse_header(line))
        if len(headers) > _MAX_HEADERS:
            raise ProtocolError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    return tuple(headers)


def _parse_header(line: bytes) -> tuple[str, str]:
    name, colon, value = line.decode("latin-1").partition(":")
    value = value.rstrip("\r\n").strip(" \t")
    # Space before the colon and folded lines are how requests are smuggled: RFC 9112, 5.1 and 5.2 let a server refuse both.
    if not line.endswith(b"\n") or not colon or not _TOKEN.fullmatch(name) or re.search(r"[\r\n\0]", value):
        raise ProtocolError(HTTPStatus.BAD_REQUEST)
    return name, value


def body_length(head: RequestHead) -> int | None:
    """How many bytes of body follow ``head``; None where they come in chunks.

    Raises:
        ProtocolError: The framing is ambiguous or malformed (400), or of a transfer coding that is not known (501).
    """
    codings, lengths = head.values("transfer-encoding"), head.values("content-length")
    if codings:
        _check_chunked(codings, also_length=bool(lengths))
        return None
    if len(set(lengths)) > 1 or not all(re.fullmatch("[0-9]{1,18}", length) for length in lengths):
        raise ProtocolError(HTTPStatus.BAD_REQUEST)
    return int(lengths[0]) if lengths else 0


def _check_chunked(codings: list[str], *, also_length: bool) -> None:
    if also_length:
        raise ProtocolError(HTTPStatus.BAD_REQUEST)
    if [coding.lower() for coding in codings] != ["chunked"]:
        raise ProtocolError(HTTPStatus.NOT_IMPLEMENTED)


def read_body(stream: BufferedIOBase, length: int | None, *, limit: int) -> bytes:
    """Read a body of ``length`` bytes, or in chunks where that is None.

    Raises:
        ProtocolError: It ends early or its chunks are malformed (400), or it holds more than ``limit`` bytes (413).
    """
    if length is None:
        return _read_chunks(stream, limit)
    if length > limit:
        raise ProtocolError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return _read_exactly(stream, length)


def _read_exactly(stream: BufferedIOBase, length: int) -> bytes:
    body = stream.read(length)
    if len(body) < length:
        raise ProtocolError(HTTPStatus.BAD_REQUEST)
    return body


def _read_chunks(stream: BufferedIOBase, limit: int) -> bytes:
    body = bytearray()
    while size := _read_chunk_size(stream):
        if len(body) + size > limit:
            raise ProtocolError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        body += _read_exactly(stream, size)
        if _read_exactly(stream, 2) != b"\r\n":
            raise ProtocolError(HTTPStatus.BAD_REQUEST)
    _read_headers(stream)  # trailers, which API Gateway drops
    return bytes(body)


def _read_chunk_size(stream: BufferedIOBase) -> int:
    line = _read_line(stream, too_long=HTTPStatus.BAD_REQUEST)
    size = line.partition(b";")[0].strip()
    if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", size):
        raise ProtocolError(HTTPStatus.BAD_REQUEST)
    return int(size, 16)


def render(response: HttpResponse, *, head_only: bool, keep_alive: bool) -> bytes:
    """The response as it goes over the wire."""
    phrase = HTTPStatus(response.status).phrase if response.status in HTTPStatus._value2member_map_ else ""
    own = [("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()))]
    if response.status not in _WITHOUT_BODY:
        own.append(("Content-Length", str(len(response.body))))
    own.append(("Connection", "keep-alive" if keep_alive else "close"))
    lines = [f"HTTP/1.1 {response.status} {phrase}", *(f"{name}: {value}" for name, value in (*own, *response.headers))]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head if head_only or response.status in _WITHOUT_BODY else head + response.body


class Service(NamedTuple):
    """What an ``HttpServer`` serves.

    Attributes:
        answer: Request in, response out; called from many threads.
        refuse: The response to a request that is refused before ``answer`` sees it.
        max_body_bytes: Larger bodies are refused with 413.
        idle_seconds: A connection on which nothing comes for so long is closed; None: never.
    """

    answer: Callable[[HttpRequest], HttpResponse]
    refuse: Callable[[HTTPStatus], HttpResponse]
    max_body_bytes: int
    idle_seconds: float | None


class _Connection(socketserver.StreamRequestHandler):
    """One connection: requests one after another, each answered before the next is read."""

    disable_nagle_algorithm = True
    server: HttpServer

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.service.idle_seconds)

    def handle(self) -> None:
        try:
            while self._serve_one():
                pass
        except ProtocolError as error:
            self._refuse(error.status)
        except OSError:
            return  # the peer went away, or sent nothing for too long: nobody is left to answer

    def _serve_one(self) -> bool:
        head = read_head(self.rfile)
        if head is None:
            return False
        request = self._request(head)
        keep_alive = _keeps_alive(head)
        response = self._answer(request)
        self.wfile.write(render(response, head_only=head.method == "HEAD", keep_alive=keep_alive))
        return keep_alive

    def _request(self, head: RequestHead) -> HttpRequest:
        body, client, port = self._body(head), str(self.client_address[0]), self.server.port
        return HttpRequest(head.method, head.target, head.headers, body, client, port, head.protocol)

    def _body(self, head: RequestHead) -> bytes:
        if head.protocol == "HTTP/1.1" and not head.values("host"):
            raise ProtocolError(HTTPStatus.BAD_REQUEST)
        length, limit = body_length(head), self.server.service.max_body_bytes
        expects = any(value.lower() == "100-continue" for value in head.values("expect"))
        if expects and (length is None or 0 < length <= limit):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return read_body(self.rfile, length, limit=limit)

    def _answer(self, request: HttpRequest) -> HttpResponse:
        try:
            return self.server.service.answer(request)
        except Exception:  # noqa: BLE001 - the edge: one request's fault must not take the connection's thread with it unseen
            traceback.print_exc(file=sys.stderr)
            return self.server.service.refuse(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _refuse(self, status: HTTPStatus) -> None:
        try:
            self.wfile.write(render(self.server.service.refuse(status), head_only=False, keep_alive=False))
            self._linger()
        except OSError:
            return

    def _linger(self) -> None:
        """Read on for a moment: closing with unread bytes resets the connection, and the peer would never see the answer."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(1.0)
        until = time.monotonic() + 5.0
        while time.monotonic() < until and self.connection.recv(1 << 20):
            pass


def _keeps_alive(head: RequestHead) -> bool:
    tokens = {token.strip().lower() for value in head.values("connection") for token in value.split(",")}
    return "close" not in tokens if head.protocol == "HTTP/1.1" else "keep-alive" in tokens


def _why_not(host: str, port: int, error: OSError | OverflowError) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken: another program listens there. "
            "End it, or choose another one with --port (make run PORT=…)"
        )
    return f"cannot listen on {host}:{port}: {error}. Choose another address with --host and --port"


class HttpServer(socketserver.ThreadingTCPServer):
    """Serves one ``Service`` on one address, a thread to each connection.

    Raises:
        PortTaken: The address is not free.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, service: Service) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.service = service
        try:
            super().__init__((host, port), _Connection)
        except (OSError, OverflowError) as error:
            raise PortTaken(_why_not(host, port, error)) from error

    @property
    def port(self) -> int:
        """The port that it listens on, also where 0 was asked for."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serve from a thread of its own until ``stop``."""
        # The poll interval is what stop() has to wait for.
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Stop listening. Connections that are open end with their peers."""
        self.shutdown()
        self.server_close()
