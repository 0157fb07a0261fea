"""A plain file server that has S3's shape, in a process of its own: what a fetch is measured against.

``python -m benchmarks.s3_server FOLDER`` serves ``FOLDER/bucket/key`` as ``http://127.0.0.1:PORT/bucket/key`` and prints
its URL. It answers HEAD and GET with Range, If-Match, If-None-Match and versionId, keeps connections open, and sends files
by sendfile. It neither checks signatures nor lists: whether a client is right is for the tests, against moto.

Amazon S3 API Reference: GetObject, HeadObject, Error Responses.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
# Of what a throttled connection sends at a time; of what an encrypted one does.
SLICE_BYTES = 1 << 18
RANGE = re.compile(r"bytes=(\d*)-(\d*)")
REASONS = {
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    304: "Not Modified",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    412: "Precondition Failed",
    416: "Requested Range Not Satisfiable",
    501: "Not Implemented",
}


class Pace(NamedTuple):
    """How a network slows each connection down.

    Attributes:
        latency_s: Seconds from a request to the first byte of its answer.
        bytes_per_second: The most that a connection carries; 0 for as much as it can.
    """

    latency_s: float = 0
    bytes_per_second: float = 0


class Request(NamedTuple):
    """A request's line and headers; names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


class Answer(NamedTuple):
    """What goes back.

    Attributes:
        status: HTTP's.
        headers: Besides Content-Length, which follows from the rest.
        text: The body of an error.
        path: The file that is the body, or ``""``.
        start: The first byte of it.
        length: How many.
    """

    status: int
    headers: dict[str, str]
    text: bytes = b""
    path: str = ""
    start: int = 0
    length: int = 0


def respond(request: Request, folder: str) -> Answer:
    """The answer to a request for ``folder/bucket/key``."""
    if request.method not in ("GET", "HEAD"):
        return error(405, "MethodNotAllowed")
    if "authorization" not in request.headers:
        return error(403, "AccessDenied")
    address = urlsplit(request.target)
    path = os.path.join(folder, *(part for part in unquote(address.path).split("/") if part not in ("", ".", "..")))
    if not os.path.isfile(path):
        return error(404, "NoSuchKey")
    version = tag_of(path)
    asked = parse_qs(address.query).get("versionId", [version])[0]
    return error(404, "NoSuchVersion") if asked != version else found(request.headers, path, version)


def found(headers: Mapping[str, str], path: str, version: str) -> Answer:
    """The answer where there is such an object."""
    about = {"ETag": f'"{version}"', "x-amz-version-id": version, "Accept-Ranges": "bytes"}
    if headers.get("if-match", f'"{version}"') != f'"{version}"':
        return error(412, "PreconditionFailed")
    if headers.get("if-none-match") == f'"{version}"':
        return Answer(304, about)
    size = os.path.getsize(path)
    if "range" not in headers:
        return Answer(200, about, path=path, length=size)
    span = read_range(headers["range"], size)
    if span is None:
        return error(416, "InvalidRange")
    start, end = span
    about["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Answer(206, about, path=path, start=start, length=end - start)


def tag_of(path: str) -> str:
    """What changes with a file: stands for its ETag and its version."""
    status = os.stat(path)
    return f"{status.st_mtime_ns:x}.{status.st_size:x}"


def read_range(text: str, size: int) -> tuple[int, int] | None:
    """The first byte of a range and the one after its last; None where no byte is in it (RFC 9110, 14.1.2)."""
    match = RANGE.fullmatch(text)
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return max(0, size - int(match[2])), size
    start = int(match[1])
    end = min(size, int(match[2]) + 1) if match[2] else size
    return (start, end) if start < end else None


def error(status: int, code: str) -> Answer:
    """An error in S3's form."""
    body = f"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return Answer(status, {"Content-Type": "application/xml"}, text=body.encode())


def read_requests(connection: socket.socket) -> Iterator[Request]:
    """The requests that come on a connection, one after the other."""
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            more = connection.recv(1 << 16)
            if not more:
                return
            received += more
        head, _, received = received.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        pairs = (field.partition(":") for field in fields)
        yield Request(method, target, {name.lower(): value.strip() for name, _, value in pairs})


def send(connection: socket.socket, answer: Answer, pace: Pace, *, with_body: bool) -> None:
    """Send an answer, as fast as the pace allows."""
    length = answer.length or len(answer.text)
    fields = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    head = f"HTTP/1.1 {answer.status} {REASONS[answer.status]}\r\n{fields}Content-Length: {length}\r\n\r\n"
    time.sleep(pace.latency_s)
    connection.sendall(head.encode() + (answer.text if with_body else b""))
    if answer.path and with_body:
        with open(answer.path, "rb") as stream:
            send_file(connection, stream.fileno(), answer.start, answer.length, pace)


def send_file(connection: socket.socket, file: int, start: int, length: int, pace: Pace) -> None:
    """Send a part of a file."""
    began, sent = time.monotonic(), 0
    is_plain = not isinstance(connection, ssl.SSLSocket)
    while sent < length:
        most = min(length - sent, SLICE_BYTES if pace.bytes_per_second else length)
        if is_plain:
            sent += os.sendfile(connection.fileno(), file, start + sent, most)
        else:
            piece = os.pread(file, min(most, SLICE_BYTES), start + sent)
            connection.sendall(piece)
            sent += len(piece)
        if pace.bytes_per_second:
            time.sleep(max(0.0, began + sent / pace.bytes_per_second - time.monotonic()))


def serve_connection(connection: socket.socket, folder: str, pace: Pace, context: ssl.SSLContext | None) -> None:
    """Answer everything that comes on a connection, until it ends."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError):  # clients may leave whenever they like
        if context:
            connection = context.wrap_socket(connection, server_side=True)
        for request in read_requests(connection):
            send(connection, respond(request, folder), pace, with_body=request.method == "GET")
    connection.close()


def run(folder: str, pace: Pace, context: ssl.SSLContext | None) -> None:
    """Serve for as long as the process lives; prints the URL first."""
    listener = socket.create_server((LOOPBACK, 0), backlog=64)
    print(f"http{'s' if context else ''}://{LOOPBACK}:{listener.getsockname()[1]}", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_connection, args=(connection, folder, pace, context), daemon=True).start()


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[str]:
    """A server in a process of its own, for as long as the context lasts.

    Args:
        folder: Holds a folder for each bucket.
        options: As on the command line.

    Yields:
        Its URL, for ``AWS_ENDPOINT_URL_S3``. Any credentials will do.
    """
    with started("benchmarks.s3_server", str(folder), *options) as url:
        yield url


@contextmanager
def started(module: str, *arguments: str) -> Iterator[str]:
    """A server of ours that prints its URL when it listens; ended with the context."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            if not url:
                raise RuntimeError(f"{' '.join(command)} did not start")
            yield url
        finally:
            server.kill()


def main(arguments: Sequence[str]) -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.s3_server", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", help="holds a folder for each bucket")
    parser.add_argument("--latency-ms", type=float, default=0, help="from a request to its answer's first byte (0)")
    parser.add_argument("--megabytes-per-second", type=float, default=0, help="the most that a connection carries")
    parser.add_argument("--certificate", help="PEM file with certificate and key: speak TLS")
    options = parser.parse_args(arguments)
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
    run(options.folder, Pace(options.latency_ms / 1e3, options.megabytes_per_second * 1e6), context)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(sys.argv[1:])
