"""The invoke phase: one event in, one answer out, and the records that are written about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gluon_lambda.errors import GluonLambdaError, RequestError, ResponseTooLarge, UnsupportedEvent
from gluon_lambda.event_sources.batch_selection import find_batch_source
from gluon_lambda.event_sources.selection import select
from gluon_lambda.event_sources.wire import EventSource, Placement, within_limit
from gluon_lambda.http_app.app import HttpApp
from gluon_lambda.http_app.responses import Cors
from gluon_lambda.services.models import Models
from gluon_lambda.settings import Settings
from gluon_lambda.telemetry.logs import InvocationState, log_printed
from gluon_lambda.telemetry.metrics import Metrics, request_values
from gluon_lambda.telemetry.output import Output
from gluon_lambda.types import DirectCall, Event, LambdaContext, Prediction, Request, Response

if TYPE_CHECKING:
    from gluon_lambda.batch_invocation import BatchInvoker
    from gluon_lambda.event_sources.batch_source import BatchSource
    from gluon_lambda.http_app.mangum_adapter import MangumAnswer


class Handler:
    """Answers Lambda's events with the loaded models."""

    def __init__(
        self, settings: Settings, models: Models, output: Output, state: InvocationState, metrics: Metrics
    ) -> None:
        """Serve ``models``."""
        self.models = models
        cors = Cors(settings.cors_allow_origin, settings.cors_allow_methods, settings.cors_allow_headers)
        self._app = HttpApp(models, cors, state.ask)
        self._placement = Placement(settings.base_path, models=len(settings.models))
        self._output = output
        self._state = state
        self._metrics = metrics
        self._settings = settings
        self._documents: MangumAnswer | None = None
        self._batches: BatchInvoker | None = None

    def __call__(self, event: Any, context: LambdaContext) -> Any:
        """Answer one event.

        Raises:
            GluonLambdaError: A direct invoke failed, or no event source takes the event. HTTP requests never raise.
        """
        self._state.begin(context.aws_request_id)
        with self._output.catch(log_printed):
            batch_source = find_batch_source(event)
            if batch_source is not None:
                return self._answer_batch(batch_source, event, context)
            source = select(event)
            try:
                call = source.to_request(event, context, self._placement)
            except RequestError as error:
                result = source.to_response(self._app.refuse(error, context.aws_request_id), event)
                self._record(result["statusCode"], None, time.perf_counter(), {"errorType": type(error).__name__})
                return result
            if isinstance(call, DirectCall):
                return self._answer_direct(call, source, event, context)
            return self._answer_http(call, source, event, context)

    def _answer_direct(self, call: DirectCall, source: EventSource, event: Any, context: LambdaContext) -> Any:
        started = time.perf_counter()
        try:
            answer = self._app.call(call, context.aws_request_id, context.get_remaining_time_in_millis)
            result = source.to_response(answer.response, event)
        except GluonLambdaError as error:
            status = self._app.refuse(error, context.aws_request_id).status
            self._record(status, None, started, {"errorType": type(error).__name__})
            raise
        self._record(200, answer.prediction, started, {})
        return result

    def _answer_http(self, request: Request, source: EventSource, event: Event, context: LambdaContext) -> Any:
        started = time.perf_counter()
        answer = self._app.answer(request)
        try:
            if answer is None:
                result = _measured(self._answer_with_fastapi(request, event, context), source)
            else:
                result = source.to_response(answer.response, event)
        except (ResponseTooLarge, UnsupportedEvent) as error:
            result = source.to_response(self._app.refuse(error, request.request_id), event)
        prediction = answer.prediction if answer else None
        self._record(result["statusCode"], prediction, started, {"method": request.method, "path": request.path})
        return result

    def _answer_with_fastapi(self, request: Request, event: Event, context: LambdaContext) -> dict[str, Any]:
        if self._documents is None:
            # Lazily: FastAPI and Mangum cost 200 ms, and predictions do without them.
            from gluon_lambda.http_app.mangum_adapter import create_adapter

            self._documents = create_adapter(self._app)
        return self._documents(event, context, request.path)

    def _answer_batch(self, source: BatchSource, event: Any, context: LambdaContext) -> Any:
        if self._batches is None:
            # Lazily: functions that answer HTTP do without it. Where GLUON_OUTPUT is set INIT has imported it.
            from gluon_lambda.batch_invocation import BatchInvoker

            self._batches = BatchInvoker(self._settings, self.models, self._metrics)
        return self._batches(source, event, context)

    def _record(self, status: int, prediction: Prediction | None, started: float, fields: dict[str, Any]) -> None:
        milliseconds = (time.perf_counter() - started) * 1000
        about = {**self._state.fields(), "status": status, "milliseconds": round(milliseconds, 3), **fields}
        self._metrics.request(request_values(status, milliseconds, prediction), model=self._state.model, fields=about)
        if prediction is not None and prediction.metrics:
            self._metrics.service(prediction, model=self._state.model)


def _measured(answer: dict[str, Any], source: EventSource) -> dict[str, Any]:
    """Mangum's answer, once it is sure that the event source takes it; raises ResponseTooLarge."""
    response = Response(answer["statusCode"], (), answer["body"].encode())
    return within_limit(answer, response, limit=source.RESPONSE_LIMIT_BYTES, source=source.TITLE)
