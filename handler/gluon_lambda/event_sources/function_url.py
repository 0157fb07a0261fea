"""Lambda Function URL: payload format 2.0, without stages.

Contract: AWS Lambda Developer Guide, "Invoking Lambda function URLs", "Request and response payloads".
"""

from __future__ import annotations

from typing import Any

from gluon_lambda.event_sources import payload_2_0, wire
from gluon_lambda.event_sources.wire import Placement
from gluon_lambda.types import Event, LambdaContext, Request, Response

TITLE = "Lambda Function URL"
RESPONSE_LIMIT_BYTES = wire.LAMBDA_RESPONSE_LIMIT_BYTES


def matches(event: Any) -> bool:
    """Whether the event came by a Function URL: ``https://<url-id>.lambda-url.<region>.on.aws``."""
    domain = wire.section(event, "requestContext").get("domainName")
    return payload_2_0.speaks(event) and ".lambda-url." in str(domain)


def to_request(event: Event, context: LambdaContext, placement: Placement) -> Request:
    """The request in ``event``.

    Raises:
        MalformedBody: The body is not what the event says of it.
    """
    return payload_2_0.to_request(event, context, placement.base_path)


def to_response(response: Response, event: Event) -> Event:  # noqa: ARG001 (every event source has the same form)
    """The response as a Function URL takes it.

    Raises:
        ResponseTooLarge: It is over Lambda's limit.
    """
    answer = payload_2_0.to_answer(response)
    return wire.within_limit(answer, response, limit=RESPONSE_LIMIT_BYTES, source=TITLE)
