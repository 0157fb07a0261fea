"""One HTTP/1.1 connection to S3: what http.client does for 18 ms of imports, and with fewer copies.

A body goes from the socket into the caller's buffer in one system call per buffer, so that a thread which fetches holds the interpreter
lock for moments only, while other threads import and load. RFC 9112. Failures are the OSErrors that sockets raise anyway:
TimeoutError, ConnectionError for an answer that is cut short or is none, ssl.SSLError.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable, Mapping
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any, NamedTuple

from gluon_lambda.archive_store.s3_settings import Address

if TYPE_CHECKING:
    from ssl import SSLContext

CONNECT_SECONDS = 3
READ_SECONDS = 20
HEAD_BYTES = 1 << 12
LONGEST_HEAD = 1 << 16
# S3's errors are a few hundred bytes, a listing's thousand entries a few hundred thousand.
LONGEST_TEXT = 4 << 20
# A body up to this size goes with its head.
_TOGETHER_BYTES = 1 << 16


class Head(NamedTuple):
    """The start of an answer: status, and headers with lower-case names."""

    status: int
    headers: dict[str, str]


class Connection:
    """A connection on which one request after the other is made.

    Attributes:
        is_reusable: Whether the last answer was read to its end, and the server keeps the connection.
    """

    def __init__(self, address: Address, context: SSLContext | None) -> None:
        """Connect.

        Args:
            address: Where to.
            context: TLS's settings; None for plain HTTP.
        """
        self.is_reusable = False
        self._ahead = memoryview(b"")
        self._left = 0
        self._is_chunked = False
        self._seconds_left: Callable[[], float] | None = None
        self._limit: float = READ_SECONDS
        # As bytes, which typeshed does not know of: for a text, socket and ssl would load the tables of international names (3 ms).
        host: Any = address.host.encode("ascii")
        plain = socket.create_connection((host, address.port), timeout=CONNECT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._flags = 0
        if context:
            self._socket: socket.socket = context.wrap_socket(plain, server_hostname=host)
            self._socket.settimeout(READ_SECONDS)
            return
        # The kernel keeps the time, so that recv may wait for a whole buffer.
        plain.settimeout(None)
        _limit_in_kernel(plain, READ_SECONDS)
        self._flags = socket.MSG_WAITALL
        self._socket = plain

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | bytearray | memoryview = b"",
        seconds_left: Callable[[], float] | None = None,
    ) -> Head:
        """Send a request and read the head of its answer.

        Args:
            method: HTTP's.
            target: Path and query, encoded.
            headers: All of them, the body's length included.
            body: What is sent.
            seconds_left: How long the whole answer may still be waited for, body included; None for as long as something comes.

        Raises:
            OSError: The connection failed, or what came is no answer; TimeoutError where the time is up.
        """
        self.is_reusable = False
        self._seconds_left = seconds_left
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._send(f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode("latin-1"), body)
        head = self._read_head()
        while head.status < 200:  # 100 Continue and its like announce the answer
            head = self._read_head()
        has_body = method != "HEAD"  # though its head tells of one
        self._left = body_length(head) if has_body else 0
        self._is_chunked = has_body and head.headers.get("transfer-encoding", "").lower() == "chunked"
        self.is_reusable = head.headers.get("connection", "").lower() != "close"
        return head

    def is_dropped(self) -> bool:
        """Whether the server has ended a connection that is not in use, or sent what nobody asked for."""
        watched = select.poll()
        watched.register(self._socket, select.POLLIN)
        return bool(watched.poll(0))

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from the body; returns how many bytes came, 0 at the body's end.

        Raises:
            OSError: The connection failed, or ended before the body.
        """
        wanted = min(len(buffer), self._left)
        if wanted == 0:
            return 0
        received = self._take_ahead(buffer[:wanted]) or self._receive(buffer[:wanted])
        if received == 0:
            self.is_reusable = False
            raise ConnectionResetError(f"the connection ended {self._left} bytes before the body's end")
        self._left -= received
        return received

    def read_text(self) -> bytes:
        """The whole body of an error, or of another answer that is a text."""
        if self._is_chunked:
            return self._read_chunks()
        text = memoryview(bytearray(min(self._left, LONGEST_TEXT)))
        position = 0
        while position < len(text):
            position += self.readinto(text[position:])
        self.is_reusable = self.is_reusable and self._left == 0
        return bytes(text)

    def is_read(self) -> bool:
        """Whether the body has been read to its end."""
        return self._left == 0

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _keep_to_time(self) -> None:
        """Let the next system call wait no longer than there is time."""
        left = READ_SECONDS if self._seconds_left is None else min(READ_SECONDS, self._seconds_left())
        if left <= 0:
            raise TimeoutError("the time was up before the answer was there")
        if left == self._limit:
            return
        self._limit = left
        if self._flags:
            _limit_in_kernel(self._socket, left)
        else:
            self._socket.settimeout(left)

    def _send(self, head: bytes, body: bytes | bytearray | memoryview) -> None:
        self._keep_to_time()
        try:
            if len(body) <= _TOGETHER_BYTES:
                self._socket.sendall(head + body)
                return
            self._socket.sendall(head)
            self._socket.sendall(body)
        except BlockingIOError as error:  # how the kernel says that SO_SNDTIMEO has passed
            raise TimeoutError(f"nothing was taken for {self._limit:.3g} seconds") from error

    def _receive(self, buffer: memoryview) -> int:
        self._keep_to_time()
        try:
            if self._flags:
                return self._socket.recv_into(buffer, len(buffer), self._flags)
            return self._socket.recv_into(buffer, len(buffer))
        except BlockingIOError as error:  # how the kernel says that SO_RCVTIMEO has passed
            raise TimeoutError(f"nothing came for {self._limit:.3g} seconds") from error

    def _take_ahead(self, buffer: memoryview) -> int:
        """What was read together with the head."""
        count = min(len(buffer), len(self._ahead))
        buffer[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count

    def _read_more(self) -> bytes:
        """Some bytes, whatever is there."""
        self._keep_to_time()
        try:
            return self._socket.recv(HEAD_BYTES)
        except BlockingIOError as error:
            raise TimeoutError(f"nothing came for {self._limit:.3g} seconds") from error

    def _read_head(self) -> Head:
        raw, separator = bytes(self._ahead), b"\r\n\r\n"
        while separator not in raw:
            more = self._read_more()
            if not more or len(raw) > LONGEST_HEAD:
                raise ConnectionResetError("the connection ended before an answer came")
            raw += more
        head, _, ahead = raw.partition(separator)
        self._ahead = memoryview(ahead)
        return parse_head(head)

    def _read_chunks(self) -> bytes:
        """A chunked body (RFC 9112, 7.1). The connection is not used again."""
        self.is_reusable = False
        raw = bytes(self._ahead)
        while not raw.endswith(b"0\r\n\r\n") and len(raw) < LONGEST_TEXT:
            more = self._read_more()
            if not more:
                break
            raw += more
        return join_chunks(raw)


def _limit_in_kernel(plain: socket.socket, seconds: float) -> None:
    """How long ``send`` and ``recv`` wait, both at least a microsecond: zero would be for ever."""
    whole = int(seconds)
    value = struct.pack("ll", whole, max(int((seconds - whole) * 1e6), 1))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        plain.setsockopt(socket.SOL_SOCKET, option, value)


def parse_head(raw: bytes) -> Head:
    """Read status line and headers.

    Raises:
        ConnectionError: They are neither.
    """
    line, *fields = raw.decode("latin-1").split("\r\n")
    words = line.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise ConnectionAbortedError(f"no HTTP answer: {line[:80]!r}")
    pairs = (field.partition(":") for field in fields)
    return Head(int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs})


def body_length(head: Head) -> int:
    """How many bytes the body has; 0 where chunks will say.

    Raises:
        ConnectionError: The head does not say.
    """
    if head.status in (204, 304) or "transfer-encoding" in head.headers:
        return 0
    length = head.headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        raise ConnectionAbortedError(f"an answer without a length (Content-Length: {length!r})")
    return int(length)


def join_chunks(raw: bytes) -> bytes:
    """The content of chunks; where they are garbled, what came before."""
    content = b""
    while True:
        line, found, rest = raw.partition(b"\r\n")
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            return content
        if not found or size <= 0:
            return content
        content += rest[:size]
        raw = rest[size + 2 :]


def tls_context(ca_bundle: str) -> SSLContext:
    """TLS as botocore sets it up (botocore/httpsession.py): certificates from AWS_CA_BUNDLE, certifi, or botocore's own file.

    Raises:
        OSError: The bundle cannot be read.
    """
    import ssl  # lazy: 8 ms that a plain endpoint does not need

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_bundle or default_bundle())
    return context


def default_bundle() -> str:
    """The certificates that botocore takes: certifi's where that is installed, found without importing it (25 modules), else its own."""
    found = PathFinder.find_spec("certifi") or PathFinder.find_spec("botocore")
    folders = found.submodule_search_locations if found else None
    return os.path.join(folders[0] if folders else "", "cacert.pem")
