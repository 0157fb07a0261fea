"""The life cycle of a service, and what every kind of service shares.

A service is an archive's code, or the built-in code where the archive has none. Its life:

1. **load** (INIT): the archive's code is imported in a namespace of its own (``modules.py``), its entry point is found
   (``load.py``) and constructed or initialised. Whatever goes wrong raises ``ServiceLoadError``; nothing is logged and passed over.
2. **preprocess**: the request's parts become arrays. What raises here is the client's fault: ``InputMismatch``.
3. **inference**: arrays in, arrays out.
4. **postprocess**: arrays become the answer. What raises in 3 and 4 is the service's fault: ``InferenceError``.
5. The answer goes out in the envelope of the archive's form: ``{"prediction": R}`` for ``mms-0.4``, R itself for ``mms-1.x``.
6. **close**: what the model holds is released, its modules are forgotten.

MMS 1.x handlers have no phases: 2 to 4 are one phase, ``handle``, and nothing in it is taken for the client's fault.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from gluon_lambda.errors import (
    GluonLambdaError,
    InferenceError,
    InputMismatch,
    OutOfMemory,
    ServiceLoadError,
    tells_of_memory,
)
from gluon_lambda.types import NetOptions

if TYPE_CHECKING:
    from types import ModuleType

    from gluon_lambda.archive_store.archive import Archive
    from gluon_lambda.services.modules import ArchiveCode

# Blocks that an archive's code builds are not fused unless it is asked for: fusing changes the last bits of what they compute.
SAME_ANSWERS = NetOptions(fuse=False)

# Phase name and milliseconds, in the order in which the phases ran.
Timings = list[tuple[str, float]]


class EntryModule(NamedTuple):
    """An archive whose service file has been imported.

    Attributes:
        archive: The archive.
        code: Its modules.
        module: The module of the entry point.
        function: The function or method that the manifest names; ``handle`` where it names none.
        options: How the Gluon blocks that the code builds are made ready.
    """

    archive: Archive
    code: ArchiveCode
    module: ModuleType
    function: str
    options: NetOptions = SAME_ANSWERS


class Outcome(NamedTuple):
    """How a call into an archive's code ended.

    Attributes:
        value: What it returned, or None.
        error: What it raised, or None.
    """

    value: Any
    error: BaseException | None


def attempt(call: Callable[..., Any], *args: Any) -> Outcome:
    """Call an archive's code. This is the one place where anything that it raises is caught."""
    try:
        return Outcome(call(*args), None)
    except BaseException as error:  # noqa: BLE001 - code that is not ours may raise anything: SystemExit, asyncio's CancelledError, …
        return Outcome(None, error)


def run_phase(
    phase: str,
    timings: Timings,
    call: Callable[..., Any],
    *args: Any,
    translate: Callable[[BaseException, str], GluonLambdaError] | None = None,
) -> Any:
    """Run one phase of a service, note its time, and turn what it raises into an error of ours.

    Args:
        phase: ``preprocess``, ``inference``, ``postprocess`` or ``handle``.
        timings: Where the phase and its milliseconds are appended, whether it raises or not.
        call: The service's own method or function.
        args: Its arguments.
        translate: Makes an error of ours from what was raised and the phase; ``phase_error`` where none is given.

    Raises:
        GluonLambdaError: What ``translate`` made, or an error of ours that the phase itself raised, with its phase filled in.
    """
    started = perf_counter()
    outcome = attempt(call, *args)
    timings.append((phase, (perf_counter() - started) * 1000))
    if outcome.error is None:
        return outcome.value
    if isinstance(outcome.error, GluonLambdaError):
        raise _with_phase(outcome.error, phase)
    raise (translate or phase_error)(outcome.error, phase) from outcome.error


def phase_error(error: BaseException, phase: str) -> GluonLambdaError:
    """The error of ours for what an archive's code raised in ``phase``: whose fault it is follows from the phase.

    The message names the exception's type only: its text may hold what is nobody's business outside. The log has all of it.
    """
    name = type(error).__name__
    if is_out_of_memory(error):
        return OutOfMemory(f"The model ran out of memory in its {phase} phase ({name}).", phase=phase)
    if phase == "preprocess":
        return InputMismatch(f"The model's service could not preprocess the input ({name}).", phase=phase)
    return InferenceError(f"The model's service raised {name} in its {phase} phase; the log says more.", phase=phase)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or MXNet ran out of memory."""
    return isinstance(error, MemoryError) or (type(error).__name__ == "MXNetError" and tells_of_memory(str(error)))


def load_step(archive: str, doing: str, folder: str, call: Callable[..., Any], *args: Any) -> Any:
    """Call an archive's code while it is being loaded.

    Args:
        archive: The archive's name, for the error.
        doing: What is done, for the error: ``importing service.py``.
        folder: The folder of the archive's content; the error names the last line under it that was running.
        call: The archive's code.
        args: Its arguments.

    Raises:
        ServiceLoadError: The archive's code raised; names archive, file, line and cause.
        OutOfMemory: It needs more memory than there is; a store may let go of another model and try again.
    """
    give_event_loop()
    outcome = attempt(call, *args)
    if outcome.error is None:
        return outcome.value
    if isinstance(outcome.error, GluonLambdaError):
        raise outcome.error
    if is_out_of_memory(outcome.error):
        message = f"Archive {archive}: {doing} ran out of memory. Give the function more (MemorySize)."
        raise OutOfMemory(message) from outcome.error
    raise ServiceLoadError(
        f"Archive {archive}: {doing} failed{source_line(outcome.error, folder)}: {_described(outcome.error)}"
    ) from outcome.error


def give_event_loop() -> None:
    """Let ``asyncio.get_event_loop`` find a loop where archive code has imported asyncio, as it would in the main thread of MMS's workers.

    Archive code runs in a thread of its own (``model_thread.py``), where that raises instead.
    """
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is None or threading.current_thread() is threading.main_thread():
        return
    try:
        asyncio.get_event_loop()
    except RuntimeError:
        asyncio.set_event_loop(asyncio.new_event_loop())


def source_line(error: BaseException, folder: str) -> str:
    """`` at file.py:12``: the last line of a file under ``folder`` that took part in ``error``; empty where none did."""
    if isinstance(error, SyntaxError) and (error.filename or "").startswith(folder):
        return f" at {_within(folder, error.filename or '')}:{error.lineno}"
    found = ""
    trace = error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if filename.startswith(folder):
            found = f" at {_within(folder, filename)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def enveloped(value: Any, *, form: str) -> Any:
    """A service's answer in the envelope of the archive's form (``mms-0.4`` or ``mms-1.x``), whichever service gave it."""
    return {"prediction": value} if form == "mms-0.4" else value


def plain(value: Any) -> Any:
    """``value`` with every MXNet array in it copied to NumPy, which waits for the engine and shows its errors.

    MXNet computes asynchronously and raises where a result is read; without this that would be in the JSON encoder.
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    to_numpy = getattr(value, "asnumpy", None)
    return value if to_numpy is None else to_numpy()


def _described(error: BaseException) -> str:
    """``ValueError: its text``, without the text where the archive's own exception cannot say it."""
    text = attempt(str, error)
    return f"{type(error).__name__}: {text.value if text.error is None else 'its text cannot be shown'}"


def _with_phase(error: GluonLambdaError, phase: str) -> GluonLambdaError:
    if isinstance(error, (InputMismatch, InferenceError)) and error.phase is None:
        error.phase = phase
    return error


def _within(folder: str, filename: str) -> str:
    return filename[len(folder) :].lstrip("/")
