"""The result as a picture: where each cold start goes, and how the warm invocations spread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

# Fixed, so that the same result gives the same file.
matplotlib.rcParams["svg.hashsalt"] = "gluon-lambda"


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Write the picture as SVG."""
    figure, (cold, warm) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained", width_ratios=(3, 2))
    draw_cold(cold, result["contenders"])
    draw_warm(warm, result["contenders"])
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw_cold(axes: Axes, contenders: Mapping[str, Any]) -> None:
    """One stacked bar a contender: medians of the phases."""
    phases = dict.fromkeys(name for result in contenders.values() for name in result["phases_ms"])
    colors = plt.get_cmap("tab20")
    left = dict.fromkeys(contenders, 0.0)
    for number, phase in enumerate(sorted(phases, key=lambda name: name == "first invocation")):
        widths = {name: result["phases_ms"].get(phase, 0.0) for name, result in contenders.items()}
        axes.barh(list(widths), list(widths.values()), left=list(left.values()), label=phase, color=colors(number % 20))
        left = {name: left[name] + width for name, width in widths.items()}
    for name, result in contenders.items():
        axes.text(left[name], name, f" {result['cold_ms']['median']:.0f} ms", va="center")
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set(title="cold start to first answer, where it goes", xlabel="ms (medians)")
    axes.legend(fontsize="small", loc="lower right")


def draw_warm(axes: Axes, contenders: Mapping[str, Any]) -> None:
    """One box a contender over all warm invocations."""
    values = [result["warm_ms"]["values"] for result in contenders.values()]
    axes.boxplot(values, orientation="horizontal", tick_labels=list(contenders), whis=(1, 99), showfliers=False)
    axes.invert_yaxis()
    axes.set(title="warm invocation (box: quartiles, whiskers: 1–99 %)", xlabel="ms", xlim=(0, None))
