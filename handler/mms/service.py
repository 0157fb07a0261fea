"""``mms.service``: the call of an MMS 1.x handler, and the exception with which it picks a status (1.1: mms/service.py)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mms.context import Context, RequestProcessor, RequestProcessors
from mms.metrics.metrics_store import MetricsStore
from mms.version import __version__

logger = logging.getLogger(__name__)


class PredictionException(Exception):
    """Raised by a handler to answer with a message and a status of its own."""

    def __init__(self, message: str, error_code: int = 500) -> None:
        self.message = message
        self.error_code = error_code
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} : {self.error_code}"


class Service:
    """A handler and its context.

    Args:
        model_name: The manifest's.
        model_dir: Absolute path of the archive's content.
        manifest: The manifest as parsed.
        entry_point: The handler: ``entry_point(data, context)``.
        gpu: Always None.
        batch_size: The most requests that one call brings.
    """

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: Any,
        entry_point: Callable[[Any, Context], Any],
        gpu: int | None,
        batch_size: int,
    ) -> None:
        self._context = Context(model_name, model_dir, manifest, batch_size, gpu, __version__)
        self._entry_point = entry_point

    @property
    def context(self) -> Context:
        """What the handler is told."""
        return self._context

    @staticmethod
    def retrieve_data_for_inference(
        batch: Sequence[dict[str, Any]],
    ) -> tuple[list[RequestProcessor], list[dict[str, Any]], dict[int, str]]:
        """Split a batch as MMS's frontend sends it into headers, inputs and request ids.

        Args:
            batch: For each request ``{"requestId": bytes, "parameters": [{"name", "value", "contentType"}], "headers":
                [{"name": bytes, "value": bytes}]}``; of several parameters of one name the last one counts.
        """
        headers = [RequestProcessor(_request_headers(request)) for request in batch]
        inputs = [{each["name"]: each["value"] for each in request["parameters"]} for request in batch]
        request_ids = {index: request["requestId"].decode() for index, request in enumerate(batch)}
        return headers, inputs, request_ids

    def predict(self, batch: Sequence[dict[str, Any]]) -> Any:
        """Call the handler with a batch, with a context made ready for it; what it raises is left to the caller."""
        headers, inputs, request_ids = self.retrieve_data_for_inference(batch)
        self._context.request_ids = request_ids
        self._context.request_processor = RequestProcessors(headers, request_ids)
        self._context.metrics = MetricsStore(request_ids, self._context.model_name)
        return self._entry_point(inputs, self._context)


def emit_metrics(metrics: Iterable[Any] | None) -> None:
    """Write metrics to the log, one line each, as MMS's log readers know them."""
    for metric in metrics or ():
        logger.info("[METRICS]%s", metric)


def _request_headers(request: dict[str, Any]) -> dict[str, Any]:
    parts = {each["name"]: {"content-type": each["contentType"]} for each in request["parameters"]}
    headers = {each["name"].decode("latin-1"): each["value"].decode("latin-1") for each in request.get("headers") or ()}
    return {**parts, **headers}
