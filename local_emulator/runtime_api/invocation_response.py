"""``POST /2018-06-01/runtime/invocation/{id}/response``: the function returned."""

from __future__ import annotations

from http import HTTPStatus

from local_emulator.http_server import HttpRequest, HttpResponse
from local_emulator.records import MAX_RESPONSE_BYTES
from local_emulator.runtime_api import replies
from local_emulator.runtime_api.session import Answer, InvalidRequestId, RuntimeSession
from local_emulator.runtime_api.states import InvalidStateTransition, RuntimeState

_MODE_HEADER = "Lambda-Runtime-Function-Response-Mode"


def invocation_response(session: RuntimeSession, request: HttpRequest, request_id: str) -> HttpResponse:
    """Take the response; one over the limit is refused with 413, and the caller learns that it was too large."""
    if request.header(_MODE_HEADER, "streaming").lower() != "streaming":
        return replies.error(HTTPStatus.BAD_REQUEST, "InvalidFunctionResponseMode", "Invalid function response mode")
    too_large = len(request.body) > MAX_RESPONSE_BYTES
    answer = Answer(RuntimeState.INVOCATION_RESPONSE, b"" if too_large else request.body, too_large)
    try:
        session.report(request_id, answer)
    except InvalidRequestId:
        return replies.invalid_request_id()
    except InvalidStateTransition as cause:
        return replies.invalid_state(cause)
    return _response_too_large() if too_large else replies.accepted()


def _response_too_large() -> HttpResponse:
    message = f"Exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
    return replies.error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "RequestEntityTooLarge", message)
