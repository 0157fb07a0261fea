"""``POST /2018-06-01/runtime/invocation/{id}/error``: the function raised."""

from __future__ import annotations

from local_emulator.http_server import HttpRequest, HttpResponse
from local_emulator.runtime_api import replies
from local_emulator.runtime_api.session import Answer, InvalidRequestId, RuntimeSession
from local_emulator.runtime_api.states import InvalidStateTransition, RuntimeState


def invocation_error(session: RuntimeSession, request: HttpRequest, request_id: str) -> HttpResponse:
    """Take the error; its body goes to the caller as it is."""
    try:
        session.report(request_id, Answer(RuntimeState.INVOCATION_ERROR_RESPONSE, request.body))
    except InvalidRequestId:
        return replies.invalid_request_id()
    except InvalidStateTransition as cause:
        return replies.invalid_state(cause)
    return replies.accepted()
