"""``mms.metrics.dimension`` (1.1: mms/metrics/dimension.py)."""

from __future__ import annotations


class Dimension:
    """A name and value by which a metric is split."""

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self.value = value

    def to_dict(self) -> dict[str, str]:
        """As ``mms.metrics.metric_encoder`` writes it."""
        return {"name": self.name, "value": self.value}

    def __str__(self) -> str:
        return f"{self.name}:{self.value}"
