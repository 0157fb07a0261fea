"""The services of archives without code of their own: an exported net, and a ``signature.json`` that says the rest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from gluon_lambda.archive_store.manifest import FORM_0_4
from gluon_lambda.errors import InferenceError, InputMismatch, ServiceLoadError, SignatureInvalid
from gluon_lambda.services import labels
from gluon_lambda.services.base import Timings, enveloped, run_phase
from gluon_lambda.services.exported_net import require_signature
from gluon_lambda.types import Prediction

if TYPE_CHECKING:
    from gluon_lambda.archive_store.archive import Archive
    from gluon_lambda.archive_store.signature import Signature
    from gluon_lambda.services.inputs import Inputs
    from gluon_lambda.services.labels import AnswerSteps
    from gluon_lambda.types import Payload, Predictor

    Reader = Callable[[Payload], Inputs]
    Shapes = dict[str, tuple[int, ...]]


class BuiltinService:
    """Answers requests with an exported net (``types.Service``)."""

    def __init__(
        self, net: Predictor, reader: Reader, steps: tuple[AnswerSteps, ...], *, shapes: Shapes, form: str
    ) -> None:
        """Take the net and what stands before and behind it.

        Args:
            net: Arrays in, arrays out.
            reader: Makes the arrays of a request.
            steps: What is done to each output.
            shapes: Of the arrays of the smallest request, by input; 0 where a size stays open.
            form: The archive's form, which the answer's envelope follows.
        """
        self.net = net
        self.reader = reader
        self.steps = steps
        self.shapes = shapes
        self.form = form

    def predict(self, payload: Payload) -> Prediction:
        """Answer one request; see ``types.Service``."""
        timings: Timings = []
        inputs = run_phase("preprocess", timings, self.reader, payload)
        outputs = run_phase("inference", timings, self.net.predict, inputs.arrays)
        value = run_phase("postprocess", timings, labels.answer, outputs, self.steps, inputs.batch)
        return Prediction(enveloped(value, form=self.form), phases=tuple(timings))

    def close(self) -> None:
        """Release the net."""
        self.net.close()


def load(archive: Archive, net: Predictor) -> BuiltinService:
    """Put the built-in service that the archive's signature asks for around its net.

    Args:
        archive: An opened archive with a signature.
        net: Its exported net; closed where this fails, and by the service otherwise.

    Raises:
        SignatureInvalid: The signature is missing, malformed, or does not fit the net or the labels.
        ServiceLoadError: The net fails on an input of the declared shape.
    """
    with ExitStack() as on_failure:
        on_failure.callback(net.close)
        service = _service(archive, net)
        on_failure.pop_all()
    return service


def _service(archive: Archive, net: Predictor) -> BuiltinService:
    where = f"Archive {archive.name}: {archive.manifest.signature or 'signature.json'}"
    signature = require_signature(archive)
    read, shapes = _reader(signature, first_wins=archive.manifest.form == FORM_0_4, where=where)
    read_labels = partial(_labels, archive, where=where)
    steps = tuple(labels.parse_steps(declared, read_labels, where=where) for declared in signature.outputs)
    steps = _fitted(steps, _output_shapes(net, signature, shapes, where=where), where=where)
    return BuiltinService(net, read, steps, shapes=shapes, form=archive.manifest.form)


def _reader(signature: Signature, *, first_wins: bool, where: str) -> tuple[Reader, Shapes]:
    """What reads the requests, and the shapes of the smallest request: each kind is loaded only where it is met."""
    if signature.input_type.startswith("image/"):
        from gluon_lambda.services import builtin_image

        steps = builtin_image.parse_inputs(signature, where=where)
        reader = partial(builtin_image.read_inputs, inputs=steps, first_wins=first_wins)
        return reader, {each.name: each.shape for each in steps}
    if signature.input_type == "application/json":
        from gluon_lambda.services import builtin_tensor, tensors

        reader = partial(builtin_tensor.read_inputs, inputs=signature.inputs, first_wins=first_wins)
        return reader, {each.name: tensors.smallest_shape(each.shape) for each in signature.inputs}
    raise SignatureInvalid(f"{where}: input_type is {signature.input_type!r}. Accepted: image/jpeg, application/json.")


def _output_shapes(net: Predictor, signature: Signature, shapes: Shapes, *, where: str) -> list[tuple[int, ...]] | None:
    """The shapes of the net's outputs for the smallest request; None where that has sizes left open.

    The predictor knows them where the net's own inputs are declared whole; otherwise the net is run once on zeros of what the steps make.
    """
    if net.outputs:
        return [spec.shape for spec in net.outputs]
    if not all(size for shape in shapes.values() for size in shape):
        return None
    zeros = {each.name: np.zeros(shapes[each.name], each.dtype) for each in signature.inputs}
    try:
        return [output.shape for output in net.predict(zeros)]
    except InputMismatch as error:
        raise SignatureInvalid(f"{where} declares what the net does not take: {error}") from error
    except InferenceError as error:
        raise ServiceLoadError(f"{where}: the net fails on zeros of the declared shapes: {error}") from error


def _fitted(
    steps: tuple[AnswerSteps, ...], outputs: list[tuple[int, ...]] | None, *, where: str
) -> tuple[AnswerSteps, ...]:
    if outputs is None and not steps:
        raise SignatureInvalid(f"{where}: the inputs' sizes are open, so outputs must be declared; there are none.")
    if outputs is None:
        return steps
    steps = steps or tuple(labels.AnswerSteps(f"output{at}") for at in range(len(outputs)))
    if len(steps) != len(outputs):
        raise SignatureInvalid(f"{where} declares {len(steps)} outputs, and the net has {len(outputs)}.")
    for shape, each in zip(outputs, steps, strict=True):
        labels.check_labels(each, prod(shape[1:]), where=where)
    return steps


def _labels(archive: Archive, file: str, *, where: str) -> tuple[str, ...]:
    if file not in archive.members:
        raise SignatureInvalid(f"{where} names the labels {file!r}, which the archive does not have.")
    if file == labels.SYNSET:
        return archive.labels
    text = archive.read(file).decode("utf-8-sig", errors="replace")
    return tuple(line.strip() for line in text.rstrip().split("\n"))
