"""Answers where INIT ran out of time: the first invocation waits for the models that are still being loaded.

Lambda ends INIT after 10 s and begins it anew inside the first invocation, all of it; what is handed over here goes on where it was.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from threading import Timer
from typing import TYPE_CHECKING, Any

from gluon_lambda.errors import DeadlineExceeded, GluonLambdaError, LoadError
from gluon_lambda.services.models import Models, UnavailableModels
from gluon_lambda.telemetry.logs import log_printed

if TYPE_CHECKING:
    from gluon_lambda.invocation import Handler
    from gluon_lambda.pending import Pending
    from gluon_lambda.telemetry.logs import InvocationState
    from gluon_lambda.telemetry.output import Output
    from gluon_lambda.types import LambdaContext

_LOGGER = logging.getLogger("gluon_lambda.bootstrap")
# What is left of the invocation for saying that the models are not there yet.
_MARGIN_MS = 250


class LateStart:
    """A handler that waits for the models first."""

    def __init__(
        self,
        models: Pending[Models],
        serve: Callable[[Models], Handler],
        done: Callable[[], None],
        output: Output,
        state: InvocationState,
    ) -> None:
        """Wait for ``models``, then tell ``done`` and answer with what ``serve`` makes of them."""
        _LOGGER.info("INIT goes on in the first invocation: GLUON_INIT_DEADLINE_SECONDS are over")
        self._models = models
        self._serve = serve
        self._done = done
        self._output = output
        self._state = state
        self._handler: Handler | None = None

    def __call__(self, event: Any, context: LambdaContext) -> Any:
        """Answer one event.

        Where loading takes longer than the invocation may, the answer is DeadlineExceeded (504), and the next invocation waits on. Where it
        fails, the answer is LoadError (503), and the process ends after it: the next invocation starts anew.
        """
        if self._handler is None:
            # For what is written until the handler begins the invocation.
            self._state.request_id = context.aws_request_id
            self._handler = self._wait(context)
        if self._handler is None:
            return self._refuse()(event, context)
        return self._handler(event, context)

    def _wait(self, context: LambdaContext) -> Handler | None:
        with self._output.catch(log_printed):
            ended = self._models.wait(max(context.get_remaining_time_in_millis() - _MARGIN_MS, 0) / 1000)
        if not ended or self._models.error is not None:
            return None
        self._done()
        return self._serve(self._models.result())

    def _refuse(self) -> Handler:
        """What answers everything with the reason why there are no models."""
        error = self._models.error
        if error is None:
            reason: GluonLambdaError = DeadlineExceeded(
                "The models are still being loaded, and the invocation's time is over; raise the function's Timeout"
            )
            return self._serve(UnavailableModels(reason))
        _LOGGER.error("INIT failed: %s: %s", type(error).__name__, error, exc_info=error)
        end_process_after_response()
        return self._serve(UnavailableModels(LoadError(f"{type(error).__name__}: {error}")))


def end_process_after_response() -> None:
    """Make the process end as soon as awslambdaric has posted the answer of the running invocation and asks for the next one.

    Lambda then starts another sandbox for it. awslambdaric has no hook for this; its loop asks its client (``bootstrap.py``, ``run``), which is
    found among the callers of the handler. Under another runtime the process ends a second later.
    """
    frame = sys._getframe()
    while frame.f_back is not None and "lambda_runtime_client" not in frame.f_locals:
        frame = frame.f_back
    client = frame.f_locals.get("lambda_runtime_client")
    if client is None:
        Timer(1.0, os._exit, (1,)).start()
    else:
        client.wait_next_invocation = lambda: os._exit(1)
