"""The INIT phase, top to bottom: ``create_handler`` reads the settings, opens the engine, loads the models, and returns the handler.

Three threads share the work, so that what computes in C and what imports Python overlap (docs/decisions/0006-init-as-a-plan.md):

- ``dlopen`` opens libmxnet: 50 ms of C that needs no interpreter.
- ``models`` opens the archives and loads the models, and stays: archives with code of their own are asked in it, and in no other.
- the main thread imports what the first request needs: our own modules first, NumPy and Pillow once libmxnet is open, because their
  libraries would wait for it with the interpreter locked.

The only file that knows concrete classes. Whatever fails here fails INIT: the error goes up, awslambdaric reports it as init/error, and the
process ends, as Lambda wants it. What is not done by GLUON_INIT_DEADLINE_SECONDS goes on and is waited for by the first invocation.
"""

from __future__ import annotations

import time

_STARTED = time.perf_counter()  # the imports are a phase of INIT themselves

# Extension modules that ours import: once libmxnet is being opened they would wait for it (runtime/import_order.py).
import binascii  # noqa: F401
import fcntl  # noqa: F401
import gc
import importlib
import logging
import mmap  # noqa: F401
import sys
import zlib  # noqa: F401
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

from gluon_lambda.errors import ConfigurationError, EngineUnavailable, GluonLambdaError
from gluon_lambda.pending import Pending, begin
from gluon_lambda.runtime import lean_imports, openmp
from gluon_lambda.runtime.engine_environment import (
    ADDED_LATER,
    engine_environment,
    missing_from,
    refuse_unreadable,
    usable_threads,
)
from gluon_lambda.runtime.import_order import extensions_waiting
from gluon_lambda.runtime.libmxnet import Library, find_libmxnet, return_free_memory
from gluon_lambda.services.model_thread import ModelThread, ServiceOnThread
from gluon_lambda.settings import ModelSetting, Settings
from gluon_lambda.telemetry.crashes import stderr_that_stays, told_on
from gluon_lambda.telemetry.timeline import Timeline

if TYPE_CHECKING:
    # Only names here: these modules are imported while libmxnet is being opened.
    from gluon_lambda.archive_store.archive import Archive
    from gluon_lambda.archive_store.fetching import Fetched
    from gluon_lambda.archive_store.location import Location
    from gluon_lambda.archive_store.s3 import S3Client
    from gluon_lambda.archive_store.stores import ArchiveStore
    from gluon_lambda.invocation import Handler
    from gluon_lambda.runtime.native_predictor import NativePredictor
    from gluon_lambda.services.models import LoadedModel, Models, StoreModels
    from gluon_lambda.telemetry.logs import InvocationState
    from gluon_lambda.telemetry.metrics import Metrics
    from gluon_lambda.telemetry.output import Output
    from gluon_lambda.types import LambdaContext, NetOptions, Predictor, PredictorFactory, TensorSpec

_LOGGER = logging.getLogger("gluon_lambda.bootstrap")
# Outside Lambda (tests, a laptop) there is no memory size to keep to.
_UNLIMITED_BYTES = 1 << 60
# What the layer brings beside MXNet.
_OF_THE_LAYER = ("numpy", "PIL")
_BATCHES = "gluon_lambda.batch_invocation"
# Python's own (5 ms) is what a thread that comes back from C waits for another one that is importing.
_SWITCH_SECONDS = 0.0001
# For starts that have minutes, and for all that we know more.
_NO_DEADLINE_SECONDS = 1e6


class Init(NamedTuple):
    """What INIT's functions share.

    Attributes:
        settings: The configuration.
        environ: The process environment, with the engine's part.
        fetches: Archives that are being fetched from S3, by model.
        timeline: Where each of them notes its time.
        library: libmxnet, being opened.
        thread: Where models are loaded, and those with code of their own asked.
        wanted: What the main thread is to do: import modules, by name, and make calls; None when there will be no more.
        importing: Set while the main thread imports.
        make_predictor: In place of the engine.
    """

    settings: Settings
    environ: Mapping[str, str]
    fetches: Mapping[str, Pending[Fetched]]
    timeline: Timeline
    library: Pending[Library]
    thread: ModelThread
    wanted: SimpleQueue[str | Callable[[], None] | None]
    importing: Event
    make_predictor: PredictorFactory | None

    def ask_main(self, wanted: str | Callable[[], None]) -> None:
        """Ask the main thread for a module that will be needed soon, or a call; it does neither any more when a store's model is loaded."""
        if not self.timeline.is_closed:
            self.wanted.put(wanted)


class Records(NamedTuple):
    """Where is written what happens.

    Attributes:
        output: The one writer of stdout.
        state: What every record of an invocation carries.
        metrics: Writes metrics.
        printed: Makes a record of a line that somebody printed.
    """

    output: Output
    state: InvocationState
    metrics: Metrics
    printed: Callable[[str], None]


def create_handler(
    environ: MutableMapping[str, str], make_predictor: PredictorFactory | None = None
) -> Callable[[Any, LambdaContext], Any]:
    """Run the INIT phase.

    Args:
        environ: The process environment. What libmxnet reads from it is added where it is not set.
        make_predictor: In place of the engine's: all the rest can be measured and tested without a net.

    Raises:
        ConfigurationError: A setting is not accepted.
        LoadError: A model of GLUON_MODELS cannot be served, or what the layer brings is not there.
    """
    try:
        return _initialise(environ, make_predictor)
    except GluonLambdaError as error:
        raise _postable(error) from error.__cause__
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OF_THE_LAYER:
            raise
        way_out = "Add the gluon-lambda layer to the function, or run `make setup` and start through `make run`"
        raise _postable(EngineUnavailable(f"{error}. {way_out}")) from error


def _postable(error: GluonLambdaError) -> GluonLambdaError:
    """The error in ASCII, or Lambda would never see it.

    On Python 3.12 and later awslambdaric hands INIT's errors to http.client as unescaped text, which ends the process where it is not
    Latin-1, and is no JSON to Lambda where it is not ASCII.
    """
    text = str(error).replace("…", "...")
    error.args = (text.encode("ascii", "backslashreplace").decode("ascii"),)
    return error.with_traceback(None)  # the source lines of its frames would be posted with it


def _initialise(
    environ: MutableMapping[str, str], make_predictor: PredictorFactory | None
) -> Callable[[Any, LambdaContext], Any]:
    began = time.perf_counter()
    timeline = Timeline(_STARTED)
    settings = Settings.from_environ(environ)
    if settings.output:
        _check_output(settings)
    threads = settings.threads or usable_threads(settings.memory_megabytes)
    refuse_unreadable(environ)
    environ.update(missing_from(environ, _engine_environment(settings, threads) | ADDED_LATER))
    remote = [model for model in settings.models if model.location.startswith("s3:")]
    if remote:
        _import_compiled_client(timeline)
    library = begin("dlopen", _open_library, timeline, stderr_that_stays())
    fetches = _begin_fetches(remote, settings, timeline) if remote else {}
    timeline.add("settings", _STARTED)
    records, deadline = _begin_records(settings), _deadline(settings, began)
    lean_imports.install()
    with records.output.catch(records.printed), _undisturbed():
        init = Init(
            settings, environ, fetches, timeline, library, ModelThread(), SimpleQueue(), Event(), make_predictor
        )
        with extensions_waiting(library.wait):
            models = init.thread.begin(_load_models, init)
            _import_our_own(init, until=deadline)
        with openmp.out_of_the_way(environ):
            _import_wanted(init, until=deadline)
        with timeline.phase("waiting"):
            models.wait(max(deadline - time.perf_counter(), 0))
    report = partial(_report, init, records, threads)
    if models.wait(0):
        handler = _serve(settings, records, models.result())
        _prepare_for_snapshots(init, records)
        report()
        return handler
    # Lazily: most functions never come here.
    from gluon_lambda.late_start import LateStart

    return LateStart(models, partial(_serve, settings, records), report, records.output, records.state)


def _check_output(settings: Settings) -> None:
    """Refuse a GLUON_OUTPUT that is none, or that would trigger the function again."""
    from gluon_lambda.batch.places import parse_output, refuse_loops  # lazy: functions that answer HTTP have none

    try:
        template = parse_output(settings.output)
    except ValueError as error:
        raise ConfigurationError(f"GLUON_OUTPUT has the value {settings.output!r}. Accepted: {error}") from error
    try:
        refuse_loops(template, settings.inputs)
    except ValueError as error:
        raise ConfigurationError(
            f"GLUON_INPUT has the value {' '.join(settings.inputs)!r}. Accepted: {error}"
        ) from error


def _serve(settings: Settings, records: Records, models: Models) -> Handler:
    # Imported above all: while libmxnet was being opened.
    from gluon_lambda.invocation import Handler

    if settings.output:  # mostly there already
        importlib.import_module(_BATCHES)
    return Handler(settings, models, records.output, records.state, records.metrics)


def _prepare_for_snapshots(init: Init, records: Records) -> None:
    if init.settings.initialization_type == "snap-start":
        # Lazily: only SnapStart needs it.
        from gluon_lambda import snapshots

        snapshots.register(snapshots.Process(init.thread, init.library.result(), records.output, records.metrics))


def _begin_records(settings: Settings) -> Records:
    """Take over stdout and logging. Imported here, when libmxnet is being opened already."""
    from gluon_lambda.telemetry.logs import InvocationState, log_printed, route_logging
    from gluon_lambda.telemetry.metrics import Metrics
    from gluon_lambda.telemetry.output import Output

    output, state = Output(), InvocationState()
    route_logging(output, state, settings.log_level)
    metrics = Metrics(output, namespace=settings.metrics_namespace, function_name=settings.function_name)
    return Records(output, state, metrics, log_printed)


def _report(init: Init, records: Records, threads: int) -> None:
    """Write what INIT took: one record for the log, and its phases as metrics."""
    records.metrics.init_phases(init.timeline.durations())
    named = [model.name for model in init.settings.models]
    init.timeline.close()
    kernels = init.library.result().openblas_kernels
    fields = {**init.timeline.record(), "threads": threads, "openblas": kernels, "models": named}
    _LOGGER.info("INIT done", extra={"fields": fields})


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let threads change places often, and nobody look for garbage.

    Each thread comes back from C many times while another one imports. And what is imported stays: to look through it again and again while it
    grows would cost milliseconds, and so it would at each later collection.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        sys.setswitchinterval(usual)


def _deadline(settings: Settings, began: float) -> float:
    """Until when INIT may take, in seconds of ``time.perf_counter``. Lambda ends it at 10 s, but only where it starts on demand."""
    return began + (settings.init_deadline_seconds if _starts_on_demand(settings) else _NO_DEADLINE_SECONDS)


def _starts_on_demand(settings: Settings) -> bool:
    return settings.initialization_type == "on-demand"


def _engine_environment(settings: Settings, threads: int) -> dict[str, str]:
    return engine_environment(
        threads, settings.cache_folder, engine_type=settings.engine_type, bind_threads=settings.bind_threads
    )


def _import_compiled_client(timeline: Timeline) -> None:
    """Import first of all what a fetch needs that is compiled: later it would wait for libmxnet."""
    from gluon_lambda.archive_store.s3 import import_compiled  # lazy: archives on disk need none of it

    with timeline.phase("s3 client"):
        import_compiled()


def _begin_fetches(
    remote: Sequence[ModelSetting], settings: Settings, timeline: Timeline
) -> dict[str, Pending[Fetched]]:
    """Begin to fetch what lies on S3, so that it comes while everything else is done."""
    # In this thread: in the fetches' own, imports would take turns with all others, and the first byte be asked for 50 ms later.
    with timeline.phase("s3 client"):
        from gluon_lambda.archive_store import fetching
        from gluon_lambda.archive_store.cache import open_cache
        from gluon_lambda.archive_store.location import parse_location
        from gluon_lambda.archive_store.members import Limits
        from gluon_lambda.archive_store.s3 import make_lean_client, make_s3_client

        clients = [make_lean_client() for _ in remote]

    def fetch(model: ModelSetting, client: S3Client | None) -> Fetched:
        return fetching.fetch(
            parse_location(model.location),
            cache=open_cache(settings.cache_folder),
            limits=Limits(settings.max_archive_bytes),
            make_client=lambda: client or make_s3_client(),
            timed=lambda phase: timeline.phase(phase, model.name),
        )

    return {model.name: begin("fetch", fetch, model, client) for model, client in zip(remote, clients, strict=True)}


def _open_library(timeline: Timeline, stderr: int) -> Library:
    with timeline.phase("dlopen"):
        return told_on(stderr, lambda: Library(find_libmxnet()))


def _import_our_own(init: Init, *, until: float) -> None:
    """Import what every request needs and NumPy does not, while libmxnet is being opened."""
    with init.timeline.phase("imports"):
        importlib.import_module("gluon_lambda.invocation")
    with init.timeline.phase("waiting"):
        init.library.wait(max(until - time.perf_counter(), 0))


def _import_wanted(init: Init, *, until: float) -> None:
    """Import NumPy, and then what the models' services will need, until these are loaded or time is up."""
    with init.timeline.phase("numpy"):
        _import(init, "gluon_lambda.runtime.array_exchange")
    while (wanted := _next_wanted(init, until)) is not None:
        if isinstance(wanted, str):
            with init.timeline.phase("service imports"):
                _import(init, wanted)
        else:
            wanted()
    init.importing.clear()


def _next_wanted(init: Init, until: float) -> str | Callable[[], None] | None:
    with suppress(Empty):
        return init.wanted.get_nowait()
    # For the first event of a batch; until something is wanted there is time for it.
    if init.settings.output and _BATCHES not in sys.modules and time.perf_counter() < until:
        return _BATCHES
    init.importing.clear()
    with init.timeline.phase("waiting"), suppress(Empty):
        return init.wanted.get(timeout=max(until - time.perf_counter(), 0))
    return None


def _load_models(init: Init) -> Models:
    """Load the configured models, and stand by for those of the store. Runs in the models' thread."""
    with ExitStack() as at_the_end:
        at_the_end.callback(init.wanted.put, None)
        from gluon_lambda.archive_store.location import parse_location
        from gluon_lambda.services.models import Models

        load = _loader(init)
        configured = {model.name: load(model.name, parse_location(model.location)) for model in init.settings.models}
        # Only to fail where it cannot be opened though no model needed it.
        init.library.result()
    if not init.settings.model_store:
        return Models(configured)
    from gluon_lambda.archive_store.stores import open_store

    store = open_store(parse_location(init.settings.model_store))
    return Models(configured, _store_models(init, store, load))


def _loader(init: Init) -> Callable[[str, Location], LoadedModel]:
    """What opens an archive and loads its model."""
    from gluon_lambda.archive_store.archive import open_archive
    from gluon_lambda.archive_store.cache import open_cache
    from gluon_lambda.archive_store.members import Limits
    from gluon_lambda.services.load import load_service
    from gluon_lambda.services.models import LoadedModel

    cache = open_cache(init.settings.cache_folder)
    limits = Limits(init.settings.max_archive_bytes)

    def load(name: str, location: Location) -> LoadedModel:
        with ExitStack() as on_failure:
            with init.timeline.phase("open", name):
                archive = open_archive(name, location, cache=cache, limits=limits, fetch=init.fetches.get(name))
            on_failure.callback(archive.close)
            if archive.manifest.service:
                _prepare_for_code(init, archive)
            made: list[NativePredictor] = []
            with init.timeline.phase("service", name):
                service = load_service(
                    archive,
                    make_predictor=init.make_predictor or _predictors(init, name, made),
                    import_ahead=init.ask_main,
                    options=_net_options(init.settings, fuse="all"),
                    timed=lambda phase: init.timeline.phase(phase, name),
                )
            on_failure.pop_all()
        # Code of its own is asked where it was loaded. The built-in services keep nothing by thread, and are spared the way there and back.
        if archive.manifest.service:
            return LoadedModel(name, archive, ServiceOnThread(service, init.thread))
        if not _starts_on_demand(init.settings):
            # What the engine keeps by thread; on demand the first request makes it, in less time than INIT would take longer.
            for predictor in made:
                init.ask_main(predictor.warm_up)
        return LoadedModel(name, archive, service)

    return load


def _prepare_for_code(init: Init, archive: Archive) -> None:
    """What an archive's own code needs: a folder with its files, and it may say ``import mxnet``."""
    from gluon_lambda.runtime import stock_mxnet

    stock_mxnet.install()
    with init.timeline.phase("unpack", archive.name):
        archive.folder()
    # Before it imports NumPy, which would wait for libmxnet with the interpreter locked.
    init.library.result()


def _predictors(init: Init, model: str, made: list[NativePredictor]) -> PredictorFactory:
    """What loads the nets of ``model``, as soon as libmxnet is open, and notes them in ``made``."""

    def make_predictor(
        *, name: str, symbol: bytes, params: bytes | memoryview, inputs: Sequence[TensorSpec]
    ) -> Predictor:
        options = _net_options(init.settings, fuse="exported")
        library = init.library.result()
        openmp.settle(init.environ)
        engine = Engine(
            library,
            options,
            timed=lambda phase: init.timeline.phase(phase, model),
            shares_cpus=lambda: init.importing.is_set() and _starts_on_demand(init.settings),
        )
        made.append(engine(name=name, symbol=symbol, params=params, inputs=inputs))
        return made[-1]

    from gluon_lambda.runtime.engine import Engine

    return make_predictor


def _net_options(settings: Settings, *, fuse: str) -> NetOptions:
    """How nets are made ready; they are fused where GLUON_FUSE says ``all``, or ``fuse``."""
    from gluon_lambda.types import NetOptions

    # MXNet refuses the second without the first.
    static_shape = settings.static_alloc and settings.static_shape
    return NetOptions(settings.fuse in ("all", fuse), settings.static_alloc, static_shape)


def _store_models(init: Init, store: ArchiveStore, load: Callable[[str, Location], LoadedModel]) -> StoreModels:
    from gluon_lambda.services.models import Memory, StoreModels, resident_bytes

    megabytes = init.settings.memory_megabytes
    return StoreModels(
        load=lambda name: init.thread.run(lambda: load(name, store.find(name))),
        memory=Memory(megabytes * 1024 * 1024 if megabytes else _UNLIMITED_BYTES, resident_bytes, return_free_memory),
        clock=time.monotonic,
        retry_broken_seconds=init.settings.retry_broken_seconds,
    )


def _import(init: Init, module: str) -> None:
    init.importing.set()
    with suppress(ImportError):  # whoever needs it imports it again, and reports it
        importlib.import_module(module)
