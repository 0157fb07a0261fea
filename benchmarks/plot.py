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
    figure.legend(*legend_entries(cold), loc="outside lower center", ncols=6, fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw_cold(axes: Axes, contenders: Mapping[str, Any]) -> None:
    """One stacked bar a contender: medians of its phases, in the order in which it went through them."""
    names = dict.fromkeys(phase for result in contenders.values() for phase in result["phases_ms"])
    colors = {phase: plt.get_cmap("tab20")(number % 20) for number, phase in enumerate(names)}
    for position, (name, result) in enumerate(contenders.items()):
        end = draw_bar(axes, name, result["phases_ms"], colors)
        axes.text(end, position, f" {result['cold_ms']['median']:.0f} ms", va="center")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(title="cold start to first answer, where it goes", xlabel="ms (medians)")


def draw_bar(axes: Axes, name: str, phases: Mapping[str, float], colors: Mapping[str, Any]) -> float:
    """One contender's bar; returns where it ends, in ms."""
    end = 0.0
    for phase, duration in phases.items():
        axes.barh(name, duration, left=end, color=colors[phase], label=phase)
        end += duration
    return end


def legend_entries(axes: Axes) -> tuple[list[Any], list[str]]:
    """Each phase once, whoever went through it."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    return list(unique.values()), list(unique)


def draw_warm(axes: Axes, contenders: Mapping[str, Any]) -> None:
    """One box a contender over all warm invocations."""
    values = [result["warm_ms"]["values"] for result in contenders.values()]
    axes.boxplot(values, orientation="horizontal", tick_labels=list(contenders), whis=(1, 99), showfliers=False)
    axes.invert_yaxis()
    axes.set(title="warm invocation (box: quartiles, whiskers: 1–99 %)", xlabel="ms", xlim=(0, None))
