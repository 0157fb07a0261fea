"""Lambda's Invoke API, ``POST /2015-03-31/functions/{name}/invocations``: what boto3's ``invoke`` speaks.

AWS: "Invoke". An error in the function is a 200 with ``X-Amz-Function-Error``; only Lambda's own errors have other statuses.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

from local_emulator.errors import SandboxClosed
from local_emulator.front_ends.tracing import trace_id
from local_emulator.function import Function
from local_emulator.http_server import HttpRequest, HttpResponse
from local_emulator.records import MAX_EVENT_BYTES, MAX_REQUEST_BYTES, Ending, Invocation, Outcome
from local_emulator.sandbox.environment import function_arn

_PATH = re.compile(r"/2015-03-31/functions/(?P<name>[^/]+)/invocations")
_QUALIFIERS = ("", "$LATEST")
_LIMITS = {"RequestResponse": MAX_REQUEST_BYTES, "Event": MAX_EVENT_BYTES}

#: Takes an asynchronous invoke, to be run after.
Accept = Callable[[Invocation], None]


class _Refused(Exception):
    """Raised when Lambda itself refuses: status, error code and message."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Name(NamedTuple):
    """A function's name and its qualifier."""

    name: str
    qualifier: str


def matches(request: HttpRequest) -> bool:
    """Whether ``request`` is one of this API rather than of the function's own routes."""
    return _PATH.fullmatch(request.target.partition("?")[0]) is not None


def answer(request: HttpRequest, function: Function, accept: Accept) -> HttpResponse:
    """Answer one Invoke request; ``accept`` takes the asynchronous ones."""
    request_id = str(uuid.uuid4())
    try:
        response = _answer(request, function, accept, request_id)
    except _Refused as refused:
        response = _refusal(refused)
    except SandboxClosed:
        response = _refusal(_Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "ServiceException", "The emulator is ending"))
    return response._replace(headers=(*response.headers, ("x-amzn-RequestId", request_id)))


def _answer(request: HttpRequest, function: Function, accept: Accept, request_id: str) -> HttpResponse:
    if request.method != "POST":
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowedException", "Invoke takes POST")
    _check_function(request, function)
    kind = request.header("X-Amz-Invocation-Type", "RequestResponse")
    if kind == "DryRun":
        return HttpResponse(HTTPStatus.NO_CONTENT)
    if kind not in _LIMITS:
        raise _invalid(f"X-Amz-Invocation-Type {kind!r} is none of RequestResponse, Event and DryRun")
    invocation = _invocation(request, request_id, kind)
    if kind == "Event":
        accept(invocation)
        return HttpResponse(HTTPStatus.ACCEPTED)
    outcome = function.invoke(invocation)
    return HttpResponse(HTTPStatus.OK, tuple(_headers(request, outcome).items()), outcome.payload)


def _check_function(request: HttpRequest, function: Function) -> None:
    path, _, query = request.target.partition("?")
    match = _PATH.fullmatch(path)
    named = _parse_name(unquote(match["name"]) if match else "")
    qualifier = named.qualifier or unquote(
        dict(part.partition("=")[::2] for part in query.split("&")).get("Qualifier", "")
    )
    arn = function_arn(named.name)
    if named.name != function.configuration.name or qualifier not in _QUALIFIERS:
        suffix = f":{qualifier}" if qualifier else ""
        raise _Refused(HTTPStatus.NOT_FOUND, "ResourceNotFoundException", f"Function not found: {arn}{suffix}")


def _parse_name(text: str) -> _Name:
    """Name or ARN, whole or partial (``123456789012:function:name``), each with an optional qualifier."""
    parts = text.rpartition("function:")[2].split(":")
    return _Name(parts[0], parts[1] if len(parts) > 1 else "")


def _invocation(request: HttpRequest, request_id: str, kind: str) -> Invocation:
    event, limit = request.body or b"{}", _LIMITS[kind]
    if len(event) > limit:
        text = f"Request must be smaller than {limit} bytes for the InvokeFunction operation"
        raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "RequestTooLargeException", text)
    _check_json(event)
    context = _client_context(request.header("X-Amz-Client-Context"))
    return Invocation(request_id, event, trace_id(request.header("X-Amzn-Trace-Id")), context)


def _check_json(event: bytes) -> None:
    try:
        json.loads(event)
    except ValueError as error:
        raise _invalid(f"Could not parse request body into json: {error}") from error


def _client_context(encoded: str) -> str:
    try:
        context = base64.b64decode(encoded, validate=True).decode()
        return json.dumps(json.loads(context)) if context else ""
    except (binascii.Error, ValueError) as error:
        raise _invalid(f"Client context must be a valid Base64-encoded JSON object: {error}") from error


def _headers(request: HttpRequest, outcome: Outcome) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "X-Amz-Executed-Version": "$LATEST"}
    if outcome.ending is not Ending.SUCCESS:
        headers["X-Amz-Function-Error"] = "Unhandled"
    if request.header("X-Amz-Log-Type") == "Tail":
        headers["X-Amz-Log-Result"] = base64.b64encode(outcome.log_tail).decode()
    return headers


def _invalid(message: str) -> _Refused:
    return _Refused(HTTPStatus.BAD_REQUEST, "InvalidRequestContentException", message)


def _refusal(refused: _Refused) -> HttpResponse:
    body = json.dumps({"Type": "User", "Message": str(refused)}).encode()
    return HttpResponse(
        refused.status, (("Content-Type", "application/json"), ("x-amzn-ErrorType", refused.code)), body
    )
