"""A plain server of S3's shape that keeps what is written, in memory and in a process of its own: what batches are measured against.

``python -m benchmarks.bucket_server`` prints its URL. It answers what the handler asks: HEAD and GET with Range, If-Match and versionId's absence,
PUT and multipart uploads with If-None-Match, DELETE, DeleteObjects and ListObjectsV2 (all in one page). Any bucket is there. It checks no
signatures: whether a client is right is for the tests, against moto.

Amazon S3 API Reference: the operations' own pages, Error Responses.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from benchmarks.s3_server import LOOPBACK, Answer, Pace, error, read_range, send, started

# Given back with an object as they came.
KEPT = ("content-type", "content-encoding")
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
PART_NUMBER = re.compile(rb"<PartNumber>(\d+)</PartNumber>")
KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)


class Request(NamedTuple):
    """A whole request.

    Attributes:
        method: HTTP's.
        bucket: The first part of the path.
        key: The rest of it, decoded; empty where the bucket is asked.
        query: The parameters; those without a value have an empty one.
        headers: Names in lower case.
        body: All of it.
    """

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Stored(NamedTuple):
    """An object.

    Attributes:
        body: Its content.
        tag: Its ETag, without quotes.
        headers: What was said of it: type, encoding, metadata.
    """

    body: bytes
    tag: str
    headers: dict[str, str]


class Upload(NamedTuple):
    """A multipart upload that is not completed.

    Attributes:
        headers: As the object's.
        parts: By number.
    """

    headers: dict[str, str]
    parts: dict[int, bytes]


class Buckets:
    """Everything that is kept."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._lock = threading.Lock()
        self._written = 0
        self._objects: dict[tuple[str, str], Stored] = {}
        self._uploads: dict[str, Upload] = {}

    def answer(self, request: Request) -> Answer:
        """Do what is asked."""
        if "authorization" not in request.headers:
            return error(403, "AccessDenied")
        with self._lock:
            return self._for_object(request) if request.key else self._for_bucket(request)

    def _for_bucket(self, request: Request) -> Answer:
        if request.method == "GET" and request.query.get("list-type") == "2":
            return self._listed(request)
        if request.method == "POST" and "delete" in request.query:
            for key in KEY.findall(request.body):
                self._objects.pop((request.bucket, unescape(key.decode())), None)
            return Answer(200, {}, text=xml("DeleteResult", ""))
        return error(405, "MethodNotAllowed")

    def _for_object(self, request: Request) -> Answer:
        place = (request.bucket, request.key)
        match request.method:
            case "GET" | "HEAD":
                found = self._objects.get(place)
                return error(404, "NoSuchKey") if found is None else given(found, request.headers)
            case "PUT":
                return self._kept_part(request) if "uploadId" in request.query else self._put(request, request.body)
            case "POST":
                return self._begun(request) if "uploads" in request.query else self._completed(request)
            case "DELETE":
                removed = request.query.get("uploadId")
                self._objects.pop(place, None) if removed is None else self._uploads.pop(removed, None)
                return Answer(204, {})
        return error(405, "MethodNotAllowed")

    def _listed(self, request: Request) -> Answer:
        prefix = request.query.get("prefix", "")
        found = sorted(
            (key, stored)
            for (bucket, key), stored in self._objects.items()
            if bucket == request.bucket and key.startswith(prefix)
        )
        entries = (
            f"<Contents><Key>{escape(quote(key))}</Key><Size>{len(stored.body)}</Size></Contents>"
            for key, stored in found
        )
        head = f"<IsTruncated>false</IsTruncated><KeyCount>{len(found)}</KeyCount><EncodingType>url</EncodingType>"
        return Answer(200, {"Content-Type": "application/xml"}, text=xml("ListBucketResult", head + "".join(entries)))

    def _put(self, request: Request, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        place = (request.bucket, request.key)
        if request.headers.get("if-none-match") == "*" and place in self._objects:
            return error(412, "PreconditionFailed")
        self._written += 1
        stored = Stored(body, f"{self._written:032x}", dict(headers or said_of(request.headers)))
        self._objects[place] = stored
        return Answer(200, {"ETag": f'"{stored.tag}"'})

    def _begun(self, request: Request) -> Answer:
        self._written += 1
        upload = f"upload-{self._written}"
        self._uploads[upload] = Upload(said_of(request.headers), {})
        names = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key><UploadId>{upload}</UploadId>"
        return Answer(200, {}, text=xml("InitiateMultipartUploadResult", names))

    def _kept_part(self, request: Request) -> Answer:
        upload = self._uploads.get(request.query["uploadId"])
        if upload is None:
            return error(404, "NoSuchUpload")
        number = request.query["partNumber"]
        upload.parts[int(number)] = request.body
        return Answer(200, {"ETag": f'"{number}"'})

    def _completed(self, request: Request) -> Answer:
        name = request.query.get("uploadId", "")
        upload = self._uploads.get(name)
        if upload is None:
            return error(404, "NoSuchUpload")
        numbers = [int(number) for number in PART_NUMBER.findall(request.body)]
        done = self._put(request, b"".join(upload.parts[number] for number in numbers), upload.headers)
        if done.status != 200:
            return done
        del self._uploads[name]
        return Answer(
            200, {}, text=xml("CompleteMultipartUploadResult", f"<ETag>{escape(done.headers['ETag'])}</ETag>")
        )


def xml(name: str, content: str) -> bytes:
    """A document of S3's."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} {NAMESPACE}>{content}</{name}>'.encode()


def said_of(headers: Mapping[str, str]) -> dict[str, str]:
    """What of a write's headers comes back with the object."""
    return {name: value for name, value in headers.items() if name in KEPT or name.startswith("x-amz-meta-")}


def given(stored: Stored, headers: Mapping[str, str]) -> Answer:
    """An object, or a part of it, in the state that is asked for."""
    about = {"ETag": f'"{stored.tag}"', "Accept-Ranges": "bytes", **stored.headers}
    if headers.get("if-match", f'"{stored.tag}"') != f'"{stored.tag}"':
        return error(412, "PreconditionFailed")
    if "range" not in headers:
        return Answer(200, about, text=stored.body)
    span = read_range(headers["range"], len(stored.body))
    if span is None:
        return error(416, "InvalidRange")
    about["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{len(stored.body)}"
    return Answer(206, about, text=stored.body[slice(*span)])


class Readable(Protocol):
    """What is used of a connection's reading side."""

    def readline(self) -> bytes:
        """The bytes up to and with the next line feed."""
        ...

    def read(self, size: int, /) -> bytes:
        """Exactly so many bytes, unless the connection ends."""
        ...


def read_requests(connection: socket.socket, stream: Readable) -> Iterator[Request]:
    """The requests that come on a connection, with their bodies."""
    while line := stream.readline():
        method, target, _ = line.decode("latin-1").split(" ")
        headers = read_headers(stream)
        if headers.get("expect") == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = stream.read(int(headers.get("content-length", "0")))
        address = urlsplit(target)
        bucket, _, key = address.path.lstrip("/").partition("/")
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        yield Request(method, bucket, unquote(key), query, headers, body)


def read_headers(stream: Readable) -> dict[str, str]:
    """A request's headers."""
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return headers


def serve_connection(connection: socket.socket, buckets: Buckets) -> None:
    """Answer everything that comes on a connection, until it ends."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError), connection, connection.makefile("rb") as stream:
        for request in read_requests(connection, stream):
            # Only HTTP could tell chunks from content, and nothing that is measured sends any.
            chunked = "aws-chunked" in request.headers.get("content-encoding", "")
            answer = error(501, "NotImplemented") if chunked else buckets.answer(request)
            send(connection, answer, Pace(), with_body=request.method != "HEAD")


def main() -> None:
    """Serve for as long as the process lives; prints the URL first."""
    listener, buckets = socket.create_server((LOOPBACK, 0), backlog=64), Buckets()
    print(f"http://{LOOPBACK}:{listener.getsockname()[1]}", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_connection, args=(connection, buckets), daemon=True).start()


@contextmanager
def serve_buckets() -> Iterator[str]:
    """A server in a process of its own, for as long as the context lasts; yields its URL. Any credentials will do."""
    with started("benchmarks.bucket_server") as url:
        yield url


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
