"""Reading HTTP from a socket: what has to be understood, and what has to be refused without taking the server down."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from local_emulator.errors import PortTaken
from local_emulator.front_ends.http_api import refuse
from local_emulator.http_server import HttpRequest, HttpResponse, HttpServer, Service


def echo(request: HttpRequest) -> HttpResponse:
    if request.target == "/fails":
        raise RuntimeError("a fault of ours")
    seen = {
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body": request.body.decode("latin-1"),
    }
    return HttpResponse(
        204 if request.target == "/empty" else 200, (("X-Twice", "a"), ("X-Twice", "b")), json.dumps(seen).encode()
    )


@pytest.fixture
def server() -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, Service(echo, refuse, max_body_bytes=1000, idle_seconds=2.0))
    server.start()
    yield server
    server.stop()


def exchange(server: HttpServer, *parts: bytes, answers: int = 1) -> bytes:
    """Send ``parts`` as they are, and read until the server closes or ``answers`` whole answers have come."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while not _complete(received, answers) and (more := connection.recv(65_536)):
            received += more
    return received


def _complete(received: bytes, answers: int) -> bool:
    for _ in range(answers):
        head, blank, rest = received.partition(b"\r\n\r\n")
        if not blank or b"100 Continue" in head:
            return False
        received = rest[_content_length(head) :]
        if len(rest) < _content_length(head):
            return False
    return True


def _content_length(head: bytes) -> int:
    lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(lines[0].split(b":")[1]) if lines else 0


def body(answer: bytes) -> dict[str, object]:
    loaded = json.loads(answer.rpartition(b"\r\n\r\n")[2])
    assert isinstance(loaded, dict)
    return loaded


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_headers_come_as_they_were_sent(server: HttpServer) -> None:
    answer = exchange(server, b"GET /a%20b?c=%26 HTTP/1.1\r\nHost: h\r\nX-A:1\r\nx-a:  2 \r\nX-Empty:\r\n\r\n")
    assert body(answer)["target"] == "/a%20b?c=%26"
    assert body(answer)["headers"] == [["Host", "h"], ["X-A", "1"], ["x-a", "2"], ["X-Empty", ""]]
    assert answer.count(b"X-Twice: ") == 2


def test_a_body_of_chunks_is_joined(server: HttpServer) -> None:
    chunks = b"4\r\nWiki\r\n6;ext=1\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nX-Trailer: 1\r\n\r\n"
    answer = exchange(server, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", chunks)
    assert body(answer)["body"] == "Wikipedia in \r\n\r\nchunks."


def test_a_connection_answers_one_request_after_another(server: HttpServer) -> None:
    request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n"
    answer = exchange(server, request + b"aa" + request + b"bb", answers=2)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.count(b"Connection: keep-alive") == 2
    assert body(answer)["body"] == "bb"


@pytest.mark.parametrize(
    ("request_line", "connection", "kept"),
    [
        (b"GET / HTTP/1.1", b"", True),
        (b"GET / HTTP/1.1", b"Connection: close\r\n", False),
        (b"GET / HTTP/1.0", b"", False),
        (b"GET / HTTP/1.0", b"Connection: keep-alive\r\n", True),
    ],
)
def test_the_connection_is_kept_as_its_client_wishes(
    server: HttpServer, request_line: bytes, connection: bytes, *, kept: bool
) -> None:
    answer = exchange(server, request_line + b"\r\nHost: h\r\n" + connection + b"\r\n")
    assert (b"Connection: keep-alive" in answer) is kept


def test_head_is_answered_without_a_body_but_with_its_length(server: HttpServer) -> None:
    answer = exchange(server, b"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert _content_length(answer) > 50


def test_no_content_has_neither_body_nor_length(server: HttpServer) -> None:
    answer = exchange(server, b"OPTIONS /empty HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert status(answer) == 204
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in answer


def test_a_client_that_expects_it_is_told_to_continue(server: HttpServer) -> None:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(head)
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert body(connection.recv(65_536))["body"] == "abc"


def test_a_client_whose_body_is_too_large_is_not_told_to_continue(server: HttpServer) -> None:
    answer = exchange(server, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n")
    assert status(answer) == 413


def test_a_body_that_is_too_large_is_refused_and_the_answer_arrives(server: HttpServer) -> None:
    answer = exchange(server, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n", b"x" * 20_000_000)
    assert (status(answer), body(answer)) == (413, {"message": "Request Entity Too Large"})
    assert b"Connection: close" in answer


def test_chunks_that_are_too_large_together_are_refused(server: HttpServer) -> None:
    chunks = b"1F4\r\n" + b"x" * 500 + b"\r\n"
    answer = exchange(server, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", chunks * 3)
    assert status(answer) == 413


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1 more\r\nHost: h\r\n\r\n", 400),
        (b"GET / FTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (b"GET relative HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: many\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", 400),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: x\r\n" * 201 + b"\r\n", 431),
    ],
)
def test_what_is_not_a_request_is_refused_in_json_and_the_server_serves_on(
    server: HttpServer, request_bytes: bytes, expected: int
) -> None:
    answer = exchange(server, request_bytes)
    assert status(answer) == expected
    assert set(body(answer)) == {"message"}
    assert status(exchange(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")) == 200


def test_a_body_that_ends_early_is_refused(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
        connection.shutdown(socket.SHUT_WR)
        assert status(connection.recv(65_536)) == 400


def test_an_absolute_target_is_one_of_this_server(server: HttpServer) -> None:
    assert body(exchange(server, b"GET http://h:1/p?q HTTP/1.1\r\nHost: h\r\n\r\n"))["target"] == "/p?q"
    assert body(exchange(server, b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n"))["target"] == "/"


def test_a_silent_connection_is_closed_after_a_while(server: HttpServer) -> None:
    assert exchange(server, b"GET / HT") == b""


def test_a_fault_of_ours_is_a_500_and_the_connection_serves_on(
    server: HttpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = b"GET /fails HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"
    answer = exchange(server, requests, answers=2)
    assert status(answer) == 500
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert "a fault of ours" in capsys.readouterr().err


def test_a_port_that_is_taken_is_named_with_the_way_out(server: HttpServer) -> None:
    with pytest.raises(PortTaken, match=rf"port {server.port} of 127.0.0.1 is taken.*--port"):
        HttpServer("127.0.0.1", server.port, server.service)


def test_an_address_that_is_not_ours_is_named(server: HttpServer) -> None:
    with pytest.raises(PortTaken, match=r"cannot listen on 203.0.113.1:0.*--host"):
        HttpServer("203.0.113.1", 0, server.service)
