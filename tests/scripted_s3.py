"""An S3 that misbehaves on request: what moto, which is always well, cannot be made to do. It holds one object, or else passes on to moto."""

from __future__ import annotations

import datetime
import ipaddress
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from gluon_lambda.archive_store.s3_settings import S3Settings, read_settings

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-west-1"}


class Asked(NamedTuple):
    """A request: its target, its headers by lower-case name, its method and its body."""

    target: str
    headers: Mapping[str, str]
    method: str = "GET"
    body: bytes = b""


# What is done with a request instead of answering it well: given the connection, the store and the request.
Mishap = Callable[[socket.socket, "ScriptedS3", Asked], None]


class ScriptedS3:
    """One object, under whatever bucket and key it is asked for.

    Attributes:
        content: The object; may be replaced at any time.
        script: What happens to the next requests, in order; after that all is well.
        asked: Every request so far.
        url: The endpoint.
    """

    def __init__(self, content: bytes, certificate: Path | None = None) -> None:
        """Hold an object; speak HTTPS where there is a certificate with its key."""
        self.content = content
        self.version = 1
        self.script: list[Mishap] = []
        self.asked: list[Asked] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
        if self._tls and certificate:
            self._tls.load_cert_chain(certificate)
        self.url = f"http{'s' * bool(certificate)}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def environ(self) -> dict[str, str]:
        """AWS's variables that lead here."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": self.url}

    @property
    def settings(self) -> S3Settings:
        """The same, as the lean client has them."""
        settings = read_settings(self.environ)
        assert settings is not None
        return settings

    def replace(self, content: bytes) -> None:
        """Put another object in the place of this one."""
        self.content = content
        self.version += 1

    def answer(self, request: Asked) -> bytes:
        """The answer of an S3 that is well."""
        etag = f'"{self.version}"'
        if request.headers.get("if-match", etag) != etag:
            return error_bytes(412, "PreconditionFailed")
        if request.headers.get("if-none-match") == etag:
            return answer_bytes(304, b"", ETag=etag)
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if span is None:
            return answer_bytes(200, self.content, ETag=etag)
        start, end = int(span[1]), min(int(span[2]) + 1, len(self.content))
        if start >= end:
            return error_bytes(416, "InvalidRange")
        part = f"bytes {start}-{end - 1}/{len(self.content)}"
        return answer_bytes(206, self.content[start:end], ETag=etag, Content_Range=part)

    def close(self) -> None:
        """Answer nobody any more."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), self._secured(plain) as connection, connection.makefile("rb") as stream:
            while line := stream.readline():
                pairs = [header.decode().partition(":") for header in iter(stream.readline, b"\r\n")]
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                if headers.get("expect") == "100-continue":
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = stream.read(int(headers.get("content-length", 0)))
                method, target = line.decode().split()[:2]
                request = Asked(target, headers, method, body)
                self.asked.append(request)
                if self.script:
                    self.script.pop(0)(connection, self, request)
                else:
                    connection.sendall(self.answer(request))

    def _secured(self, plain: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(plain, server_side=True) if self._tls else plain


class RelayingS3(ScriptedS3):
    """Whatever lies on another S3, moto's, which gets the requests that are answered well."""

    def __init__(self, endpoint: str, certificate: Path | None = None) -> None:
        """Pass on to ``endpoint``; speak HTTPS where there is a certificate with its key."""
        super().__init__(b"", certificate)
        self._address = urlsplit(endpoint).netloc

    def answer(self, request: Asked) -> bytes:
        """The other S3's answer."""
        connection = HTTPConnection(self._address)
        headers = {name: value for name, value in request.headers.items() if name != "expect"}
        connection.request(request.method, request.target, request.body, headers)
        answer = connection.getresponse()
        named = {"content-length": "0", **{name.lower(): value for name, value in answer.getheaders()}}
        fields = "".join(f"{name}: {value}\r\n" for name, value in named.items() if name != "connection")
        raw = f"HTTP/1.1 {answer.status} Whatever\r\n{fields}\r\n".encode() + answer.read()
        connection.close()
        return raw


def answer_bytes(status: int, body: bytes, **headers: str) -> bytes:
    """An answer as it goes over the wire; ``_`` in a header's name stands for ``-``."""
    named = {"Content_Length": str(len(body)), **headers}
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Whatever\r\n{fields}\r\n".encode() + body


def error_bytes(status: int, code: str, **headers: str) -> bytes:
    """An error in S3's form."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>It is {code}.</Message></Error>".encode()
    return answer_bytes(status, body, Content_Type="application/xml", **headers)


def saying(raw: bytes) -> Mishap:
    """Answer with these bytes, whatever is asked."""
    return lambda connection, _, __: connection.sendall(raw)


def failing(status: int, code: str, **headers: str) -> Mishap:
    """Answer with an error."""
    return saying(error_bytes(status, code, **headers))


def failing_in_chunks(status: int, code: str) -> Mishap:
    """Answer with an error whose body comes in chunks, as S3 sends its longer ones."""
    body = error_bytes(status, code).partition(b"\r\n\r\n")[2]
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:], b""))
    return saying(b"HTTP/1.1 %d Whatever\r\nTransfer-Encoding: chunked\r\n\r\n%s" % (status, chunks))


def breaking_off(sent: int) -> Mishap:
    """Answer well, but end the connection after so many bytes of the body."""

    def mishap(connection: socket.socket, s3: ScriptedS3, request: Asked) -> None:
        head, separator, body = s3.answer(request).partition(b"\r\n\r\n")
        connection.sendall(head + separator + body[:sent])
        connection.shutdown(socket.SHUT_RDWR)

    return mishap


def resetting(connection: socket.socket, _: ScriptedS3, __: Asked) -> None:
    """Reset the connection without an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    raise ConnectionResetError


def forgetting(connection: socket.socket, s3: ScriptedS3, request: Asked) -> None:
    """Do what is asked, and reset the connection instead of saying so."""
    s3.answer(request)
    resetting(connection, s3, request)


def dripping(connection: socket.socket, s3: ScriptedS3, request: Asked) -> None:
    """Answer well, but a byte at a time, and without an end."""
    head, separator, body = s3.answer(request).partition(b"\r\n\r\n")
    connection.sendall(head + separator)
    for byte in body:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def replacing(content: bytes) -> Mishap:
    """Replace the object just before it is asked for."""

    def mishap(connection: socket.socket, s3: ScriptedS3, request: Asked) -> None:
        s3.replace(content)
        connection.sendall(s3.answer(request))

    return mishap


def well(connection: socket.socket, s3: ScriptedS3, request: Asked) -> None:
    """Answer well."""
    connection.sendall(s3.answer(request))


@contextmanager
def scripted(content: bytes) -> Iterator[ScriptedS3]:
    """An S3 with an object, for as long as the context lasts."""
    s3 = ScriptedS3(content)
    try:
        yield s3
    finally:
        s3.close()


@contextmanager
def relaying(endpoint: str) -> Iterator[RelayingS3]:
    """The same in front of another S3."""
    s3 = RelayingS3(endpoint)
    try:
        yield s3
    finally:
        s3.close()


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself: the file with its key, for a server, and the one without, for those who trust it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "scripted")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    server, trusted = folder / "server.pem", folder / "trusted.pem"
    server.write_bytes(private + pem)
    trusted.write_bytes(pem)
    return server, trusted
