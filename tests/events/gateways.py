"""What each AWS service makes of one and the same HTTP request, on the frame of its golden event."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

Event = dict[str, Any]
Pairs = tuple[tuple[str, str], ...]


class Sent(NamedTuple):
    """An HTTP request as a client sends it; path and query not yet percent-encoded."""

    method: str = "POST"
    path: str = "/digits/predict"
    query: Pairs = ()
    headers: Pairs = (("Content-Type", "image/png"),)
    cookies: tuple[str, ...] = ()
    body: bytes | None = b""


def golden(name: str) -> Event:
    """The golden event ``name``."""
    event: Event = json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
    return event


def rest_api(sent: Sent) -> Event:
    """REST API: multi-value sections beside the single-value ones, nulls for what is empty, path encoded, stage not in it."""
    event = golden("rest_api") | _payload_1_0(sent) | {"path": quote(sent.path)}
    event["requestContext"] |= {"stage": "prod", "path": f"/prod{event['path']}"}
    return event


def http_api_1_0(sent: Sent) -> Event:
    """HTTP API, payload 1.0: as a REST API, with the path decoded."""
    return golden("http_api_1_0") | _payload_1_0(sent) | {"path": sent.path}


def http_api_1_0_on_stage(sent: Sent) -> Event:
    """HTTP API, payload 1.0, on a named stage: the path starts with it."""
    return _on_stage(http_api_1_0(sent), "path")


def http_api_2_0(sent: Sent) -> Event:
    """HTTP API, payload 2.0: path decoded, query as it came, cookies apart."""
    event = golden("http_api_2_0") | _payload_2_0(sent) | {"rawPath": sent.path}
    event["requestContext"]["http"]["method"] = sent.method
    return event


def http_api_2_0_on_stage(sent: Sent) -> Event:
    """HTTP API, payload 2.0, on a named stage: ``rawPath`` starts with it."""
    return _on_stage(http_api_2_0(sent), "rawPath")


def function_url(sent: Sent) -> Event:
    """Function URL: as an HTTP API with payload 2.0, but the path encoded."""
    event = golden("function_url") | _payload_2_0(sent) | {"rawPath": quote(sent.path)}
    event["requestContext"]["http"]["method"] = sent.method
    return event


def alb(sent: Sent) -> Event:
    """Load balancer, single-value: the last value of each name, path and query encoded, cookies in one header."""
    return golden("alb") | {
        "httpMethod": sent.method,
        "path": quote(sent.path),
        "queryStringParameters": {quote_plus(name): quote_plus(value) for name, value in sent.query},
        "headers": dict(_lower(sent)),
        **_body(sent, empty=""),
    }


def alb_multi_value(sent: Sent) -> Event:
    """Load balancer, multi-value: path and query encoded."""
    return golden("alb_multi_value") | {
        "httpMethod": sent.method,
        "path": quote(sent.path),
        "multiValueQueryStringParameters": _listed(
            tuple((quote_plus(name), quote_plus(value)) for name, value in sent.query)
        ),
        "multiValueHeaders": _listed(_lower(sent)),
        **_body(sent, empty=""),
    }


GATEWAYS: dict[str, Callable[[Sent], Event]] = {
    made.__name__: made
    for made in (
        rest_api,
        http_api_1_0,
        http_api_1_0_on_stage,
        http_api_2_0,
        http_api_2_0_on_stage,
        function_url,
        alb,
        alb_multi_value,
    )
}


def _payload_1_0(sent: Sent) -> Event:
    headers = (*sent.headers, *(("Cookie", "; ".join(sent.cookies)) for _ in sent.cookies[:1]))
    return {
        "httpMethod": sent.method,
        "headers": dict(headers) or None,
        "multiValueHeaders": _listed(headers) or None,
        "queryStringParameters": dict(sent.query) or None,
        "multiValueQueryStringParameters": _listed(sent.query) or None,
        **_body(sent, empty=None),
    }


def _payload_2_0(sent: Sent) -> Event:
    headers = _listed(tuple((name.lower(), value) for name, value in sent.headers))
    return {
        "rawQueryString": "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in sent.query),
        "headers": {name: ",".join(values) for name, values in headers.items()},
        "cookies": list(sent.cookies),
        **_body(sent, empty=None),
    }


def _on_stage(event: Event, path: str) -> Event:
    event["requestContext"]["stage"] = "prod"
    return event | {path: f"/prod{event[path]}"}


def _lower(sent: Sent) -> Pairs:
    headers = tuple((name.lower(), value) for name, value in sent.headers)
    return (*headers, ("cookie", "; ".join(sent.cookies))) if sent.cookies else headers


def _listed(pairs: Pairs) -> dict[str, list[str]]:
    return {name: [value for other, value in pairs if other == name] for name, _ in pairs}


def _body(sent: Sent, *, empty: str | None) -> Event:
    if not sent.body:
        return {"body": empty, "isBase64Encoded": False}
    content_type = dict((name.lower(), value) for name, value in sent.headers).get("content-type", "")
    if content_type.startswith(("text/", "application/json")):
        return {"body": sent.body.decode(), "isBase64Encoded": False}
    return {"body": b64encode(sent.body).decode(), "isBase64Encoded": True}
