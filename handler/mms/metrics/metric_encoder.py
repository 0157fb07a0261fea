"""``mms.metrics.metric_encoder`` (1.1: mms/metrics/metric_encoder.py)."""

from __future__ import annotations

from json import JSONEncoder
from typing import Any

from mms.metrics.dimension import Dimension
from mms.metrics.metric import Metric


class MetricEncoder(JSONEncoder):
    """Writes metrics and dimensions as JSON."""

    def default(self, o: Any) -> Any:
        """The object as a dict."""
        return o.to_dict() if isinstance(o, (Metric, Dimension)) else super().default(o)
