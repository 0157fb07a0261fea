"""``mms.metrics.metrics_store``: what a handler counts and times itself (1.1: mms/metrics/metrics_store.py).

Two of MMS's bugs are mended: dimensions that a handler gives are kept by every method (MMS kept them for counters only), and
``add_metric`` works without a unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mms.metrics.dimension import Dimension
from mms.metrics.metric import Metric


class MetricsStore:
    """The metrics of one call of a handler, in the order in which they were added.

    Args:
        request_ids: The requests' ids, by index in the batch.
        model_name: The model's name, a dimension of every metric.
    """

    def __init__(self, request_ids: Mapping[int, str] | None, model_name: str) -> None:
        self.store: list[Metric] = []
        self.request_ids = request_ids
        self.model_name = model_name
        self.cache: dict[str, Metric] = {}

    def add_counter(self, name: str, value: float, idx: Any = None, dimensions: list[Dimension] | None = None) -> None:
        """Count; further values of the same name and dimensions add up."""
        self._add(name, value, self._request_id(idx), "count", dimensions, method="counter")

    def add_time(
        self, name: str, value: float, idx: Any = None, unit: str = "ms", dimensions: list[Dimension] | None = None
    ) -> None:
        """Note a time in ``ms`` or ``s``."""
        _require_unit(unit, ["ms", "s"])
        self._add(name, value, self._request_id(idx), unit, dimensions)

    def add_size(
        self, name: str, value: float, idx: Any = None, unit: str = "MB", dimensions: list[Dimension] | None = None
    ) -> None:
        """Note a size in ``MB``, ``kB``, ``GB`` or ``B``."""
        _require_unit(unit, ["MB", "kB", "GB", "B"])
        self._add(name, value, self._request_id(idx), unit, dimensions)

    def add_percent(self, name: str, value: float, idx: Any = None, dimensions: list[Dimension] | None = None) -> None:
        """Note a percentage."""
        self._add(name, value, self._request_id(idx), "percent", dimensions)

    def add_error(self, name: str, value: Any, dimensions: list[Dimension] | None = None) -> None:
        """Note an error; its value is a text."""
        self._add(name, value, None, "", dimensions)

    def add_metric(
        self,
        name: str,
        value: Any,
        idx: Any = None,
        unit: str | None = None,
        dimensions: list[Dimension] | None = None,
    ) -> None:
        """Note anything else."""
        self._add(name, value, self._request_id(idx), unit, dimensions)

    def _add(
        self,
        name: str,
        value: Any,
        request_id: str | None,
        unit: str | None,
        dimensions: list[Dimension] | None,
        *,
        method: str | None = None,
    ) -> None:
        if dimensions is not None and not isinstance(dimensions, list):
            raise ValueError("Please provide a list of dimensions")
        own = [Dimension("Level", "Error")] if request_id is None else self._model_dimensions()
        metric = Metric(name, value, unit, [*(dimensions or []), *own], request_id, method)
        key = "-".join([name, str(unit), str(request_id), *(str(each) for each in metric.dimensions)])
        if key in self.cache:
            self.cache[key].update(value)
        else:
            self.cache[key] = metric
            self.store.append(metric)

    def _model_dimensions(self) -> list[Dimension]:
        return [Dimension("ModelName", self.model_name), Dimension("Level", "Model")]

    def _request_id(self, idx: Any) -> str:
        """The id at an index, or, for none, the ids of all requests."""
        ids = self.request_ids or {}
        return ids[idx] if idx in ids else ",".join(ids.values())


def _require_unit(unit: str, accepted: list[str]) -> None:
    if unit not in accepted:
        raise ValueError(f"the unit should be one of {accepted}, not {unit!r}")
