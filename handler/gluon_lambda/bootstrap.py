"""The INIT phase, top to bottom: ``create_handler`` reads the settings, opens the engine, loads the models, and returns the handler.

The only file that knows concrete classes. Whatever fails here fails INIT: the error goes up, awslambdaric reports it as init/error, and the
process ends, as Lambda wants it.
"""

from __future__ import annotations

import time

_STARTED = time.perf_counter()  # the imports below are a phase of INIT themselves

import logging
from collections.abc import Callable, MutableMapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from gluon_lambda.archive_store.archive import open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import Location, parse_location
from gluon_lambda.archive_store.members import Limits
from gluon_lambda.archive_store.stores import ArchiveStore, open_store
from gluon_lambda.errors import GluonLambdaError, RequestError, ResponseTooLarge, UnsupportedEvent
from gluon_lambda.event_sources.selection import select
from gluon_lambda.event_sources.wire import EventSource, Placement, within_limit
from gluon_lambda.http_app.app import HttpApp
from gluon_lambda.http_app.responses import Cors
from gluon_lambda.runtime import stock_mxnet
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.runtime.engine_environment import engine_environment, missing_from, usable_threads
from gluon_lambda.runtime.libmxnet import return_free_memory
from gluon_lambda.services.load import load_service
from gluon_lambda.services.models import LoadedModel, Memory, Models, StoreModels, resident_bytes
from gluon_lambda.settings import Settings
from gluon_lambda.telemetry.logs import InvocationState, route_logging
from gluon_lambda.telemetry.metrics import Metrics, request_metrics
from gluon_lambda.telemetry.output import Output
from gluon_lambda.types import DirectCall, Event, LambdaContext, Prediction, PredictorFactory, Request, Response

if TYPE_CHECKING:
    from gluon_lambda.http_app.mangum_adapter import MangumAnswer

_LOGGER = logging.getLogger("gluon_lambda.bootstrap")
# Outside Lambda (tests, a laptop) there is no memory size to keep to.
_UNLIMITED_BYTES = 1 << 60


def create_handler(environ: MutableMapping[str, str]) -> Handler:
    """Run the INIT phase.

    Args:
        environ: The process environment. What libmxnet reads from it is added where it is not set.

    Raises:
        ConfigurationError: A setting is not accepted.
        LoadError: A model of GLUON_MODELS cannot be served.
    """
    try:
        return _initialise(environ)
    except GluonLambdaError as error:
        raise _postable(error) from error.__cause__


def _postable(error: GluonLambdaError) -> GluonLambdaError:
    """The error in ASCII, or Lambda would never see it.

    On Python 3.12 and later awslambdaric hands INIT's errors to http.client as unescaped text, which ends the process where it is not
    Latin-1, and is no JSON to Lambda where it is not ASCII.
    """
    text = str(error).replace("…", "...")
    error.args = (text.encode("ascii", "backslashreplace").decode("ascii"),)
    return error.with_traceback(None)  # the source lines of its frames would be posted with it


def _initialise(environ: MutableMapping[str, str]) -> Handler:
    phases = _Phases(_STARTED)
    phases.end("imports")
    settings = Settings.from_environ(environ)
    output, state = Output(), InvocationState()
    route_logging(output, state, settings.log_level)
    with output.catch(_report):
        threads = settings.threads or usable_threads(settings.memory_megabytes)
        environ.update(missing_from(environ, engine_environment(threads, settings.cache_folder)))
        stock_mxnet.install()
        engine = Engine.open()
        phases.end("engine")
        models = _load_models(settings, engine)
        phases.end("models")
    metrics = Metrics(output, namespace=settings.metrics_namespace, function_name=settings.function_name)
    metrics.init_phases(phases.milliseconds)
    _LOGGER.info(
        "INIT done",
        extra={"fields": {"init": phases.milliseconds, "threads": threads, "models": list(models.configured)}},
    )
    return Handler(settings, models, output, state, metrics)


class Handler:
    """Answers Lambda's events with the loaded models."""

    def __init__(
        self, settings: Settings, models: Models, output: Output, state: InvocationState, metrics: Metrics
    ) -> None:
        """Serve ``models``."""
        cors = Cors(settings.cors_allow_origin, settings.cors_allow_methods, settings.cors_allow_headers)
        self._app = HttpApp(models, cors, state.ask)
        self._placement = Placement(settings.base_path, models=len(models.configured))
        self._output = output
        self._state = state
        self._metrics = metrics
        self._documents: MangumAnswer | None = None

    def __call__(self, event: Any, context: LambdaContext) -> Any:
        """Answer one event.

        Raises:
            GluonLambdaError: A direct invoke failed, or no event source takes the event. HTTP requests never raise.
        """
        self._state.begin(context.aws_request_id)
        with self._output.catch(_report):
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

    def _record(self, status: int, prediction: Prediction | None, started: float, fields: dict[str, Any]) -> None:
        milliseconds = (time.perf_counter() - started) * 1000
        about = self._state.fields() | {"status": status, "milliseconds": round(milliseconds, 3)} | fields
        self._metrics.request(request_metrics(status, milliseconds, prediction), model=self._state.model, fields=about)
        if prediction is not None:
            self._metrics.service(prediction, model=self._state.model)


def _measured(answer: dict[str, Any], source: EventSource) -> dict[str, Any]:
    """Mangum's answer, once it is sure that the event source takes it; raises ResponseTooLarge."""
    response = Response(answer["statusCode"], (), answer["body"].encode())
    return within_limit(answer, response, limit=source.RESPONSE_LIMIT_BYTES, source=source.TITLE)


def _load_models(settings: Settings, make_predictor: PredictorFactory) -> Models:
    """Load the configured models, and stand by for those of the store."""
    cache = open_cache(settings.cache_folder)
    limits = Limits(settings.max_archive_bytes)

    def load(name: str, location: Location) -> LoadedModel:
        with ExitStack() as on_failure:
            archive = open_archive(name, location, cache=cache, limits=limits)
            on_failure.callback(archive.close)
            model = LoadedModel(name, archive, load_service(archive, make_predictor=make_predictor))
            on_failure.pop_all()
        return model

    configured = {model.name: load(model.name, parse_location(model.location)) for model in settings.models}
    if not settings.model_store:
        return Models(configured)
    store = open_store(parse_location(settings.model_store))
    return Models(configured, _store_models(settings, store, load))


def _store_models(settings: Settings, store: ArchiveStore, load: Callable[[str, Location], LoadedModel]) -> StoreModels:
    limit = settings.memory_megabytes * 1024 * 1024 if settings.memory_megabytes else _UNLIMITED_BYTES
    return StoreModels(
        load=lambda name: load(name, store.find(name)),
        memory=Memory(limit, resident_bytes, return_free_memory),
        clock=time.monotonic,
        retry_broken_seconds=settings.retry_broken_seconds,
    )


def _report(line: str) -> None:
    """Make a record of a line that libmxnet or an archive's code wrote to stdout or stderr."""
    logging.getLogger("output").info("%s", line)


class _Phases:
    """How long each phase of INIT took, in milliseconds."""

    def __init__(self, started: float) -> None:
        self._last = started
        self.milliseconds: dict[str, float] = {}

    def end(self, phase: str) -> None:
        now = time.perf_counter()
        self.milliseconds[phase] = round((now - self._last) * 1000, 3)
        self._last = now
