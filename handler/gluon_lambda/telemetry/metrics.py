"""CloudWatch metrics in the Embedded Metric Format: a log line that CloudWatch reads metrics out of; no AWS call, no thread.

Format: AWS, "Specification: Embedded metric format". Names are MMS's where MMS has one (mms-1.1: docs/metrics.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import NamedTuple

from gluon_lambda.telemetry.output import Output, Record, to_json
from gluon_lambda.types import Pairs, Prediction

_PHASE_METRICS = {
    "preprocess": "PreprocessTime",
    "inference": "InferenceTime",
    "postprocess": "PostprocessTime",
    "handle": "HandlerTime",
}
# AWS: "A MetricDefinition array … must not have more than 100", "no more than 30 dimensions".
_MOST_METRICS = 100


class Metric(NamedTuple):
    """One value: name, value, and CloudWatch's name of its unit."""

    name: str
    value: float
    unit: str


class Metrics:
    """Writes metrics of one function to stdout."""

    def __init__(self, output: Output, *, namespace: str, function_name: str) -> None:
        """Write to ``output`` under ``namespace``, with the function's name as a dimension."""
        self._output = output
        self._namespace = namespace
        self._function_name = function_name

    def request(self, values: Mapping[str, float], *, model: str, fields: Record) -> None:
        """Write the record of one request: its ``request_values``, by function and by model, and ``fields`` beside them."""
        dimensions = {"FunctionName": self._function_name}
        if model:
            dimensions["ModelName"] = model
        definition = _request_definition(self._namespace, tuple(dimensions), tuple(values))
        self._write(definition, {**dimensions, **values, **fields})

    def batch(self, metrics: Sequence[Metric], *, fields: Record) -> None:
        """Write the record of one batch: its metrics by function, and ``fields`` beside them."""
        dimensions = {"FunctionName": self._function_name}
        definition = _definition(self._namespace, dimensions, {each.name: each.unit for each in metrics})
        self._write(definition, {**dimensions, **{each.name: each.value for each in metrics}, **fields})

    def init_phases(self, phases: Mapping[str, float]) -> None:
        """Write ``InitDuration`` in milliseconds, one line a phase."""
        self._phases("InitDuration", phases)

    def restore_phases(self, phases: Mapping[str, float]) -> None:
        """Write ``RestoreDuration`` in milliseconds, one line a phase."""
        self._phases("RestoreDuration", phases)

    def _phases(self, name: str, phases: Mapping[str, float]) -> None:
        for phase, milliseconds in phases.items():
            dimensions = {"FunctionName": self._function_name, "Phase": phase}
            self._write_metrics([Metric(name, round(milliseconds, 3), "Milliseconds")], dimensions)

    def service(self, prediction: Prediction, *, model: str) -> None:
        """Write what the model's own code counted; one line for each set of dimensions that it gave."""
        grouped: dict[Pairs, list[Metric]] = {}
        for name, value, unit, dimensions in prediction.metrics:
            if not isfinite(value):
                continue  # CloudWatch takes no such value, and JSON has no word for it
            grouped.setdefault(dimensions, []).append(Metric(name, value, unit))
        for own, metrics in grouped.items():
            named = {"FunctionName": self._function_name, "ModelName": model} | dict(own)
            for start in range(0, len(metrics), _MOST_METRICS):
                self._write_metrics(metrics[start : start + _MOST_METRICS], named)

    def _write_metrics(self, metrics: Sequence[Metric], dimensions: Mapping[str, str]) -> None:
        definition = _definition(self._namespace, dimensions, {each.name: each.unit for each in metrics})
        self._write(definition, {**dimensions, **{each.name: each.value for each in metrics}})

    def _write(self, definition: str, record: Record) -> None:
        begins = f'"_aws":{{"Timestamp":{int(time.time() * 1000)},"CloudWatchMetrics":[{definition}]}},'
        self._output.write(record, begins=begins)


def request_values(status: int, milliseconds: float, prediction: Prediction | None) -> dict[str, float]:
    """The metrics of one request: the count by status class, and where it was a prediction its time and that of its phases, in ms."""
    values: dict[str, float] = {f"Requests{status // 100}XX": 1}
    if prediction is None:
        return values
    values["PredictionTime"] = round(milliseconds, 3)
    for phase, taken in prediction.phases:
        if phase in _PHASE_METRICS:
            values[_PHASE_METRICS[phase]] = round(taken, 3)
    return values


@lru_cache(maxsize=64)  # a few kinds of requests, each with the same definition every time
def _request_definition(namespace: str, dimensions: tuple[str, ...], names: tuple[str, ...]) -> str:
    units = {name: "Count" if name.startswith("Requests") else "Milliseconds" for name in names}
    return _definition(namespace, dimensions, units)


def _definition(namespace: str, dimensions: Iterable[str], units: Mapping[str, str]) -> str:
    """What CloudWatch must know of a line beside its values, as JSON."""
    named = [{"Name": name, "Unit": unit} for name, unit in units.items()]
    return to_json({"Namespace": namespace, "Dimensions": [list(dimensions)], "Metrics": named})
