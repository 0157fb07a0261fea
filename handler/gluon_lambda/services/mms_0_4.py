"""Services written for MXNet Model Server 0.4: a class derived from ``SingleNodeService``, constructed with the archive's folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gluon_lambda.errors import ServiceLoadError, SignatureInvalid
from gluon_lambda.services.base import EntryModule, Timings, attempt, enveloped, load_step, phase_error, plain
from gluon_lambda.services.blocks import (
    find_blocks,
    hybridize_blocks,
    require_initialised,
    sample_arrays,
    settled,
    wait_for_engine,
)
from gluon_lambda.services.exported_net import require_signature
from gluon_lambda.services.mms_0_4_inputs import JPEG, JSON, read_inputs
from gluon_lambda.types import Payload, Prediction

if TYPE_CHECKING:
    from gluon_lambda.archive_store.signature import Signature
    from gluon_lambda.services.modules import ArchiveCode

# The default service of `Model-Format`, for the file that MMS's exporter packed, which defines both.
_DEFAULT_SERVICES = {"MXNet-Symbolic": "MXNetBaseService", "Gluon-Imperative": "GluonImperativeBaseService"}


class PhaseRecorder:
    """Notes how long a service's phases take and in which one it fails, from inside the service's own ``inference``.

    MMS calls ``inference``, which calls the three phases; some archives override it, so it cannot be replaced from outside.
    """

    def __init__(self) -> None:
        self.timings: Timings = []
        self.running: str | None = None

    def attach(self, service: Any) -> None:
        """Put a recorder around each of the service's phases.

        What leaves a phase is brought into order on the way: a ``map``, which MMS's own default service returns and then refuses,
        becomes a list, and what MXNet is still computing is waited for.
        """
        service._preprocess = self._recorded("preprocess", service._preprocess, _listed)
        service._inference = self._recorded("inference", service._inference, settled)
        service._postprocess = self._recorded("postprocess", service._postprocess, plain)

    def begin(self) -> None:
        """Forget the request before."""
        self.timings = []
        self.running = None

    def _recorded(self, phase: str, method: Callable[..., Any], finish: Callable[[Any], Any]) -> Callable[..., Any]:
        def recorded(*args: Any, **kwargs: Any) -> Any:
            self.running = phase
            started = perf_counter()
            try:
                value = finish(method(*args, **kwargs))
            finally:
                self.timings.append((phase, (perf_counter() - started) * 1000))
            self.running = None
            return value

        return recorded


class Mms04Service:
    """Answers requests with an MMS 0.4 service (``types.Service``).

    Args:
        service: The archive's service object.
        code: The archive's modules.
        signature: Says what is read from a request.
        form: The manifest's form, which decides on the envelope.
    """

    def __init__(self, service: Any, code: ArchiveCode, signature: Signature, *, form: str) -> None:
        self._service = service
        self._code = code
        self._names = tuple(each.name for each in signature.inputs)
        self._input_type = signature.input_type
        self.form = form
        self._recorder = PhaseRecorder()
        self._recorder.attach(service)

    def predict(self, payload: Payload) -> Prediction:
        """Answer one request; see ``types.Service``."""
        data = read_inputs(payload, self._names, self._input_type)
        self._recorder.begin()
        with self._code.at_work():
            outcome = attempt(self._answer, data)
        if outcome.error is not None:
            # A service that overrides `inference` may fail outside the three phases: its own fault then.
            raise phase_error(outcome.error, self._recorder.running or "inference") from outcome.error
        return Prediction(enveloped(outcome.value, form=self.form), phases=tuple(self._recorder.timings))

    def close(self) -> None:
        """Forget the service and the archive's modules; MXNet frees what nobody holds any more."""
        # Before the modules: it is what holds the net.
        del self._service
        self._code.close()

    def _answer(self, data: list[Any]) -> Any:
        return plain(self._service.inference(data))


def load(entry: EntryModule, classes: list[type]) -> Mms04Service:
    """Construct an MMS 0.4 service, check its blocks, make them fast, and run it once.

    Args:
        entry: The archive and its imported service file.
        classes: The services that the file defines.

    Raises:
        ServiceLoadError: There are several services, the constructor raised, or parameters were left without values.
        SignatureInvalid: There is no signature, or its input type is none of MMS's.
    """
    archive = entry.archive
    signature = _served_signature(entry)
    service_class = _only_service(entry, classes)
    service = load_step(
        archive.name, f"constructing {service_class.__name__}", archive.folder(), _construct, entry, service_class
    )
    blocks = find_blocks(getattr(service, "__dict__", {}).values(), entry.code.defines)
    require_initialised(blocks, archive=archive.name)
    hybridize_blocks(blocks, signature, entry.options)
    _warm_up(service, signature)
    wait_for_engine()
    return Mms04Service(service, entry.code, signature, form=archive.manifest.form)


def _construct(entry: EntryModule, service_class: type) -> Any:
    """By position, as MMS does it (mms/service_manager.py): model name, folder, manifest, GPU."""
    manifest = entry.archive.manifest
    return service_class(manifest.model_name, entry.archive.folder(), manifest.raw, None)


def _served_signature(entry: EntryModule) -> Signature:
    signature = require_signature(entry.archive)
    if signature.input_type not in (JPEG, JSON):
        raise SignatureInvalid(
            f"Archive {entry.archive.name}: signature.json: input_type is {signature.input_type!r}. "
            f"An MMS 0.4 service takes {JPEG} or {JSON}."
        )
    return signature


def _only_service(entry: EntryModule, classes: list[type]) -> type:
    model_format = entry.archive.manifest.raw.get("Model", {}).get("Model-Format", "")
    default = [each for each in classes if each.__name__ == _DEFAULT_SERVICES.get(model_format)]
    chosen = classes if len(classes) == 1 else default
    if len(chosen) != 1:
        names = ", ".join(sorted(each.__name__ for each in classes))
        raise ServiceLoadError(
            f"Archive {entry.archive.name}: {entry.archive.manifest.service} holds several services ({names}); "
            f"there should be one, or one that derives from all others."
        )
    return chosen[0]


def _warm_up(service: Any, signature: Signature) -> None:
    """Run the net once as requests will. What that raises says nothing: the service may take other arrays than it declares."""
    engine: Any = sys.modules.get("mxnet")
    arrays = sample_arrays(signature.inputs) if engine is not None else None
    if arrays is not None:
        attempt(lambda: settled(service._inference([engine.nd.array(each, dtype=each.dtype) for each in arrays])))


def _listed(value: Any) -> Any:
    return settled(list(value) if isinstance(value, map) else value)
