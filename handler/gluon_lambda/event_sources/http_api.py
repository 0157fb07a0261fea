"""API Gateway HTTP API, payload format 2.0.

Contract: API Gateway Developer Guide, "Create AWS Lambda proxy integrations for HTTP APIs in API Gateway".
"""

from __future__ import annotations

from typing import Any

from gluon_lambda.event_sources import payload_2_0, wire
from gluon_lambda.event_sources.wire import Placement
from gluon_lambda.types import Event, LambdaContext, Request, Response

TITLE = "API Gateway HTTP API (payload 2.0)"
RESPONSE_LIMIT_BYTES = wire.LAMBDA_RESPONSE_LIMIT_BYTES


def matches(event: Any) -> bool:
    """Whether the event came by an HTTP API in payload format 2.0 (or by whatever else speaks that format)."""
    return payload_2_0.speaks(event)


def to_request(event: Event, context: LambdaContext, placement: Placement) -> Request:
    """The request in ``event``. ``rawPath`` starts with the stage's name, unless that is ``$default``.

    Raises:
        MalformedBody: The body is not what the event says of it.
    """
    stage = str(wire.section(event, "requestContext").get("stage", ""))
    return payload_2_0.to_request(event, context, stage, placement.base_path)


def to_response(response: Response, event: Event) -> Event:  # noqa: ARG001 (every event source has the same form)
    """The response as an HTTP API takes it.

    Raises:
        ResponseTooLarge: It is over Lambda's limit.
    """
    answer = payload_2_0.to_answer(response)
    return wire.within_limit(answer, response, limit=RESPONSE_LIMIT_BYTES, source=TITLE)
