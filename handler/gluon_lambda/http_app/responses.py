"""Prediction → Response, and the headers that every response carries."""

from __future__ import annotations

import re
from typing import NamedTuple

from gluon_lambda.errors import InferenceError
from gluon_lambda.services.json_text import json_bytes
from gluon_lambda.types import Pairs, Prediction, Response

JSON = "application/json"

# mms-1.1 NettyUtils.java sends these with every answer, so that no proxy keeps a prediction.
_UNCACHED: Pairs = (
    ("pragma", "no-cache"),
    ("cache-control", "no-cache; no-store, must-revalidate, private"),
    ("expires", "Thu, 01 Jan 1970 00:00:00 UTC"),
)


_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
# The content type stands first; the others belong to the connection, which is not the function's.
_OURS = frozenset({"content-type", "content-length", "transfer-encoding", "connection"})


class Cors(NamedTuple):
    """Cross-origin sharing as configured; an empty origin switches it off."""

    allow_origin: str = ""
    allow_methods: str = ""
    allow_headers: str = ""


def prediction_response(prediction: Prediction) -> Response:
    """The response for what a service answered: JSON, unless the service answered bytes or text of its own.

    Raises:
        InferenceError: JSON cannot hold the answer, or HTTP its headers.
    """
    body, content_type = _body(prediction)
    if not prediction.headers and not prediction.content_type:
        return Response(prediction.status, (("content-type", content_type),), body)
    own = tuple((name.lower(), value) for name, value in prediction.headers)
    content_type = prediction.content_type or dict(own).get("content-type") or content_type
    rest = tuple(pair for pair in own if pair[0] not in _OURS)
    return Response(prediction.status, _checked((("content-type", content_type), *rest)), body)


def _checked(headers: Pairs) -> Pairs:
    """A service's headers, once it is sure that they end nothing early: RFC 9110, 5.1 and 5.5."""
    for name, value in headers:
        if not _NAME.fullmatch(name) or _NOT_IN_A_VALUE.search(value):
            raise InferenceError(
                f"The service set the header {name[:80]!r} with characters that HTTP does not allow",
                phase="postprocess",
            )
    return headers


def _body(prediction: Prediction) -> tuple[bytes, str]:
    if not prediction.raw:
        return json_bytes(prediction.value), JSON
    if isinstance(prediction.value, str):
        return prediction.value.encode("utf-8", "replace"), "text/plain; charset=utf-8"
    return bytes(prediction.value), "application/octet-stream"


def json_response(value: object) -> Response:
    """``value`` as a JSON response with status 200."""
    return Response(200, (("content-type", JSON),), json_bytes(value))


def options_response(methods: tuple[str, ...], cors: Cors) -> Response:
    """The answer to OPTIONS: what the route takes, and what other origins may do where that is configured."""
    # With a content type, since API Gateway and Mangum make one up where there is none.
    allow = (("content-type", "text/plain; charset=utf-8"), ("allow", ", ".join((*methods, "OPTIONS"))))
    if not cors.allow_origin:
        return Response(204, allow, b"")
    granted = (
        ("access-control-allow-methods", cors.allow_methods),
        ("access-control-allow-headers", cors.allow_headers),
    )
    return Response(200, allow + granted, b"")


def finished(response: Response, cors: Cors, request_id: str) -> Response:
    """The response with the headers that all of them carry; a service's own value of one of them is kept."""
    common = (("x-request-id", request_id), *_UNCACHED, *_cors_headers(cors))
    present = dict(response.headers)
    added = [pair for pair in common if pair[0] not in present]
    return Response(response.status, (*response.headers, *added), response.body)


def _cors_headers(cors: Cors) -> Pairs:
    if not cors.allow_origin:
        return ()
    # Fetch standard: an answer that depends on the origin must say so, or caches mix origins up.
    vary = () if cors.allow_origin == "*" else (("vary", "Origin"),)
    return (("access-control-allow-origin", cors.allow_origin), *vary)
