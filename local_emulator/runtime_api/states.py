"""The states of a runtime as the Runtime API sees it, and which request may come in which state.

Names and transitions are those of AWS's runtime interface emulator; its error texts name them.
"""

from __future__ import annotations

from enum import Enum


class RuntimeState(Enum):
    """Where a runtime stands between two requests of its own.

    STARTED ──next──> READY ──(invocation)──> RUNNING ──response──> INVOCATION_RESPONSE ──┐
       │                ^                        └──────error──> INVOCATION_ERROR_RESPONSE ─┴─> RESPONSE_SENT
       │                └───────────────────────────────next──────────────────────────────────────────┘
       └──init/error──> INIT_ERROR

    The two response states are passed through at once. TERMINATED is reached from anywhere: the process is gone.
    """

    STARTED = "Started"
    INIT_ERROR = "InitError"
    READY = "Ready"
    RUNNING = "Running"
    INVOCATION_RESPONSE = "InvocationResponse"
    INVOCATION_ERROR_RESPONSE = "InvocationErrorResponse"
    RESPONSE_SENT = "RuntimeResponseSentState"
    TERMINATED = "Terminated"


_ANSWERED = frozenset({RuntimeState.INVOCATION_RESPONSE, RuntimeState.INVOCATION_ERROR_RESPONSE})

# Target state -> the states it may be entered from. A runtime that asks for next while RUNNING stays there and gets its invocation again.
_MAY_FOLLOW: dict[RuntimeState, frozenset[RuntimeState]] = {
    RuntimeState.INIT_ERROR: frozenset({RuntimeState.STARTED}),
    RuntimeState.READY: frozenset({RuntimeState.STARTED, RuntimeState.READY, RuntimeState.RESPONSE_SENT}),
    RuntimeState.INVOCATION_RESPONSE: frozenset({RuntimeState.RUNNING}),
    RuntimeState.INVOCATION_ERROR_RESPONSE: frozenset({RuntimeState.RUNNING}),
    RuntimeState.RESPONSE_SENT: _ANSWERED,
}


class InvalidStateTransition(Exception):
    """Raised when a request of the Runtime API comes in a state that does not allow it; answered with 403."""

    def __init__(self, current: RuntimeState, target: RuntimeState) -> None:
        super().__init__(
            f"State transition from {current.value} to {target.value} failed for runtime. "
            "Error: State transition is not allowed"
        )


def check_transition(current: RuntimeState, target: RuntimeState) -> None:
    """Raise ``InvalidStateTransition`` unless ``target`` may follow ``current``."""
    if current not in _MAY_FOLLOW[target]:
        raise InvalidStateTransition(current, target)
