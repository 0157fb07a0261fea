"""``mms.metric``: MMS 0.4's metric, without its threads and 60 s windows, which mean nothing where a process is frozen between requests."""

from __future__ import annotations

from typing import Any

MetricUnit = {
    "ms": "Milliseconds",
    "s": "Seconds",
    "percent": "Percent",
    "count": "Count",
    "MB": "Megabytes",
    "GB": "Gigabytes",
}


class Metric:
    """One metric and its latest value.

    Args:
        name: The metric's name.
        mutex: Accepted and not used, as are all that follow but ``model_name`` and ``unit``: there is one thread.
        model_name: The model's name, or None for the host's.
        unit: CloudWatch's name of the unit.
    """

    def __init__(
        self, name: str, mutex: Any = None, model_name: str | None = None, unit: str = "Count", **_: Any
    ) -> None:
        self.name = name
        self.model_name = model_name
        self.unit = unit
        self.value = 0.0

    def update(self, metric: float) -> None:
        """Note a value."""
        self.value = metric
