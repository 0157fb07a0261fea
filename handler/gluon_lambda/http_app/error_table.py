"""Error → HTTP: the one table of statuses, and the one body that every error has.

The body is MMS's (mms-1.1 NettyUtils.java: ``code``, ``type``, ``message``), plus the request id; ``type`` keeps MMS's names.
"""

from __future__ import annotations

from typing import NamedTuple

from gluon_lambda import errors
from gluon_lambda.errors import InferenceError
from gluon_lambda.services.json_text import json_bytes
from gluon_lambda.types import Pairs, Response

_RETRY_AFTER_SECONDS = 30


class Mapped(NamedTuple):
    """What an error becomes: HTTP status, MMS's type name, and whether its text is meant for the client."""

    status: int
    type: str
    public: bool


# Looked up by method resolution order: a class that is not here is answered as its nearest base.
STATUS: dict[type[BaseException], Mapped] = {
    errors.MalformedBody: Mapped(400, "BadRequestException", public=True),
    errors.InputMismatch: Mapped(400, "BadRequestException", public=True),
    errors.RouteNotFound: Mapped(404, "ResourceNotFoundException", public=True),
    errors.ModelNotFound: Mapped(404, "ModelNotFoundException", public=True),
    errors.MethodNotAllowed: Mapped(405, "MethodNotAllowedException", public=True),
    errors.PayloadTooLarge: Mapped(413, "RequestEntityTooLargeException", public=True),
    errors.UnsupportedMediaType: Mapped(415, "UnsupportedMediaTypeException", public=True),
    errors.RequestError: Mapped(400, "BadRequestException", public=True),
    errors.ResponseTooLarge: Mapped(413, "ResponseEntityTooLargeException", public=True),
    errors.DeadlineExceeded: Mapped(504, "RequestTimeoutException", public=True),
    errors.OutOfMemory: Mapped(507, "InternalServerException", public=False),
    errors.InferenceError: Mapped(500, "InternalServerException", public=False),
    errors.ArchiveNotFound: Mapped(404, "ModelNotFoundException", public=False),
    errors.LoadError: Mapped(503, "ServiceUnavailableException", public=False),
    errors.ObjectError: Mapped(500, "InternalServerException", public=True),
    errors.BatchIncomplete: Mapped(503, "ServiceUnavailableException", public=True),
    errors.ConfigurationError: Mapped(500, "InternalServerException", public=False),
    errors.UnsupportedEvent: Mapped(400, "BadRequestException", public=True),
    errors.GluonLambdaError: Mapped(500, "InternalServerException", public=False),
    Exception: Mapped(500, "InternalServerException", public=False),
}


def mapped(error: Exception) -> Mapped:
    """The table's entry for ``error``; the status that a service asked for itself (PredictionException) outranks the table's."""
    entry = next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)
    if isinstance(error, InferenceError) and error.status is not None:
        return entry._replace(status=error.status)
    return entry


def error_response(error: Exception, request_id: str) -> Response:
    """The response for ``error``: what the client did wrong is said, what is internal is left to the log under the request id."""
    entry = mapped(error)
    body = {
        "code": entry.status,
        "type": entry.type,
        "message": str(error) if entry.public or _is_meant_for_clients(error) else _internal(error),
        "requestId": request_id,
        "phase": getattr(error, "phase", None),
    }
    content = json_bytes({name: value for name, value in body.items() if value is not None})
    return Response(entry.status, (("content-type", "application/json"), *_extra_headers(error)), content)


def _is_meant_for_clients(error: Exception) -> bool:
    # A PredictionException's text is what the service's author wrote for the caller.
    return isinstance(error, InferenceError) and error.status is not None


def _internal(error: Exception) -> str:
    what = {
        errors.OutOfMemory: "Out of resources: the function's memory does not suffice for this request",
        errors.InferenceError: "Prediction failed",
        errors.ArchiveNotFound: "The store has no archive of that name",
        errors.LoadError: "The model cannot be loaded",
    }
    said = next((text for cls, text in what.items() if isinstance(error, cls)), "Internal error")
    return f"{said} ({type(error).__name__}); the function's log names the cause under the request id"


def _extra_headers(error: Exception) -> Pairs:
    if isinstance(error, errors.MethodNotAllowed):
        return (("allow", ", ".join(error.allowed)),)
    if isinstance(error, errors.LoadError) and not isinstance(error, errors.ArchiveNotFound):
        return (("retry-after", str(_RETRY_AFTER_SECONDS)),)
    return ()
