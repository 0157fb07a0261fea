"""The invoke phase of a batch: one event of a trigger in, predictions on S3 out, and the answer that the trigger understands."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from gluon_lambda.archive_store.archive import Archive
from gluon_lambda.archive_store.manifest import FORM_0_4
from gluon_lambda.batch.deadline import Deadline
from gluon_lambda.batch.dispatch import HandOver, answer
from gluon_lambda.batch.formats.csv_rows import NUMBERS, OBJECTS, Columns
from gluon_lambda.batch.handing_on import Channel, InvokeChannel, QueueChannel
from gluon_lambda.batch.job import Desk, Served
from gluon_lambda.batch.objects import Facts
from gluon_lambda.batch.places import parse_output
from gluon_lambda.batch.routes import model_of
from gluon_lambda.batch.s3_calls import Connection
from gluon_lambda.batch.s3_objects import S3Objects
from gluon_lambda.batch_records import BatchAnswer, BatchCall, ObjectRef
from gluon_lambda.errors import GluonLambdaError, UnsupportedEvent
from gluon_lambda.event_sources.batch_source import BatchSource
from gluon_lambda.event_sources.object_references import continuation_of
from gluon_lambda.services.batching import Measuring, batcher_of, measure_size
from gluon_lambda.services.inputs import JSON_TYPE
from gluon_lambda.services.models import LoadedModel, Models, resident_bytes
from gluon_lambda.settings import Settings
from gluon_lambda.telemetry.metrics import Metric, Metrics
from gluon_lambda.types import LambdaContext

_LOGGER = logging.getLogger("gluon_lambda.batch")
# Of the memory that is free when a batch size is looked for: rows that are decoded ahead need some, too.
_SHARE_OF_ROOM = 0.5
_UNLIMITED_BYTES = 8 << 30
# S3 is waited for until then: somebody has to be told that it does not answer.
_FOR_THE_ANSWER_MS = 500


class BatchInvoker:
    """Answers batch events; kept as long as the process lives, with its connections and what it has measured."""

    def __init__(self, settings: Settings, models: Models, metrics: Metrics) -> None:
        """Serve ``models``.

        Raises:
            UnsupportedEvent: GLUON_OUTPUT is not set: there is no place for predictions.
        """
        if not settings.output:
            raise UnsupportedEvent(
                "an event that tells of objects on S3 came, and GLUON_OUTPUT is not set: say where predictions are to be written, "
                "like s3://bucket/predictions/"
            )
        self._settings = settings
        self._models = models
        self._metrics = metrics
        self._template = parse_output(settings.output)
        self._connection = Connection()
        # It tells of every client where its credentials came from.
        logging.getLogger("botocore").setLevel(logging.WARNING)
        self._served: dict[str, tuple[LoadedModel, Served]] = {}

    def __call__(self, source: BatchSource, event: Any, context: LambdaContext) -> Any:
        """Answer one event.

        Raises:
            GluonLambdaError: Objects are left, and the trigger is told so by an error.
        """
        started = time.perf_counter()
        call = source.to_call(event, context)
        deadline = Deadline(call.remaining_ms)
        store = S3Objects(self._connection, lambda: max(0, call.remaining_ms() - _FOR_THE_ANSWER_MS))
        desk = Desk(store, self._template, self._serve, deadline, self._settings.function_name, known=self._known)
        done = answer(call, desk, self._hand_over(call))
        self._record(done, source.TITLE, (time.perf_counter() - started) * 1000)
        return source.to_answer(done, event)

    def _known(self, reference: ObjectRef, facts: Facts) -> Served | None:
        """The model, where it is one that stays, and has been measured."""
        try:
            name = self._name_of(reference, facts)
        except GluonLambdaError:
            return None
        return self._served[name][1] if name in self._served and name in self._models.configured else None

    def _name_of(self, reference: ObjectRef, facts: Facts) -> str:
        return model_of(
            reference,
            facts.metadata,
            self._settings.routes,
            self._models.configured,
            has_store=bool(self._settings.model_store),
        )

    def _serve(self, reference: ObjectRef, facts: Facts) -> Served:
        name = self._name_of(reference, facts)
        model = self._models.get(name)
        known, served = self._served.get(name, (None, None))
        if served is None or known is not model:  # a store's model may have gone and come again
            served = self._measured(model)
            self._served[name] = (model, served)
        return served

    def _measured(self, model: LoadedModel) -> Served:
        batcher = batcher_of(model.service, in_pairs=self._settings.batch_size != 1)
        size = self._settings.batch_size or measure_size(batcher, Measuring(self._room_bytes()))
        _LOGGER.info("Model %s: micro-batches of %d rows", model.name, min(size, batcher.most))
        return Served(model.name, model.archive.digest, batcher, min(size, batcher.most), columns_of(model.archive))

    def _room_bytes(self) -> int:
        megabytes = self._settings.memory_megabytes
        limit = megabytes << 20 if megabytes else _UNLIMITED_BYTES
        return int(max(limit - resident_bytes(), 0) * _SHARE_OF_ROOM)

    def _hand_over(self, call: BatchCall) -> HandOver:
        return HandOver(self._channel(call), continuation_of, takes_untouched=call.channel == "invoke")

    def _channel(self, call: BatchCall) -> Channel | None:
        if call.channel not in ("queue", "invoke"):
            return None
        if self._settings.continue_queue:
            return QueueChannel(partial(_client, "sqs"), url=self._settings.continue_queue)
        if call.channel == "queue":
            return QueueChannel(partial(_client, "sqs"), arn=call.queue_arn)
        return InvokeChannel(partial(_client, "lambda"), self._settings.function_name)

    def _record(self, done: BatchAnswer, source: str, milliseconds: float) -> None:
        states: dict[str, int] = {}
        for result in done.results:
            states[result.state] = states.get(result.state, 0) + 1
            level = logging.WARNING if result.state in ("transient", "permanent") else logging.INFO
            fields = {
                "state": result.state,
                "rows": result.rows,
                "failedRows": result.failed_rows,
                **dict(result.outputs),
            }
            _LOGGER.log(level, "%s: %s", result.reference.uri, result.message or result.state, extra={"fields": fields})
        for refused in done.refused:
            _LOGGER.warning("%s: %s", refused.acknowledgement or "a record", refused.reason)
        ended = [result for result in done.results if result.state in ("done", "permanent")]
        metrics = [
            Metric("BatchObjects", len(done.results), "Count"),
            Metric("BatchFailedObjects", states.get("permanent", 0), "Count"),
            Metric("BatchRows", sum(result.rows for result in ended), "Count"),
            Metric("BatchFailedRows", sum(result.failed_rows for result in ended), "Count"),
            Metric("BatchRefused", len(done.refused), "Count"),
            Metric("BatchTime", round(milliseconds, 3), "Milliseconds"),
        ]
        self._metrics.batch(metrics, fields={"source": source, "states": states})


def columns_of(archive: Archive) -> Columns:
    """What a model with one JSON input makes of a table: a built-in service takes a row's numbers, an MMS 0.4 service a list with an object."""
    signature, manifest = archive.signature, archive.manifest
    if signature is None or signature.input_type != JSON_TYPE or len(signature.inputs) != 1:
        return Columns()
    names = (signature.inputs[0].name,)
    if not manifest.service:
        return Columns(names, NUMBERS)
    return Columns(names, OBJECTS) if manifest.form == FORM_0_4 else Columns()


def _client(service: str, environ: Callable[[str], str | None] = os.environ.get) -> Any:
    import boto3  # lazy: most calls hand nothing on

    return boto3.session.Session().client(service, region_name=environ("AWS_REGION") or environ("AWS_DEFAULT_REGION"))
