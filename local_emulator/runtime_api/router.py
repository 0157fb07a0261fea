"""The Runtime API 2018-06-01 on one screen: method, path, endpoint."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus

from local_emulator.http_server import HttpRequest, HttpResponse, HttpServer, Service
from local_emulator.runtime_api import replies
from local_emulator.runtime_api.init_error import init_error
from local_emulator.runtime_api.invocation_error import invocation_error
from local_emulator.runtime_api.invocation_next import invocation_next
from local_emulator.runtime_api.invocation_response import invocation_response
from local_emulator.runtime_api.ping import ping
from local_emulator.runtime_api.session import RuntimeSession

Endpoint = Callable[[RuntimeSession, HttpRequest, str], HttpResponse]

_ID = r"(?P<request_id>[^/]+)"

ROUTES: tuple[tuple[str, re.Pattern[str], Endpoint], ...] = (
    ("GET", re.compile(r"/2018-06-01/ping"), ping),
    ("GET", re.compile(r"/2018-06-01/runtime/invocation/next"), invocation_next),
    ("POST", re.compile(rf"/2018-06-01/runtime/invocation/{_ID}/response"), invocation_response),
    ("POST", re.compile(rf"/2018-06-01/runtime/invocation/{_ID}/error"), invocation_error),
    ("POST", re.compile(r"/2018-06-01/runtime/init/error"), init_error),
)

# A response over Lambda's limit has to be read whole before it can be refused as Lambda refuses it.
_MAX_BODY_BYTES = 1 << 30


def route(session: RuntimeSession, request: HttpRequest) -> HttpResponse:
    """Answer one request of the runtime."""
    path = request.target.partition("?")[0]
    for method, pattern, endpoint in ROUTES:
        if match := pattern.fullmatch(path):
            if method != request.method:
                return replies.method_not_allowed(method)
            return endpoint(session, request, match.groupdict().get("request_id", ""))
    return replies.not_found()


def serve(session: RuntimeSession) -> HttpServer:
    """Serve ``session`` on a free port of 127.0.0.1, until the caller stops it."""
    service = Service(
        answer=lambda request: route(session, request),
        refuse=_refuse,
        max_body_bytes=_MAX_BODY_BYTES,
        idle_seconds=None,
    )
    server = HttpServer("127.0.0.1", 0, service)
    server.start()
    return server


def _refuse(status: HTTPStatus) -> HttpResponse:
    return replies.error(
        status, "TruncatedHTTPRequest" if status == HTTPStatus.BAD_REQUEST else "BadRequest", status.phrase
    )
