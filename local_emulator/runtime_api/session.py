"""What passes between one runtime process and its sandbox: one invocation at a time, and the state both wait on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from local_emulator.records import Invocation
from local_emulator.runtime_api.states import RuntimeState, check_transition


class InvalidRequestId(Exception):
    """Raised when a runtime answers an invocation that is not the current one; answered with 400."""


class Delivery(NamedTuple):
    """An invocation as ``next`` delivers it: with its deadline (epoch, ms) and the function's ARN."""

    invocation: Invocation
    deadline_ms: int
    function_arn: str


class Answer(NamedTuple):
    """What the runtime reported.

    Attributes:
        state: INVOCATION_RESPONSE, INVOCATION_ERROR_RESPONSE or INIT_ERROR: which kind of report it was.
        body: Bytes, as they came.
        too_large: The response was over Lambda's limit and its body was thrown away.
    """

    state: RuntimeState
    body: bytes
    too_large: bool = False


class RuntimeSession:
    """The conversation with one runtime process.

    The endpoints call ``next_delivery`` and ``report`` from the server's threads; the sandbox calls ``deliver``, ``wait_until_ready``,
    ``wait_for_answer`` and ``terminate``. Every change is validated before it is made, so a refused request changes nothing.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._state = RuntimeState.STARTED
        self._delivery: Delivery | None = None
        self._answer: Answer | None = None

    @property
    def state(self) -> RuntimeState:
        """Where the runtime stands now."""
        return self._state

    def next_delivery(self) -> Delivery | None:
        """Wait for an invocation; None once the process is gone.

        Raises:
            InvalidStateTransition: The runtime has reported an init error.
        """
        with self._changed:
            if self._state is not RuntimeState.RUNNING:
                self._enter(RuntimeState.READY)
                self._changed.wait_for(lambda: self._state is not RuntimeState.READY)
            return self._delivery if self._state is RuntimeState.RUNNING else None

    def report(self, request_id: str, answer: Answer) -> None:
        """Take the current invocation's response or error.

        Raises:
            InvalidRequestId: ``request_id`` is not the current invocation's.
            InvalidStateTransition: It has been answered already.
        """
        with self._changed:
            if self._delivery is None or self._delivery.invocation.request_id != request_id:
                raise InvalidRequestId
            self._take(answer)
            self._enter(RuntimeState.RESPONSE_SENT)

    def report_init_error(self, body: bytes) -> None:
        """Take the error that ended INIT.

        Raises:
            InvalidStateTransition: INIT is over.
        """
        with self._changed:
            self._take(Answer(RuntimeState.INIT_ERROR, body))

    def deliver(self, delivery: Delivery) -> None:
        """Hand an invocation to the runtime, which is READY, or gone: then ``wait_for_answer`` says so."""
        with self._changed:
            self._delivery, self._answer = delivery, None
            if self._state is RuntimeState.READY:
                self._state = RuntimeState.RUNNING
                self._changed.notify_all()

    def wait_until_ready(self, *, until: float) -> bool:
        """Wait until the runtime asks for an invocation; False where INIT fails, the process ends or ``until`` (monotonic) passes."""
        ended = (RuntimeState.READY, RuntimeState.INIT_ERROR, RuntimeState.TERMINATED)
        self._wait(lambda: self._state in ended, until)
        return self._state is RuntimeState.READY

    def wait_for_answer(self, *, until: float) -> Answer | None:
        """Wait for the runtime's report; None where the process ends or ``until`` (monotonic) passes without one."""
        # The answer, not the state: the runtime may have asked for its next invocation before this thread wakes.
        self._wait(lambda: self._answer is not None or self._state is RuntimeState.TERMINATED, until)
        return self._answer

    def terminate(self) -> None:
        """Note that the process is gone. What it reported before stays readable."""
        with self._changed:
            self._state = RuntimeState.TERMINATED
            self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool], until: float) -> None:
        with self._changed:
            self._changed.wait_for(condition, max(0.0, until - time.monotonic()))

    def _take(self, answer: Answer) -> None:
        self._enter(answer.state)
        self._answer = answer

    def _enter(self, target: RuntimeState) -> None:
        check_transition(self._state, target)
        self._state = target
        self._changed.notify_all()
