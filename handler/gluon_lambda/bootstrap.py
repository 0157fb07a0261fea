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

from gluon_lambda.archive_store.archive import open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import Location, parse_location
from gluon_lambda.archive_store.members import Limits
from gluon_lambda.archive_store.stores import ArchiveStore, open_store
from gluon_lambda.errors import GluonLambdaError
from gluon_lambda.invocation import Handler
from gluon_lambda.runtime import stock_mxnet
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.runtime.engine_environment import engine_environment, missing_from, usable_threads
from gluon_lambda.runtime.libmxnet import return_free_memory
from gluon_lambda.services.load import load_service
from gluon_lambda.services.models import LoadedModel, Memory, Models, StoreModels, resident_bytes
from gluon_lambda.settings import Settings
from gluon_lambda.telemetry.logs import InvocationState, log_printed, route_logging
from gluon_lambda.telemetry.metrics import Metrics
from gluon_lambda.telemetry.output import Output
from gluon_lambda.types import PredictorFactory

_LOGGER = logging.getLogger("gluon_lambda.bootstrap")
# Outside Lambda (tests, a laptop) there is no memory size to keep to.
_UNLIMITED_BYTES = 1 << 60


def create_handler(environ: MutableMapping[str, str], make_predictor: PredictorFactory | None = None) -> Handler:
    """Run the INIT phase.

    Args:
        environ: The process environment. What libmxnet reads from it is added where it is not set.
        make_predictor: In place of the engine, which is then not opened: all the rest can be measured and tested without a net.

    Raises:
        ConfigurationError: A setting is not accepted.
        LoadError: A model of GLUON_MODELS cannot be served.
    """
    try:
        return _initialise(environ, make_predictor)
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


def _initialise(environ: MutableMapping[str, str], make_predictor: PredictorFactory | None) -> Handler:
    phases = _Phases(_STARTED)
    phases.end("imports")
    settings = Settings.from_environ(environ)
    output, state = Output(), InvocationState()
    route_logging(output, state, settings.log_level)
    with output.catch(log_printed):
        threads = settings.threads or usable_threads(settings.memory_megabytes)
        environ.update(missing_from(environ, engine_environment(threads, settings.cache_folder)))
        stock_mxnet.install()
        make_predictor = make_predictor or Engine.open()
        phases.end("engine")
        models = _load_models(settings, make_predictor)
        phases.end("models")
    metrics = Metrics(output, namespace=settings.metrics_namespace, function_name=settings.function_name)
    metrics.init_phases(phases.milliseconds)
    _LOGGER.info(
        "INIT done",
        extra={"fields": {"init": phases.milliseconds, "threads": threads, "models": list(models.configured)}},
    )
    return Handler(settings, models, output, state, metrics)


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


class _Phases:
    """How long each phase of INIT took, in milliseconds."""

    def __init__(self, started: float) -> None:
        self._last = started
        self.milliseconds: dict[str, float] = {}

    def end(self, phase: str) -> None:
        now = time.perf_counter()
        self.milliseconds[phase] = round((now - self._last) * 1000, 3)
        self._last = now
