"""``mms.metrics.metric`` (1.1: mms/metrics/metric.py)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from os import uname
from typing import Any

from mms.metrics.dimension import Dimension
from mms.metrics.unit import Units

MetricUnit = Units()


class Metric:
    """One metric of one request.

    Args:
        name: The metric's name.
        value: Its value; a text for an error.
        unit: MMS's short name of the unit, or any other text.
        dimensions: By which it is split.
        request_id: Whose request it belongs to.
        metric_method: ``counter`` where updates add up; otherwise the last one counts.
    """

    def __init__(
        self,
        name: str,
        value: Any,
        unit: str | None,
        dimensions: Sequence[Dimension],
        request_id: str | None = None,
        metric_method: str | None = None,
    ) -> None:
        self.name = name
        self.value = value
        self.unit = MetricUnit.units.get(unit, unit or "unit")
        self.dimensions = list(dimensions)
        self.request_id = request_id
        self.metric_method = metric_method

    def update(self, value: Any) -> None:
        """Note another value."""
        self.value = self.value + value if self.metric_method == "counter" else value

    def to_dict(self) -> dict[str, Any]:
        """As ``mms.metrics.metric_encoder`` writes it."""
        return {
            "MetricName": self.name,
            "Value": self.value,
            "Unit": self.unit,
            "Dimensions": self.dimensions,
            "Timestamp": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            "HostName": uname().nodename,
            "RequestId": self.request_id,
        }

    def __str__(self) -> str:
        dimensions = ",".join(str(each) for each in self.dimensions)
        line = f"{self.name}.{self.unit}:{self.value}|#{dimensions}|#hostname:{uname().nodename}"
        return f"{line},{self.request_id}" if self.request_id else line
