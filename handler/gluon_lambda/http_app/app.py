"""Request → Response for the routes that every client uses: predictions, ping, OPTIONS and every error. No framework.

The rest (documentation, descriptions) is FastAPI's, in ``asgi.py``; both call ``HttpApp.answer``, so a prediction is the same either way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from gluon_lambda.errors import DeadlineExceeded, ModelNotFound
from gluon_lambda.http_app.bodies import MODEL_NAME_PARAMETER, read_payload
from gluon_lambda.http_app.error_table import error_response
from gluon_lambda.http_app.responses import Cors, finished, json_response, options_response, prediction_response
from gluon_lambda.http_app.routes import DESCRIBE, OPTIONS, PING, Route, find_route
from gluon_lambda.services.models import LoadedModel, Models
from gluon_lambda.types import DirectCall, Part, Payload, Prediction, Request, Response

_LOGGER = logging.getLogger("gluon_lambda.http_app")

# MMS 1.x says status, MMS 0.4 says health.
HEALTHY = {"status": "Healthy", "health": "healthy!"}
# Less time than this is not worth starting a prediction in: Lambda would kill the sandbox, and the next request pays a cold start.
_LEAST_REMAINING_MS = 20


class Answer(NamedTuple):
    """What became of a request.

    Attributes:
        response: The response.
        prediction: What the model answered, if it did.
    """

    response: Response
    prediction: Prediction | None = None


class HttpApp:
    """Answers requests with the models that it is given."""

    def __init__(self, models: Models, cors: Cors, began: Callable[[str], None] = lambda _model: None) -> None:
        """Serve ``models`` to the origins that ``cors`` allows; ``began`` is told which model a request asks, before it is asked."""
        self.models = models
        self._cors = cors
        self._began = began

    def answer(self, request: Request) -> Answer | None:
        """What to answer, or None where the route is FastAPI's. Never raises: errors become responses."""
        try:
            answer = self._answer(request)
        except Exception as error:  # noqa: BLE001 (the outer edge: every error becomes a response, ours and a defect's alike)
            answer = Answer(_refusal(error, request.request_id))
        if answer is None:
            return None
        return Answer(self.finish(answer.response, request.request_id), answer.prediction)

    def refuse(self, error: Exception, request_id: str) -> Response:
        """The response for an error that arose outside ``answer``: an undecodable body, a response over the limit, FastAPI's."""
        return self.finish(_refusal(error, request_id), request_id)

    def finish(self, response: Response, request_id: str) -> Response:
        """The response with the headers that all of them carry."""
        return finished(response, self._cors, request_id)

    def call(self, call: DirectCall, request_id: str, remaining_ms: Callable[[], int]) -> Answer:
        """Answer a direct invoke.

        Raises:
            GluonLambdaError: Whatever went wrong; awslambdaric reports its class name as ``errorType``.
        """
        payload = Payload((Part("body", call.inputs, "application/json"),), (), request_id)
        return self._predict(self._find(call.model or "", "", remaining_ms), payload)

    def health(self) -> Response:
        """What ``/ping`` answers; raises the reason where the configured models could not be loaded."""
        self.models.loaded()
        return json_response(HEALTHY)

    def _answer(self, request: Request) -> Answer | None:
        route = find_route(request.method, request.path)
        if route.kind == DESCRIBE:
            return None
        if route.kind == OPTIONS:
            return Answer(options_response(route.methods, self._cors))
        if route.kind == PING:
            return Answer(self.health())
        payload = read_payload(request, query_is_input=route.query_is_input)
        return self._predict(self._find(_model_name(route, request), route.version, request.remaining_ms), payload)

    def _find(self, name: str, version: str, remaining_ms: Callable[[], int]) -> LoadedModel:
        model = self.models.get(name or self._only_model())
        _check_version(model, version)
        _check_deadline(model.name, remaining_ms())
        return model

    def _predict(self, model: LoadedModel, payload: Payload) -> Answer:
        self._began(model.name)
        prediction = model.service.predict(payload)
        return Answer(prediction_response(prediction), prediction)

    def _only_model(self) -> str:
        names = self.models.configured
        if len(names) == 1:
            return names[0]
        raise ModelNotFound(
            f"Which model? {len(names)} are configured ({', '.join(names) or 'none'}): name one in the path, or on /invocations "
            f"as ?{MODEL_NAME_PARAMETER}="
        )


def _model_name(route: Route, request: Request) -> str:
    if route.model:
        return route.model
    # MMS 1.x: /invocations?model_name=…
    return dict(request.query).get(MODEL_NAME_PARAMETER, "")


def _check_version(model: LoadedModel, version: str) -> None:
    if version and version != model.version:
        served = f"version {model.version!r} is" if model.version else "a model without version is"
        raise ModelNotFound(f"Model not found: {model.name} version {version!r}; {served} served here")


def _check_deadline(name: str, remaining_ms: int) -> None:
    if remaining_ms < _LEAST_REMAINING_MS:
        raise DeadlineExceeded(
            f"Model {name}: {remaining_ms} ms are left of the invocation, too few to predict; raise the function's Timeout"
        )


def _refusal(error: Exception, request_id: str) -> Response:
    response = error_response(error, request_id)
    # What an archive's code raised is in no answer, so the log must have it, whoever is at fault.
    from_a_service = getattr(error, "phase", None) is not None and error.__cause__ is not None
    level = logging.ERROR if response.status >= 500 else logging.INFO
    traceback = error if response.status >= 500 or from_a_service else None
    _LOGGER.log(level, "%s: %s", type(error).__name__, error, exc_info=traceback)
    return response
