"""Direct invoke: no HTTP envelope. ``{"model": name, "inputs": value}``, or the bare inputs of the only model.

Contract: AWS Lambda API Reference, "Invoke"; which events count as direct is this project's own rule. The prediction
itself goes back, and errors are raised, so that Step Functions finds them by ``errorType``.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from gluon_lambda.errors import UnsupportedEvent
from gluon_lambda.event_sources import wire
from gluon_lambda.event_sources.wire import Placement
from gluon_lambda.types import DirectCall, LambdaContext, Response

TITLE = 'direct invoke ({"model": name, "inputs": value})'
RESPONSE_LIMIT_BYTES = wire.LAMBDA_RESPONSE_LIMIT_BYTES

# Each marks an event that some AWS service made: S3, SQS, SNS, Kinesis (Records), HTTP (requestContext), EventBridge
# (detail-type), S3 Batch Operations (tasks), Step Functions' distributed map (Items). None of them is a model's input.
ENVELOPE_KEYS = frozenset({"Records", "requestContext", "detail-type", "tasks", "Items"})


def matches(event: Any) -> bool:
    """Whether the event is a direct invoke: any JSON value that is not the envelope of an AWS service."""
    if not isinstance(event, dict):
        return True
    return ENVELOPE_KEYS.isdisjoint(event) and not ("version" in event and "source" in event)


def to_request(event: Any, _context: LambdaContext, placement: Placement) -> DirectCall:
    """The call in ``event``: addressed, or the bare inputs where there is exactly one model to take them.

    Raises:
        UnsupportedEvent: It does not say which of several models it means.
    """
    call = _addressed(event) or DirectCall(None, event)
    if call.model is None and placement.models != 1:
        raise UnsupportedEvent(
            f"a direct invoke without a model's name is taken where exactly one model is configured, "
            f'and {placement.models} are: send {{"model": name, "inputs": value}}'
        )
    return call


def _addressed(event: Any) -> DirectCall | None:
    if not isinstance(event, dict) or "inputs" not in event:
        return None
    if isinstance(event.get("model"), str):
        return DirectCall(event["model"], event["inputs"])
    return DirectCall(None, event["inputs"]) if set(event) == {"inputs"} else None


def to_response(response: Response, event: Any) -> Any:  # noqa: ARG001 (every event source has the same form)
    """The prediction itself: the JSON value, the text, or ``{"content_type", "base64"}`` for bytes.

    Raises:
        ResponseTooLarge: It is over Lambda's limit.
    """
    return wire.within_limit(_value(response), response, limit=RESPONSE_LIMIT_BYTES, source=TITLE)


def _value(response: Response) -> Any:
    content_type = dict(response.headers).get("content-type", "")
    body, is_base64 = wire.encode_body(response)
    if is_base64:
        return {"content_type": content_type, "base64": body}
    return _parsed(body) if body and "json" in content_type.partition(";")[0] else body


def _parsed(body: str) -> Any:
    """The JSON value in ``body``, or ``body`` itself where a service only says that it is JSON."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return body
    if "\\ud" not in body.lower():
        return value
    # Half of a surrogate pair would end awslambdaric, which sends UTF-8.
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")
