"""``mms.metrics.unit``: MMS's short names of units and CloudWatch's names for them (1.1: mms/metrics/unit.py)."""

from __future__ import annotations


class Units:
    """The units by MMS's name."""

    def __init__(self) -> None:
        self.units: dict[str | None, str] = {
            "ms": "Milliseconds",
            "s": "Seconds",
            "percent": "Percent",
            "count": "Count",
            "MB": "Megabytes",
            "GB": "Gigabytes",
            "kB": "Kilobytes",
            "B": "Bytes",
            None: "unit",
        }
