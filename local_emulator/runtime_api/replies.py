"""The bodies that Runtime API endpoints answer with: byte for byte those of AWS's runtime interface emulator."""

from __future__ import annotations

import json
from http import HTTPStatus

from local_emulator.http_server import HttpResponse

_JSON = (("Content-Type", "application/json"),)


def accepted() -> HttpResponse:
    """202: the runtime's report was taken."""
    return HttpResponse(HTTPStatus.ACCEPTED, _JSON, b'{"status":"OK"}\n')


def error(status: HTTPStatus, error_type: str, message: str) -> HttpResponse:
    """An error body of the Runtime API."""
    body = json.dumps({"errorMessage": message, "errorType": error_type}, separators=(",", ":"))
    return HttpResponse(status, _JSON, body.encode() + b"\n")


def invalid_state(cause: Exception) -> HttpResponse:
    """403: the request does not fit the runtime's state."""
    return error(HTTPStatus.FORBIDDEN, "InvalidStateTransition", str(cause))


def invalid_request_id() -> HttpResponse:
    """400: not the current invocation's id."""
    return error(HTTPStatus.BAD_REQUEST, "InvalidRequestID", "Invalid request ID")


def not_found() -> HttpResponse:
    """404: no such path."""
    return HttpResponse(HTTPStatus.NOT_FOUND, (("Content-Type", "text/plain; charset=utf-8"),), b"404 page not found\n")


def method_not_allowed(allowed: str) -> HttpResponse:
    """405: the path takes another method."""
    return HttpResponse(HTTPStatus.METHOD_NOT_ALLOWED, (("Allow", allowed),))
