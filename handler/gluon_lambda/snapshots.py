"""SnapStart: one process is copied into many sandboxes, so INIT's leavings are put in order before, and what must differ is renewed after.

Sources: AWS, "Use Lambda SnapStart runtime hooks" and "Handling uniqueness with Lambda SnapStart"; awslambdaric's ``lambda_runtime_hooks_runner``.
A hook that raises ends the process: before the snapshot the version cannot be published, after it the sandbox is replaced.

No hook is needed for

- S3: a client with its session, credentials and connections lives as long as one fetch, and all fetches are over; a store's client is made
  by the first request that needs it.
- Clocks: ``time.monotonic`` stands still while the snapshot lies on disk. Nothing keeps a time from before it: models of a store that are
  remembered as broken have been asked for, which no request has done yet.
- Threads: they are a part of the snapshot. The models' thread, the engine's and OpenMP's wait for work, and go on waiting.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from gluon_lambda.errors import ConfigurationError
from gluon_lambda.runtime.libmxnet import Library, return_free_memory
from gluon_lambda.services.model_thread import ModelThread
from gluon_lambda.telemetry.logs import log_printed
from gluon_lambda.telemetry.metrics import Metrics
from gluon_lambda.telemetry.output import Output
from gluon_lambda.telemetry.timeline import Timeline

_LOGGER = logging.getLogger("gluon_lambda.snapshots")
_LARGEST_SEED = 0x7FFFFFFF  # MXRandomSeed takes a C int

Hook = Callable[[], object]


class Process(NamedTuple):
    """What is put in order.

    Attributes:
        thread: Where models with code of their own are asked.
        library: libmxnet.
        output: Catches what hooks print.
        metrics: Takes the restore's durations.
    """

    thread: ModelThread
    library: Library
    output: Output
    metrics: Metrics


def register(process: Process) -> None:
    """Have ``process`` prepared before the snapshot and renewed after it.

    Hooks that an archive's code has registered by now keep their order, and run in the models' thread: there MXNet keeps what belongs to the
    models (random numbers, NumPy semantics). They come first before the snapshot and last after it, so that a seed of theirs stays.

    Raises:
        ConfigurationError: The package that runs hooks is not there.
    """
    # Here, since only SnapStart's runtimes need to have it.
    try:
        import snapshot_restore_py as registry
    except ImportError as error:
        raise ConfigurationError(
            "AWS_LAMBDA_INITIALIZATION_TYPE has the value 'snap-start', which needs the package snapshot-restore-py. Lambda's own Python "
            "runtimes have it from 3.12 on: add it to the function's packages, or switch SnapStart off"
        ) from error
    before, after = _taken(registry.get_before_snapshot()), _taken(registry.get_after_restore())
    registry.register_before_snapshot(prepare, process, before)
    registry.register_after_restore(renew, process, after)


def _taken(registered: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]]) -> list[Hook]:
    hooks: list[Hook] = [partial(function, *args, **options) for function, args, options in registered]
    registered.clear()
    return hooks


def prepare(process: Process, hooks: Sequence[Hook]) -> None:
    """Run an archive's own ``hooks``, the last one first, and leave nothing that is running or not needed any more."""
    with process.output.catch(log_printed):
        for hook in reversed(hooks):
            process.thread.run(hook)
        process.thread.run(process.library.call, "MXNDArrayWaitAll")
    # INIT has frozen its garbage too: boto3's session among it, with the credentials.
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    return_free_memory()


def renew(process: Process, hooks: Sequence[Hook]) -> None:
    """Give this copy random numbers of its own, run an archive's own ``hooks``, and write what that took."""
    timeline = Timeline(time.perf_counter())
    with process.output.catch(log_printed):
        with timeline.phase("seeds"):
            process.thread.run(_renew_seeds, process.library)
            _renew_seeds(process.library)
        with timeline.phase("hooks"):
            for hook in hooks:
                process.thread.run(hook)
    durations = timeline.durations()
    process.metrics.restore_phases(durations)
    _LOGGER.info("RESTORE done", extra={"fields": {"restore": durations}})


def _renew_seeds(library: Library) -> None:
    """Seed every generator that has a state by now; in both threads that run nets, since MXNet has one for each thread."""
    library.call("MXRandomSeed", int.from_bytes(os.urandom(4), "big") & _LARGEST_SEED)
    if "random" in sys.modules:
        sys.modules["random"].seed()
    # Its extension module: the package itself may be there and left for its first use.
    if "numpy.random.mtrand" in sys.modules:
        sys.modules["numpy.random"].seed()
