"""Application Load Balancer with a Lambda target, with single-value and with multi-value headers.

Contract: Elastic Load Balancing, Application Load Balancers, "Use Lambda functions as targets of an Application Load
Balancer". The target group's attribute ``lambda.multi_value_headers.enabled`` decides which of ``headers`` and
``multiValueHeaders`` the event has, and the response must have the same one. Health checks are requests like any other.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

from gluon_lambda.event_sources import wire
from gluon_lambda.event_sources.wire import Placement
from gluon_lambda.types import Event, LambdaContext, Pairs, Request, Response

TITLE = "Application Load Balancer"
# "The maximum size of the response JSON that the Lambda function can send is 1 MB."
RESPONSE_LIMIT_BYTES = 1_048_576


def matches(event: Any) -> bool:
    """Whether the event came by a load balancer."""
    return "elb" in wire.section(event, "requestContext")


def to_request(event: Event, context: LambdaContext, placement: Placement) -> Request:
    """The request in ``event``.

    Raises:
        MalformedBody: The body is not what the event says of it.
    """
    return Request(
        method=str(event.get("httpMethod", "GET")).upper(),
        path=wire.request_path(event.get("path"), placement.base_path),
        query=_query(event),
        headers=wire.request_headers(wire.pairs(event, "multiValueHeaders", "headers")),
        body=wire.decode_body(event),
        request_id=context.aws_request_id,
        remaining_ms=context.get_remaining_time_in_millis,
    )


def _query(event: Event) -> Pairs:
    # "If the query parameters are URL-encoded, the load balancer does not decode them."
    encoded = wire.pairs(event, "multiValueQueryStringParameters", "queryStringParameters")
    return tuple((unquote_plus(name), unquote_plus(value)) for name, value in encoded)


def to_response(response: Response, event: Event) -> Event:
    """The response as the load balancer takes it, with the kind of headers that the event had.

    Raises:
        ResponseTooLarge: It is over the load balancer's limit.
    """
    body, is_base64 = wire.encode_body(response)
    answer = {
        "statusCode": response.status,
        "statusDescription": _status_line(response.status),
        **_headers(response.headers, multi_value="multiValueHeaders" in event),
        "body": body,
        "isBase64Encoded": is_base64,
    }
    return wire.within_limit(answer, response, limit=RESPONSE_LIMIT_BYTES, source=TITLE)


def _headers(headers: Pairs, *, multi_value: bool) -> dict[str, dict[str, Any]]:
    groups = wire.grouped(headers)
    if multi_value:
        return {"multiValueHeaders": groups}
    cookies = groups.pop("set-cookie", [])
    joined = {name: ", ".join(values) for name, values in groups.items()}
    return {"headers": joined | {_set_cookie(turn): cookie for turn, cookie in enumerate(cookies)}}


def _set_cookie(turn: int) -> str:
    # Single-value headers are one JSON object, where a name stands once, and commas would garble cookies. Case tells
    # names apart there and nowhere after: the n-th cookie's name has capitals where n has bits (512 before one repeats).
    letters = [letter.upper() if turn >> place & 1 else letter for place, letter in enumerate("setcookie")]
    return "".join([*letters[:3], "-", *letters[3:]])


def _status_line(status: int) -> str:
    from http import HTTPStatus  # lazy: an enum of 60 members that no other event source needs

    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:  # a service may answer with a code of its own
        return f"{status} Unknown"
