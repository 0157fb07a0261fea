"""HTTP request -> HTTP API event, payload format 2.0, as API Gateway makes it.

AWS: "Create AWS Lambda proxy integrations for HTTP APIs in API Gateway". What that page leaves open is as live events show it: the path
is percent-decoded, the query is not; the cookies are taken out of the headers; a body is text only where its content type says so.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from local_emulator.front_ends.tracing import trace_id
from local_emulator.http_server import HttpRequest, Pairs
from local_emulator.sandbox.environment import ACCOUNT

# RFC 9110, 7.6.1: about this connection, not about the request. Expect was answered here; the length is set anew.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "content-length",
    }
)
_TEXT_TYPES = frozenset({"application/json", "application/javascript", "application/xml"})


class Arrival(NamedTuple):
    """When a request came in, and as which one.

    Attributes:
        request_id: API Gateway's id of the request, not Lambda's.
        epoch_ms: Milliseconds since 1970.
    """

    request_id: str
    epoch_ms: int


def arrival() -> Arrival:
    """A request comes in now: a fresh id in API Gateway's form, and the time."""
    return Arrival(base64.b64encode(secrets.token_bytes(11)).decode(), time.time_ns() // 1_000_000)


def to_event(request: HttpRequest, came: Arrival) -> dict[str, Any]:
    """The event for ``request``, on the ``$default`` route and stage."""
    path, _, query = request.target.partition("#")[0].partition("?")
    headers = _headers(request)
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": unquote(path),
        "rawQueryString": query,
        **_optional("cookies", _cookies(request.headers)),
        "headers": headers,
        **_optional("queryStringParameters", _joined(parse_qsl(query, keep_blank_values=True))),
        "requestContext": _context(request, came, unquote(path), headers),
        **_body(request),
    }


def _headers(request: HttpRequest) -> dict[str, str]:
    kept = [(name.lower(), value) for name, value in request.headers if name.lower() not in _HOP_BY_HOP | {"cookie"}]
    headers = _joined(kept)
    forwarded = [*filter(None, [headers.get("x-forwarded-for")]), request.client]
    return dict(
        sorted(
            {
                **headers,
                "content-length": str(len(request.body)),
                "x-amzn-trace-id": trace_id(headers.get("x-amzn-trace-id", "")),
                "x-forwarded-for": ", ".join(forwarded),
                "x-forwarded-port": str(request.port),
                "x-forwarded-proto": "http",
            }.items()
        )
    )


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _cookies(headers: Pairs) -> list[str]:
    return list(_each_cookie(value for name, value in headers if name.lower() == "cookie"))


def _each_cookie(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield from (cookie.strip() for cookie in value.split(";") if cookie.strip())


def _context(request: HttpRequest, came: Arrival, path: str, headers: dict[str, str]) -> dict[str, Any]:
    domain = _without_port(headers.get("host", "localhost"))
    return {
        "accountId": ACCOUNT,
        "apiId": "local",
        "domainName": domain,
        "domainPrefix": domain.partition(".")[0],
        "http": {
            "method": request.method,
            "path": path,
            "protocol": request.protocol,
            "sourceIp": request.client,
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": came.request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(came.epoch_ms / 1000)),
        "timeEpoch": came.epoch_ms,
    }


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _body(request: HttpRequest) -> dict[str, Any]:
    if not request.body:
        return {"isBase64Encoded": False}
    text = _text(request)
    if text is None:
        return {"body": base64.b64encode(request.body).decode(), "isBase64Encoded": True}
    return {"body": text, "isBase64Encoded": False}


def _text(request: HttpRequest) -> str | None:
    """The body as text, or None where it has to travel as base64."""
    media_type = request.header("content-type").partition(";")[0].strip().lower()
    is_text = media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith(("+json", "+xml"))
    if not is_text or request.header("content-encoding"):
        return None
    try:
        return request.body.decode()
    except UnicodeDecodeError:
        return None


def _optional(name: str, value: list[str] | dict[str, str]) -> dict[str, Any]:
    return {name: value} if value else {}
