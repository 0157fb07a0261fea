"""The HTTP API front end: a request becomes an event, the event an invocation, its outcome a response."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from http import HTTPStatus

from local_emulator.errors import SandboxClosed
from local_emulator.front_ends.http_api_event import arrival, to_event
from local_emulator.front_ends.http_api_response import (
    MalformedResponse,
    internal_server_error,
    message,
    to_response,
    with_request_id,
)
from local_emulator.http_server import HttpRequest, HttpResponse
from local_emulator.records import MAX_REQUEST_BYTES, Invocation, Outcome

Invoke = Callable[[Invocation], Outcome]


def answer(request: HttpRequest, invoke: Invoke, *, log: Callable[[str], None]) -> HttpResponse:
    """Answer one request of a client.

    Args:
        invoke: The function behind the ``$default`` route.
        log: Takes a line about what API Gateway would not tell the client.
    """
    came = arrival()
    return with_request_id(_answer(to_event(request, came), invoke, log), came.request_id)


def _answer(event: dict[str, object], invoke: Invoke, log: Callable[[str], None]) -> HttpResponse:
    payload = json.dumps(event, ensure_ascii=False).encode()
    if len(payload) > MAX_REQUEST_BYTES:
        log(
            f"The event holds {len(payload)} bytes; Lambda takes {MAX_REQUEST_BYTES} (a binary body counts 4/3 as base64)."
        )
        return refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        return to_response(invoke(Invocation(str(uuid.uuid4()), payload, _trace(event))))
    except MalformedResponse as error:
        log(f"API Gateway answers 500 to what the function returned: {error}.")
        return internal_server_error()
    except SandboxClosed:
        return refuse(HTTPStatus.SERVICE_UNAVAILABLE)


def _trace(event: dict[str, object]) -> str:
    headers = event["headers"]
    return str(headers["x-amzn-trace-id"]) if isinstance(headers, dict) else ""


def refuse(status: HTTPStatus) -> HttpResponse:
    """The answer to a request that does not reach the function."""
    texts = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Request Entity Too Large"}
    return message(status, texts.get(status, status.phrase))
