"""``GET /2018-06-01/runtime/invocation/next``: the runtime is ready, and waits here for its next invocation."""

from __future__ import annotations

from http import HTTPStatus

from local_emulator.http_server import HttpRequest, HttpResponse
from local_emulator.runtime_api import replies
from local_emulator.runtime_api.session import Delivery, RuntimeSession
from local_emulator.runtime_api.states import InvalidStateTransition


def invocation_next(session: RuntimeSession, request: HttpRequest, request_id: str) -> HttpResponse:  # noqa: ARG001
    """Answer with the invocation's event and its headers, as soon as there is one (AWS: "Runtime API, Next invocation")."""
    try:
        delivery = session.next_delivery()
    except InvalidStateTransition as cause:
        return replies.invalid_state(cause)
    if delivery is None:
        return replies.error(HTTPStatus.GONE, "RuntimeTerminated", "The sandbox is being shut down")
    return HttpResponse(HTTPStatus.OK, _headers(delivery), delivery.invocation.event)


def _headers(delivery: Delivery) -> tuple[tuple[str, str], ...]:
    invocation = delivery.invocation
    headers = (
        ("Content-Type", "application/json"),
        ("Lambda-Runtime-Aws-Request-Id", invocation.request_id),
        ("Lambda-Runtime-Deadline-Ms", str(delivery.deadline_ms)),
        ("Lambda-Runtime-Invoked-Function-Arn", delivery.function_arn),
        ("Lambda-Runtime-Trace-Id", invocation.trace_id),
        ("Lambda-Runtime-Client-Context", invocation.client_context),
    )
    return tuple((name, value) for name, value in headers if value)
