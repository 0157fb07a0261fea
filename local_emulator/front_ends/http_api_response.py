"""A function's answer -> HTTP response, as an HTTP API makes it from payload format 2.0.

AWS: "Create AWS Lambda proxy integrations for HTTP APIs in API Gateway", "Lambda function response for format 2.0".
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from local_emulator.http_server import HttpResponse, Pairs
from local_emulator.records import Ending, Outcome

_JSON = (("Content-Type", "application/json"),)
# The connection's own: what the function says about them does not reach the client.
_SET_BY_GATEWAY = frozenset({"connection", "content-length", "date", "transfer-encoding", "keep-alive"})


class MalformedResponse(ValueError):
    """Raised when a function returned a ``statusCode`` and something beside it that an HTTP API does not take."""


def message(status: int, text: str) -> HttpResponse:
    """An answer of API Gateway's own."""
    return HttpResponse(status, _JSON, json.dumps({"message": text}, separators=(",", ":")).encode())


def to_response(outcome: Outcome) -> HttpResponse:
    """The response for a function's outcome.

    Raises:
        MalformedResponse: The function's answer cannot be turned into a response; API Gateway says 500 to that.
    """
    if outcome.ending is Ending.TIMEOUT:
        return message(HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable")
    if outcome.ending is not Ending.SUCCESS:
        return internal_server_error()
    return _from_payload(outcome.payload)


def _from_payload(payload: bytes) -> HttpResponse:
    try:
        answer = json.loads(payload)
    except ValueError as error:
        raise MalformedResponse(f"the function's answer is not JSON: {error}") from error
    if isinstance(answer, dict) and "statusCode" in answer:
        return _explicit(answer)
    return HttpResponse(HTTPStatus.OK, _JSON, _encoded(answer) if isinstance(answer, str) else payload)


def internal_server_error() -> HttpResponse:
    """What a client sees of an error in the function."""
    return message(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error")


def _explicit(answer: dict[str, Any]) -> HttpResponse:
    headers = tuple(_headers(answer.get("headers") or {}))
    if answer.get("body") and not any(name.lower() == "content-type" for name, _ in headers):
        headers = (("Content-Type", "text/plain;charset=UTF-8"), *headers)
    cookies = tuple(_cookies(answer.get("cookies") or []))
    return HttpResponse(_status(answer["statusCode"]), headers + cookies, _body(answer))


def _status(value: Any) -> int:
    text = str(value)
    if not re.fullmatch(r"[1-9]\d\d", text) or text < "200":
        raise MalformedResponse(f"statusCode is {value!r}, not a status from 200 to 999")
    return int(text)


def _headers(headers: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(headers, dict):
        raise MalformedResponse(f"headers is a {type(headers).__name__}, not an object")
    for name, value in headers.items():
        if not isinstance(value, str | int | float):
            raise MalformedResponse(f"header {name!r} is a {type(value).__name__}, not a string, number or boolean")
        if name.lower() not in _SET_BY_GATEWAY:
            yield _header(name, json.dumps(value) if not isinstance(value, str) else value)


def _header(name: str, value: str) -> tuple[str, str]:
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name) or re.search(r"[\r\n\0\ud800-\udfff]", value):
        raise MalformedResponse(f"header {name!r} holds a character that HTTP does not allow")
    return name, value


def _cookies(cookies: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(cookies, list) or not all(isinstance(cookie, str) for cookie in cookies):
        raise MalformedResponse("cookies is not a list of strings")
    for cookie in cookies:
        yield _header("Set-Cookie", cookie)


def _body(answer: dict[str, Any]) -> bytes:
    body = answer.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise MalformedResponse(f"body is a {type(body).__name__}, not a string")
    if not answer.get("isBase64Encoded"):
        return _encoded(body)
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise MalformedResponse(f"isBase64Encoded is true and body is not base64: {error}") from error


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise MalformedResponse(f"the body holds half of a surrogate pair: {error}") from error


def with_request_id(response: HttpResponse, request_id: str) -> HttpResponse:
    """``response`` with the header by which API Gateway names the request."""
    own: Pairs = (("Apigw-Requestid", request_id),)
    return response._replace(headers=response.headers + own)
