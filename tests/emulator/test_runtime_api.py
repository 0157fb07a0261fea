"""The Runtime API's endpoints, asked as a runtime asks them: statuses and bodies of AWS's runtime interface emulator."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from local_emulator.records import Invocation
from local_emulator.runtime_api.router import serve
from local_emulator.runtime_api.session import Answer, Delivery, RuntimeSession
from local_emulator.runtime_api.states import RuntimeState

NEXT = "/2018-06-01/runtime/invocation/next"
INIT_ERROR = "/2018-06-01/runtime/init/error"
DELIVERY = Delivery(
    Invocation("id-1", b'{"a": 1}', "Root=1-2-3", '{"custom": {}}'), 1_700_000_000_000, "arn:aws:lambda:x"
)


class Api(NamedTuple):
    """A served session."""

    session: RuntimeSession
    port: int

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def answer(self, kind: str, body: bytes = b"{}", request_id: str = "id-1", **headers: str) -> tuple[int, Any]:
        path = f"/2018-06-01/runtime/invocation/{request_id}/{kind}"
        status, _, reply = self.ask("POST", path, body, **headers)
        return status, json.loads(reply)


@pytest.fixture
def api() -> Iterator[Api]:
    session = RuntimeSession()
    server = serve(session)
    yield Api(session, server.port)
    session.terminate()
    server.stop()


@pytest.fixture
def running_api(api: Api) -> Api:
    """A runtime that has taken its invocation and has not answered it."""
    threading.Thread(target=api.ask, args=("GET", NEXT), daemon=True).start()
    assert api.session.wait_until_ready(until=time.monotonic() + 5)
    api.session.deliver(DELIVERY)
    return api


def test_next_waits_for_an_invocation_and_names_it_in_headers(api: Api) -> None:
    answers: list[tuple[int, dict[str, str], bytes]] = []
    runtime = threading.Thread(target=lambda: answers.append(api.ask("GET", NEXT)))
    runtime.start()
    assert api.session.wait_until_ready(until=time.monotonic() + 5)
    assert not answers
    api.session.deliver(DELIVERY)
    runtime.join(5)
    status, headers, body = answers[0]
    assert (status, body) == (200, b'{"a": 1}')
    assert headers["Lambda-Runtime-Aws-Request-Id"] == "id-1"
    assert headers["Lambda-Runtime-Deadline-Ms"] == "1700000000000"
    assert headers["Lambda-Runtime-Invoked-Function-Arn"] == "arn:aws:lambda:x"
    assert headers["Lambda-Runtime-Trace-Id"] == "Root=1-2-3"
    assert headers["Lambda-Runtime-Client-Context"] == '{"custom": {}}'
    assert headers["Content-Type"] == "application/json"


def test_next_while_running_delivers_the_same_invocation_again(running_api: Api) -> None:
    status, headers, _ = running_api.ask("GET", NEXT)
    assert (status, headers["Lambda-Runtime-Aws-Request-Id"]) == (200, "id-1")


def test_a_response_is_accepted_once(running_api: Api) -> None:
    assert running_api.answer("response", b'{"ok": 1}') == (202, {"status": "OK"})
    answer = running_api.session.wait_for_answer(until=time.monotonic())
    assert answer is not None
    assert (answer.state, answer.body) == (RuntimeState.INVOCATION_RESPONSE, b'{"ok": 1}')
    status, reply = running_api.answer("response", b'{"ok": 2}')
    assert status == 403
    assert reply == {
        "errorMessage": "State transition from RuntimeResponseSentState to InvocationResponse failed for runtime. "
        "Error: State transition is not allowed",
        "errorType": "InvalidStateTransition",
    }
    assert running_api.answer("error")[0] == 403
    assert running_api.session.wait_for_answer(until=time.monotonic()) == answer


def test_an_answer_is_found_even_if_the_runtime_has_moved_on(running_api: Api) -> None:
    assert running_api.answer("response", b"1")[0] == 202
    threading.Thread(target=running_api.ask, args=("GET", NEXT), daemon=True).start()
    assert running_api.session.wait_until_ready(until=time.monotonic() + 5)
    began = time.monotonic()
    assert running_api.session.wait_for_answer(until=began + 5) == Answer(RuntimeState.INVOCATION_RESPONSE, b"1")
    assert time.monotonic() - began < 2


def test_an_error_is_accepted_once(running_api: Api) -> None:
    assert running_api.answer("error", b'{"errorType": "E"}') == (202, {"status": "OK"})
    answer = running_api.session.wait_for_answer(until=time.monotonic())
    assert answer is not None
    assert (answer.state, answer.body) == (RuntimeState.INVOCATION_ERROR_RESPONSE, b'{"errorType": "E"}')
    assert running_api.answer("response")[0] == 403


@pytest.mark.parametrize("kind", ["response", "error"])
def test_a_wrong_id_is_refused_and_the_invocation_stays_open(running_api: Api, kind: str) -> None:
    assert running_api.answer(kind, request_id="another") == (
        400,
        {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"},
    )
    assert running_api.session.state is RuntimeState.RUNNING
    assert running_api.answer(kind)[0] == 202


def test_an_answer_before_any_invocation_is_a_wrong_id(api: Api) -> None:
    assert api.answer("response")[0] == 400


def test_an_unknown_response_mode_is_refused_and_changes_nothing(running_api: Api) -> None:
    status, reply = running_api.answer("response", Lambda_Runtime_Function_Response_Mode="torrent")
    assert (status, reply["errorType"]) == (400, "InvalidFunctionResponseMode")
    assert running_api.answer("response", Lambda_Runtime_Function_Response_Mode="streaming")[0] == 202


def test_a_response_over_the_limit_is_refused_with_its_size(running_api: Api) -> None:
    assert running_api.answer("response", b"x" * 6_291_557) == (
        413,
        {
            "errorMessage": "Exceeded maximum allowed payload size (6291556 bytes).",
            "errorType": "RequestEntityTooLarge",
        },
    )
    answer = running_api.session.wait_for_answer(until=time.monotonic())
    assert answer is not None
    assert answer.too_large


def test_a_response_at_the_limit_is_accepted(running_api: Api) -> None:
    assert running_api.answer("response", b"x" * 6_291_556)[0] == 202


def test_an_init_error_is_accepted_and_ends_the_conversation(api: Api) -> None:
    assert api.ask("POST", INIT_ERROR, b'{"errorType": "E"}')[0] == 202
    assert api.session.state is RuntimeState.INIT_ERROR
    assert api.ask("POST", INIT_ERROR, b"{}")[0] == 403
    status, _, reply = api.ask("GET", NEXT)
    assert status == 403
    assert json.loads(reply)["errorMessage"].startswith("State transition from InitError to Ready failed")


def test_an_init_error_after_init_is_refused(running_api: Api) -> None:
    status, _, reply = running_api.ask("POST", INIT_ERROR, b"{}")
    assert status == 403
    assert json.loads(reply)["errorMessage"].startswith("State transition from Running to InitError failed")


def test_next_ends_when_the_process_is_gone(api: Api) -> None:
    answers: list[tuple[int, dict[str, str], bytes]] = []
    runtime = threading.Thread(target=lambda: answers.append(api.ask("GET", NEXT)))
    runtime.start()
    assert api.session.wait_until_ready(until=time.monotonic() + 5)
    api.session.terminate()
    runtime.join(5)
    assert answers[0][0] == 410


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("GET", "/2018-06-01/runtime/invocation", 404, None),
        ("GET", "/2018-06-01/runtime/invocation/a/b/response", 404, None),
        ("POST", NEXT, 405, "GET"),
        ("GET", "/2018-06-01/runtime/invocation/id-1/response", 405, "POST"),
    ],
)
def test_unknown_paths_and_methods_are_refused(
    api: Api, method: str, path: str, status: int, allow: str | None
) -> None:
    answered, headers, _ = api.ask(method, path)
    assert (answered, headers.get("Allow")) == (status, allow)


def test_ping_answers_in_any_state(api: Api) -> None:
    assert api.ask("GET", "/2018-06-01/ping")[::2] == (200, b"pong")
