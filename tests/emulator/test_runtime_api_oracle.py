"""The same conversation with our Runtime API and with AWS's own runtime interface emulator: the answers have to be the same."""

from __future__ import annotations

import http.client
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from local_emulator.records import Invocation
from local_emulator.runtime_api.router import serve
from local_emulator.runtime_api.session import Delivery, RuntimeSession
from tests.aws_rie import fetch_rie, free_port, wait_for

pytestmark = pytest.mark.slow

_RUNTIME = "/2018-06-01/runtime"
_NEXT = _RUNTIME + "/invocation/next"
_ID = "{id}"


class Step(NamedTuple):
    """One request of a runtime; ``{id}`` in its path is the current invocation's id."""

    method: str
    path: str
    body: bytes = b""


class Reply(NamedTuple):
    """What can be compared of an answer."""

    status: int
    content_type: str | None
    allow: str | None
    body: bytes


BEFORE = (
    Step("GET", "/2018-06-01/ping"),
    Step("GET", "/"),
    Step("GET", _RUNTIME + "/nothing"),
    Step("POST", _NEXT),
    Step("GET", f"{_RUNTIME}/invocation/x/response"),
    Step("POST", f"{_RUNTIME}/invocation/x/response", b"1"),
    Step("POST", f"{_RUNTIME}/invocation/x/error", b"{}"),
)
ANSWERED = (
    Step("GET", _NEXT),
    Step("GET", _NEXT),
    Step("POST", _RUNTIME + "/init/error", b"{}"),
    Step("POST", f"{_RUNTIME}/invocation/x/response", b"1"),
    Step("POST", f"{_RUNTIME}/invocation/{_ID}/response", b'{"ok": 1}'),
    Step("POST", f"{_RUNTIME}/invocation/{_ID}/response", b'{"ok": 1}'),
    Step("POST", f"{_RUNTIME}/invocation/{_ID}/error", b"{}"),
)
FAILED = (
    Step("GET", _NEXT),
    Step("POST", f"{_RUNTIME}/invocation/{_ID}/error", b'{"errorType": "E"}'),
    Step("POST", f"{_RUNTIME}/invocation/{_ID}/response", b"1"),
)
TOO_LARGE = (
    Step("GET", _NEXT),
    Step("POST", f"{_RUNTIME}/invocation/{_ID}/response", b"x" * 6_291_557),
)
BROKEN = (
    Step("POST", _RUNTIME + "/init/error", b'{"errorType": "E"}'),
    Step("POST", _RUNTIME + "/init/error", b"{}"),
    Step("GET", _NEXT),
)


@pytest.fixture(scope="session")
def rie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetch_rie(tmp_path_factory.mktemp("rie"))


@pytest.fixture
def theirs(rie: Path) -> Iterator[int]:
    """The port of RIE's Runtime API, with an invocation waiting."""
    caller, runtime = free_port(), free_port()
    addresses = [
        "--runtime-interface-emulator-address",
        f"127.0.0.1:{caller}",
        "--runtime-api-address",
        f"127.0.0.1:{runtime}",
    ]
    process = subprocess.Popen([rie, *addresses, "sleep", "30"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(caller)
        threading.Thread(target=_invoke, args=(caller,), daemon=True).start()
        wait_for(runtime)
        time.sleep(0.3)  # until RIE has started its runtime; it does not say when
        yield runtime
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def ours() -> Iterator[int]:
    """The port of our Runtime API, with an invocation that is delivered as soon as the runtime is ready."""
    session = RuntimeSession()
    server = serve(session)
    threading.Thread(target=_deliver, args=(session,), daemon=True).start()
    yield server.port
    session.terminate()
    server.stop()


def _deliver(session: RuntimeSession) -> None:
    if session.wait_until_ready(until=time.monotonic() + 20):
        session.deliver(Delivery(Invocation("id-1", b'{"a":1}', ""), 1, "arn"))


def _invoke(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/2015-03-31/functions/function/invocations", b'{"a":1}')


def converse(port: int, steps: tuple[Step, ...]) -> list[Reply]:
    """Take ``steps`` one after another; an id learnt from ``next`` is put into later paths."""
    replies, request_id = [], ""
    for step in steps:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(step.method, step.path.replace(_ID, request_id), step.body)
        response = connection.getresponse()
        request_id = response.getheader("Lambda-Runtime-Aws-Request-Id") or request_id
        content_type, allow = response.getheader("Content-Type"), response.getheader("Allow")
        replies.append(Reply(response.status, content_type, allow, response.read()))
        connection.close()
    return replies


@pytest.mark.parametrize(
    "steps",
    [BEFORE, ANSWERED, FAILED, TOO_LARGE, BROKEN],
    ids=["before any invocation", "answered", "failed", "too large", "init error"],
)
def test_our_answers_are_those_of_aws(ours: int, theirs: int, steps: tuple[Step, ...]) -> None:
    for step, our, their in zip(steps, converse(ours, steps), converse(theirs, steps), strict=True):
        assert our == their, step[:2]
