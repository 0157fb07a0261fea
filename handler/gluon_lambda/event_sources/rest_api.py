"""API Gateway REST API, and HTTP API with payload format 1.0.

Contract: API Gateway Developer Guide, "Lambda proxy integrations in API Gateway" and, for the HTTP API, "Create AWS
Lambda proxy integrations for HTTP APIs in API Gateway". Query names and values come decoded.
"""

from __future__ import annotations

from typing import Any

from gluon_lambda.event_sources import wire
from gluon_lambda.event_sources.wire import Placement
from gluon_lambda.types import Event, LambdaContext, Request, Response

TITLE = "API Gateway REST API (payload 1.0)"
RESPONSE_LIMIT_BYTES = wire.LAMBDA_RESPONSE_LIMIT_BYTES


def matches(event: Any) -> bool:
    """Whether the event is an HTTP request in payload format 1.0.

    A load balancer's says ``elb``, and a Lambda authorizer's names a ``methodArn``: neither is one.
    """
    context = wire.section(event, "requestContext")
    return bool(context) and "httpMethod" in event and "elb" not in context and "methodArn" not in event


def to_request(event: Event, context: LambdaContext, placement: Placement) -> Request:
    """The request in ``event``. Only an HTTP API (it says ``version``) puts the stage's name before the path.

    Raises:
        MalformedBody: The body is not what the event says of it.
    """
    stage = str(wire.section(event, "requestContext").get("stage", "")) if "version" in event else ""
    return Request(
        method=str(event["httpMethod"]).upper(),
        path=wire.request_path(event.get("path"), stage, placement.base_path),
        query=wire.pairs(event, "multiValueQueryStringParameters", "queryStringParameters"),
        headers=wire.request_headers(wire.pairs(event, "multiValueHeaders", "headers")),
        body=wire.decode_body(event),
        request_id=context.aws_request_id,
        remaining_ms=context.get_remaining_time_in_millis,
    )


def to_response(response: Response, event: Event) -> Event:  # noqa: ARG001 (every event source has the same form)
    """The response as API Gateway takes it, which merges ``headers`` and ``multiValueHeaders``.

    Raises:
        ResponseTooLarge: It is over Lambda's limit.
    """
    groups = wire.grouped(response.headers)
    body, is_base64 = wire.encode_body(response)
    answer = {
        "statusCode": response.status,
        "headers": {name: values[0] for name, values in groups.items() if len(values) == 1},
        "multiValueHeaders": {name: values for name, values in groups.items() if len(values) > 1},
        "body": body,
        "isBase64Encoded": is_base64,
    }
    return wire.within_limit(answer, response, limit=RESPONSE_LIMIT_BYTES, source=TITLE)
