"""``GET /2018-06-01/ping``: is the Runtime API there?"""

from __future__ import annotations

from http import HTTPStatus

from local_emulator.http_server import HttpRequest, HttpResponse
from local_emulator.runtime_api.session import RuntimeSession


def ping(session: RuntimeSession, request: HttpRequest, request_id: str) -> HttpResponse:  # noqa: ARG001
    """Answer ``pong``, whatever the state."""
    return HttpResponse(HTTPStatus.OK, (("Content-Type", "text/plain; charset=utf-8"),), b"pong")
