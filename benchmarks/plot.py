"""The result as a picture: where each cold start goes, and how the warm invocations spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchmarks.tables import TITLES
from benchmarks.timeline import AFTER, BEFORE, MAIN, UNREPORTED

# Fixed, so that the same result gives the same file; text as text, which searches find and browsers draw.
matplotlib.rcParams["svg.hashsalt"] = "gluon-lambda"
matplotlib.rcParams["svg.fonttype"] = "none"

# Inches that one contender takes, and one panel's title and axis.
ROW, FRAME = 0.42, 0.85
BAR, LANE = 0.44, 0.12
WAITING = "waiting"
GREYS = {BEFORE: "#b8bec6", UNREPORTED: "#e3e6ea", WAITING: "#f7f7f7", AFTER: "#4d5560"}


def draw(result: Mapping[str, Any], paths: Iterable[Path]) -> None:
    """Write the picture into each file, in the format that its suffix names."""
    panels = panels_of(result["contenders"])
    heights = [FRAME + ROW * len(contenders) for contenders in panels.values()]
    figure, axes = plt.subplots(
        len(panels),
        2,
        figsize=(15, 1.1 + sum(heights)),
        layout="constrained",
        width_ratios=(3, 1.3),
        height_ratios=heights,
        squeeze=False,
    )
    colors = colors_of(result["contenders"])
    for (workload, contenders), (cold, warm) in zip(panels.items(), axes, strict=True):
        draw_cold(cold, contenders, colors, TITLES[workload])
        draw_warm(warm, contenders)
    add_legend(figure, colors)
    for path in paths:
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def panels_of(contenders: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The contenders by workload."""
    panels = {
        workload: {name: each for name, each in contenders.items() if each["workload"] == workload}
        for workload in TITLES
    }
    return {workload: those for workload, those in panels.items() if those}


def colors_of(contenders: Mapping[str, Any]) -> dict[str, Any]:
    """A colour for each phase, the same in all panels: grey for what is no work of the handler's."""
    phases = dict.fromkeys(span["phase"] for each in contenders.values() for span in each["timeline"])
    named = [phase for phase in phases if phase not in GREYS]
    # The greys of tab20 are left out: they mean something else here.
    strong, pale = (0, 2, 4, 6, 8, 10, 12, 16, 18), (1, 3, 5, 7, 9, 11, 13, 17, 19)
    palette = [plt.get_cmap("tab20")(number) for number in (*strong, *pale)]
    palette += [plt.get_cmap("tab20b")(number) for number in range(20)]
    colors = {phase: palette[number % len(palette)] for number, phase in enumerate(named)}
    return {phase: GREYS.get(phase) or colors[phase] for phase in phases}


def draw_cold(axes: Axes, contenders: Mapping[str, Any], colors: Mapping[str, Any], title: str) -> None:
    """One bar a contender: what the caller waits for, end to end; below it, thinner, what other threads do meanwhile."""
    for row, each in enumerate(contenders.values()):
        draw_row(axes, row, each["timeline"], colors)
        axes.text(each["cold_ms"]["median"], row - 0.08, f" {each['cold_ms']['median']:.0f} ms", va="center")
    axes.set_yticks(range(len(contenders)), list(contenders))
    axes.set_ylim(len(contenders) - 0.4, -0.5)
    axes.set_xlim(0, 1.1 * max(each["cold_ms"]["median"] for each in contenders.values()))
    axes.set_title(f"cold start: {title}", fontsize="medium", loc="left")
    axes.set_xlabel("ms since process start (medians)")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)


def draw_row(axes: Axes, row: int, timeline: Sequence[Mapping[str, Any]], colors: Mapping[str, Any]) -> None:
    """One contender's bar and lanes."""
    threads = [MAIN, *sorted({span["thread"] for span in timeline} - {MAIN})]
    for span in timeline:
        lane = threads.index(span["thread"])
        place = row - 0.08 if lane == 0 else row + BAR / 2 + (lane - 1) * LANE
        axes.barh(
            place,
            span["end_ms"] - span["start_ms"],
            left=span["start_ms"],
            height=BAR if lane == 0 else LANE * 0.85,
            color=colors[span["phase"]],
            hatch="///" if span["phase"] == WAITING else None,
            edgecolor="#999999" if span["phase"] == WAITING else "white",
            linewidth=0.4,
        )


def add_legend(figure: Figure, colors: Mapping[str, Any]) -> None:
    """Each phase once."""
    entries = [
        Rectangle(
            (0, 0), 1, 1, facecolor=color, edgecolor="#999999", hatch="///" if phase == WAITING else None, label=phase
        )
        for phase, color in colors.items()
    ]
    figure.legend(
        handles=entries,
        loc="outside lower center",
        ncols=8,
        fontsize="small",
        title="wide bars: what the caller waits for, on the main thread; thin bars below: other threads at the same time",
    )


def draw_warm(axes: Axes, contenders: Mapping[str, Any]) -> None:
    """One box a contender over all warm invocations."""
    values = [result["warm_ms"]["values"] for result in contenders.values()]
    axes.boxplot(values, orientation="horizontal", tick_labels=list(contenders), whis=(1, 99), showfliers=False)
    axes.invert_yaxis()
    axes.set(xlabel="ms", xlim=(0, None))
    axes.set_title("warm (box: quartiles, whiskers: 1–99 %)", fontsize="medium", loc="left")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
