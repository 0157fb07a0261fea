"""``POST /2018-06-01/runtime/init/error``: INIT failed; the runtime is about to exit."""

from __future__ import annotations

from local_emulator.http_server import HttpRequest, HttpResponse
from local_emulator.runtime_api import replies
from local_emulator.runtime_api.session import RuntimeSession
from local_emulator.runtime_api.states import InvalidStateTransition


def init_error(session: RuntimeSession, request: HttpRequest, request_id: str) -> HttpResponse:  # noqa: ARG001
    """Take the error; its body is what the invocation that waits for this sandbox gets."""
    try:
        session.report_init_error(request.body)
    except InvalidStateTransition as cause:
        return replies.invalid_state(cause)
    return replies.accepted()
