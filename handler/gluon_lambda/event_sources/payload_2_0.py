"""Payload format 2.0, which HTTP APIs and Function URLs share.

API Gateway Developer Guide, "Create AWS Lambda proxy integrations for HTTP APIs": repeated headers come joined by
commas, cookies in a list of their own, and the query as the client sent it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from gluon_lambda.event_sources import wire
from gluon_lambda.types import Event, LambdaContext, Pairs, Request, Response


def speaks(event: Any) -> bool:
    """Whether the event is an HTTP request in this format. A Lambda authorizer's event (``routeArn``) is not one."""
    return (
        isinstance(event, dict)
        and event.get("version") == "2.0"
        and isinstance(wire.section(event, "requestContext").get("http"), dict)
        and "routeArn" not in event
    )


def to_request(event: Event, context: LambdaContext, *prefixes: str) -> Request:
    """The request in ``event``; ``prefixes`` are what stands before the path."""
    http = wire.section(wire.section(event, "requestContext"), "http")
    return Request(
        method=str(http.get("method", "GET")).upper(),
        path=wire.request_path(event.get("rawPath"), *prefixes),
        query=_query(wire.text(event, "rawQueryString")),
        headers=wire.request_headers(
            wire.single_values(wire.section(event, "headers")), map(str, wire.listed(event.get("cookies")))
        ),
        body=wire.decode_body(event),
        request_id=context.aws_request_id,
        remaining_ms=context.get_remaining_time_in_millis,
    )


def _query(raw: str) -> Pairs:
    return tuple(parse_qsl(raw, keep_blank_values=True)) if raw else ()


def to_answer(response: Response) -> Event:
    """The response in this format: repeated headers joined by commas, and cookies apart, which commas would garble."""
    groups = wire.grouped(response.headers)
    cookies = groups.pop("set-cookie", [])
    body, is_base64 = wire.encode_body(response)
    answer = {
        "statusCode": response.status,
        "headers": {name: ", ".join(values) for name, values in groups.items()},
        "body": body,
        "isBase64Encoded": is_base64,
    }
    return {**answer, "cookies": cookies} if cookies else answer
