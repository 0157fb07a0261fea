"""Native services: an archive's own pre- and postprocessing around an exported net, on NumPy arrays, without ``import mxnet``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from gluon_lambda.errors import ServiceLoadError
from gluon_lambda.services.base import EntryModule, Timings, enveloped, load_step, run_phase
from gluon_lambda.services.exported_net import load_net
from gluon_lambda.types import Part, Payload, Prediction, Predictor

if TYPE_CHECKING:
    from gluon_lambda.archive_store.signature import Signature
    from gluon_lambda.services.modules import ArchiveCode
    from gluon_lambda.types import Array, PredictorFactory


class NativeModel(NamedTuple):
    """What a native service is given.

    Attributes:
        name: The endpoint's name.
        folder: Absolute path of the archive's content, for files of the service's own.
        manifest: The manifest as parsed.
        signature: ``signature.json``, or None.
        labels: The lines of ``synset.txt``; empty where there is none.
        predictor: The exported net.
    """

    name: str
    folder: str
    manifest: dict[str, Any]
    signature: Signature | None
    labels: tuple[str, ...]
    predictor: Predictor


class NativeService:
    """Base class of native services; an archive's service file derives one class from it.

    A request goes through ``preprocess``, ``inference`` and ``postprocess`` in this order. ``preprocess`` raises
    ``gluon_lambda.errors.InputMismatch`` with a message for the client where the input is not what the model takes;
    anything else that it raises is answered with 400 as well, without its text. What the later phases raise is a 500.

    Args:
        model: The archive's parts; kept as ``self.model``, its net as ``self.predictor``.
    """

    def __init__(self, model: NativeModel) -> None:
        self.model = model
        self.predictor = model.predictor

    def preprocess(self, inputs: dict[str, Part]) -> dict[str, Array]:
        """Turn a request's parts, by name, into the net's inputs, by name; to be overridden.

        A raw or JSON body is the part called ``body``. Of several parts of one name the last one counts.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no preprocess")

    def inference(self, arrays: dict[str, Array]) -> list[Array]:
        """Run the net."""
        return self.predictor.predict(arrays)

    def postprocess(self, outputs: list[Array]) -> Any:
        """Turn the net's outputs into a JSON-able answer; NumPy arrays and scalars may be in it. By default all of them."""
        return outputs


class NativeServiceRunner:
    """Answers requests with a native service (``types.Service``)."""

    def __init__(self, service: NativeService, code: ArchiveCode, *, form: str) -> None:
        self._service = service
        self._code = code
        self.form = form

    def predict(self, payload: Payload) -> Prediction:
        """Answer one request; see ``types.Service``."""
        timings: Timings = []
        inputs = {part.name: part for part in payload.parts}
        with self._code.at_work():
            arrays = run_phase("preprocess", timings, self._service.preprocess, inputs)
            outputs = run_phase("inference", timings, self._service.inference, arrays)
            value = run_phase("postprocess", timings, self._service.postprocess, outputs)
        return Prediction(enveloped(value, form=self.form), phases=tuple(timings))

    def close(self) -> None:
        """Release the net and forget the archive's modules."""
        self._service.predictor.close()
        del self._service
        self._code.close()


def load(entry: EntryModule, classes: list[type], make_predictor: PredictorFactory) -> NativeServiceRunner:
    """Construct an archive's native service.

    Args:
        entry: The archive and its imported service file.
        classes: The classes in it that derive from ``NativeService``.
        make_predictor: Builds the net.

    Raises:
        ServiceLoadError: There are several classes, it has no ``preprocess``, or its constructor raised.
        ArchiveError: The exported net is missing or at fault.
    """
    archive, folder = entry.archive, entry.archive.folder()
    service_class = _only_service(entry, classes)
    predictor = load_net(archive, make_predictor)
    model = NativeModel(archive.name, folder, archive.manifest.raw, archive.signature, archive.labels, predictor)
    with ExitStack() as on_failure:
        on_failure.callback(predictor.close)
        service = load_step(archive.name, f"constructing {service_class.__name__}", folder, service_class, model)
        on_failure.pop_all()
    return NativeServiceRunner(service, entry.code, form=archive.manifest.form)


def _only_service(entry: EntryModule, classes: list[type]) -> type[NativeService]:
    names = ", ".join(sorted(each.__name__ for each in classes))
    if len(classes) > 1:
        raise ServiceLoadError(
            f"Archive {entry.archive.name}: {entry.archive.manifest.service} holds several native services ({names}); "
            f"leave one, or derive one from the others."
        )
    if not issubclass(classes[0], NativeService) or classes[0].preprocess is NativeService.preprocess:
        raise ServiceLoadError(f"Archive {entry.archive.name}: {names} defines no preprocess(inputs).")
    return classes[0]
