"""``mms.metrics_manager``: where MMS 0.4's services looked their latency metrics up before they updated them."""

from __future__ import annotations

from typing import ClassVar

from mms.metric import Metric


class MetricsManager:
    """Holds the metrics by name, ``<model>_LatencyInference`` for one; empty, as phases are timed from outside."""

    metrics: ClassVar[dict[str, Metric]] = {}
