"""Handlers written for MXNet Model Server 1.x: ``handle(data, context)``, a function or the method of a class with ``initialize``."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, SupportsIndex

from gluon_lambda.errors import GluonLambdaError, InferenceError, MalformedBody, OutOfMemory, ServiceLoadError
from gluon_lambda.services.base import EntryModule, Timings, enveloped, is_out_of_memory, load_step, plain, run_phase
from gluon_lambda.services.blocks import find_blocks, hybridize_blocks, require_initialised, wait_for_engine
from gluon_lambda.types import Pairs, Part, Payload, Prediction
from mms.service import PredictionException
from mms.service import Service as MmsService

if TYPE_CHECKING:
    from gluon_lambda.services.modules import ArchiveCode

logger = logging.getLogger(__name__)

# CloudWatch's units that MMS's metrics come in; any other text is none to CloudWatch.
# 1xx is not for applications.
_STATUSES = range(200, 600)
_UNITS = {"Milliseconds", "Seconds", "Percent", "Count", "Megabytes", "Gigabytes", "Kilobytes", "Bytes"}


class Mms1xService:
    """Answers requests with an MMS 1.x handler (``types.Service``).

    Args:
        mms_service: The handler with its context.
        code: The archive's modules.
        form: The manifest's form, which decides on the envelope.
    """

    def __init__(self, mms_service: MmsService, code: ArchiveCode, *, form: str) -> None:
        self._mms_service = mms_service
        self._code = code
        self.form = form

    def predict(self, payload: Payload) -> Prediction:
        """Answer one request, as a batch of one; see ``types.Service``."""
        return self.predict_batch([payload])[0]

    def predict_batch(self, payloads: Sequence[Payload]) -> list[Prediction]:
        """Answer several requests with one call of the handler, which must be written for batches.

        Times and metrics are those of the whole batch and stand in the first prediction.

        Raises:
            MalformedBody: A JSON part does not parse.
            InferenceError: The handler raised, or did not answer with a list of one item for each request.
        """
        batch = [read_request(payload) for payload in payloads]
        timings: Timings = []
        with self._code.at_work():
            answers = run_phase("handle", timings, self._answers, batch, translate=handler_error)
        predictions = [self._prediction(index, answer) for index, answer in enumerate(answers)]
        return [predictions[0]._replace(phases=tuple(timings), metrics=self._metrics()), *predictions[1:]]

    def close(self) -> None:
        """Forget the handler and the archive's modules; MXNet frees what nobody holds any more."""
        # Before the modules: it is what holds the handler, and the handler its net.
        del self._mms_service
        self._code.close()

    def _answers(self, batch: list[dict[str, Any]]) -> Any:
        answers = self._mms_service.predict(batch)
        if not isinstance(answers, list):
            raise InferenceError("Invalid model predict output", status=503)
        if len(answers) != len(batch):
            raise InferenceError(
                f"number of batch response mismatched, expect: {len(batch)}, got: {len(answers)}.", status=503
            )
        return plain(answers)

    def _prediction(self, index: int, answer: Any) -> Prediction:
        context = self._mms_service.context
        status = http_status(context.get_response_status(index)[0])
        if status is None:
            raise InferenceError(
                "The handler set a status that is no whole number from 200 to 599", phase="handle", status=503
            )
        headers = {str(name).lower(): str(value) for name, value in context.get_response_headers(index).items()}
        content_type = headers.pop("content-type", "")
        raw = isinstance(answer, (bytes, bytearray)) or (isinstance(answer, str) and self.form != "mms-0.4")
        value = _unwrapped(answer) if raw else enveloped(answer, form=self.form)
        return Prediction(value, raw=raw, content_type=content_type, status=status, headers=tuple(headers.items()))

    def _metrics(self) -> tuple[tuple[str, float, str, Pairs], ...]:
        """What the handler counted; a metric that is no number, as MMS's errors are, goes to the log."""
        collected = []
        for metric in self._mms_service.context.metrics.store:
            if isinstance(metric.value, (int, float)):
                dimensions = tuple((str(each.name), str(each.value)) for each in metric.dimensions)
                unit = metric.unit if metric.unit in _UNITS else "None"
                collected.append((str(metric.name), float(metric.value), unit, dimensions))
            else:
                logger.warning("%s", metric)
        return tuple(collected)


def load(entry: EntryModule) -> Mms1xService:
    """Start an MMS 1.x handler: construct and initialise the class, or call the function with None, as MMS does at load.

    Raises:
        ServiceLoadError: There is no entry point or more than one, it raised, or a block was left without values.
    """
    archive, code = entry.archive, entry.code
    handler, holders = _entry_point(entry)
    mms_service = MmsService(archive.name, archive.folder(), archive.manifest.raw, handler, None, 1)
    start, doing = _starter(handler, mms_service)
    load_step(archive.name, doing, archive.folder(), start)
    blocks = find_blocks(holders, code.defines)
    require_initialised(blocks, archive=archive.name)
    hybridize_blocks(blocks, archive.signature, entry.options)
    wait_for_engine()
    return Mms1xService(mms_service, code, form=archive.manifest.form)


def http_status(code: Any) -> int | None:
    """The status that a handler asked for, or None where HTTP's gateways take no such status."""
    return int(code) if isinstance(code, SupportsIndex) and int(code) in _STATUSES else None


def handler_error(error: BaseException, phase: str) -> GluonLambdaError:
    """MMS's answers to what a handler raises (mms/service.py): its own status, 507 or 503."""
    if isinstance(error, PredictionException):
        return InferenceError(str(error.message), phase=phase, status=http_status(error.error_code) or 500)
    if is_out_of_memory(error):
        return OutOfMemory("Out of resources", phase=phase)
    return InferenceError("Prediction failed", phase=phase, status=503)


def _entry_point(entry: EntryModule) -> tuple[Callable[..., Any], list[Any]]:
    """The handler, and the objects that may hold its blocks."""
    function = getattr(entry.module, entry.function, None)
    if callable(function) and not isinstance(function, type):
        return function, list(vars(entry.module).values())
    classes = _classes_with(entry.module, entry.function) or _classes_with(entry.module, "handle")
    if len(classes) != 1:
        raise ServiceLoadError(_no_entry_point(entry, classes))
    doing = f"constructing {classes[0].__name__}"
    instance = load_step(entry.archive.name, doing, entry.archive.folder(), classes[0])
    method = entry.function if hasattr(instance, entry.function) else "handle"
    return getattr(instance, method), [instance]


def _classes_with(module: ModuleType, method: str) -> list[type]:
    """The classes that the module itself defines and that have the method."""
    classes = dict.fromkeys(thing for thing in vars(module).values() if isinstance(thing, type))
    return [each for each in classes if each.__module__ == module.__name__ and callable(getattr(each, method, None))]


def _no_entry_point(entry: EntryModule, classes: list[type]) -> str:
    what = f"Archive {entry.archive.name}: {entry.archive.manifest.service}"
    if classes:
        return (
            f"{what}: several classes have a method handle ({', '.join(each.__name__ for each in classes)}); leave one."
        )
    return (
        f"{what}: there is no function {entry.function}(data, context), no class with a method handle, no class derived from "
        f"MMS's SingleNodeService and none from gluon_lambda.services.native.NativeService."
    )


def _starter(handler: Callable[..., Any], mms_service: MmsService) -> tuple[Callable[[], Any], str]:
    """What starts the handler, and how to call that in an error."""
    instance = getattr(handler, "__self__", None)
    if instance is None or isinstance(instance, ModuleType):
        return lambda: handler(None, mms_service.context), f"{getattr(handler, '__name__', 'handler')}(None, context)"
    initialize = getattr(instance, "initialize", None)
    if initialize is None:
        return lambda: None, "starting"
    return lambda: initialize(mms_service.context), f"{type(instance).__name__}.initialize(context)"


def read_request(payload: Payload) -> dict[str, Any]:
    """A request as MMS's frontend hands it to a worker.

    Raises:
        MalformedBody: A JSON part does not parse.
    """
    return {
        "requestId": payload.request_id.encode(),
        "parameters": [
            {"name": part.name, "value": _value(part), "contentType": part.content_type} for part in payload.parts
        ],
        "headers": [
            {"name": name.encode("latin-1", "replace"), "value": value.encode("latin-1", "replace")}
            for name, value in payload.headers
        ],
    }


def _value(part: Part) -> Any:
    """By content type, exactly as MMS decodes it (mms/protocol/otf_message_handler.py): JSON, text, or else a bytearray."""
    if not isinstance(part.value, (bytes, bytearray)):
        return part.value
    if part.content_type == "application/json":
        return _parsed(part)
    if part.content_type.startswith("text"):
        return bytes(part.value).decode(errors="replace")
    return bytearray(part.value)


def _parsed(part: Part) -> Any:
    try:
        return json.loads(part.value)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"{part.name} is not JSON, as its content type says: {error}.") from error


def _unwrapped(answer: Any) -> Any:
    return bytes(answer) if isinstance(answer, bytearray) else answer
