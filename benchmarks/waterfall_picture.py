"""The waterfall as a picture: a lane for each thread, a line in it for each phase, and the costliest imports beside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.import_log import by_package
from benchmarks.timeline import AFTER, BEFORE, Span
from benchmarks.waterfall import SHOWN, Waterfall, title_of

matplotlib.rcParams["svg.hashsalt"] = "gluon-lambda"
matplotlib.rcParams["svg.fonttype"] = "none"

# Inches: a phase's line, and title, axis and margins.
LINE, FRAME = 0.27, 1.5
WAITING = "waiting"
GREY = {BEFORE: "#b8bec6", AFTER: "#4d5560"}


def draw(waterfall: Waterfall, paths: Iterable[Path]) -> None:
    """Write the picture into each file, in the format that its suffix names."""
    height = FRAME + LINE * max(len(waterfall.spans), SHOWN)
    figure, (lanes, imports) = plt.subplots(
        1, 2, figsize=(15, height), layout="constrained", width_ratios=(3.4, 1), facecolor="white"
    )
    draw_lanes(lanes, waterfall)
    draw_imports(imports, waterfall)
    for path in paths:
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def draw_lanes(axes: Axes, waterfall: Waterfall) -> None:
    """Every phase on a line of its own, grouped by thread."""
    threads = list(dict.fromkeys(span.thread for span in waterfall.spans))
    for row, span in enumerate(waterfall.spans):
        draw_span(axes, row, span, waterfall.total_ms, plt.get_cmap("tab10")(threads.index(span.thread) % 10))
    mark_threads(axes, waterfall.spans)
    axes.axvline(waterfall.init_ms, color="#888888", linewidth=0.8, linestyle="--")
    axes.text(waterfall.init_ms, -0.75, "INIT ends ", ha="right", va="center", fontsize="small", color="#555555")
    axes.set_ylim(len(waterfall.spans) - 0.4, -1.2)
    axes.set_xlim(0, waterfall.total_ms * 1.02)
    axes.set_xlabel(f"ms since process start (medians of {waterfall.rounds} rounds)")
    axes.set_title(f"cold start, first answer after {waterfall.total_ms:.0f} ms", loc="left", fontsize="medium")
    axes.grid(axis="x", color="#e6e6e6")
    axes.set_axisbelow(True)


def draw_span(axes: Axes, row: int, span: Span, total_ms: float, color: object) -> None:
    """One phase: its bar, and its name and duration beside it, on that side where there is room."""
    taken = span.end_ms - span.start_ms
    waits = span.phase == WAITING
    axes.barh(
        row,
        taken,
        left=span.start_ms,
        height=0.72,
        color="white" if waits else GREY.get(span.phase, color),
        edgecolor=color if waits else "none",
        hatch="///" if waits else None,
    )
    text = f"{title_of(span)}  {taken:.1f} ms"
    if span.end_ms < 0.72 * total_ms:
        axes.text(span.end_ms, row, f" {text}", va="center", ha="left", fontsize="small")
    elif span.start_ms > 0.28 * total_ms:
        axes.text(span.start_ms, row, f"{text} ", va="center", ha="right", fontsize="small")
    else:
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
        axes.text((span.start_ms + span.end_ms) / 2, row, text, va="center", ha="center", fontsize="small", bbox=box)


def mark_threads(axes: Axes, spans: Sequence[Span]) -> None:
    """Name each thread beside its lines, and shade every other lane."""
    rows: dict[str, list[int]] = {}
    for row, span in enumerate(spans):
        rows.setdefault(span.thread, []).append(row)
    for number, (first, *more) in enumerate(rows.values()):
        last = more[-1] if more else first
        if number % 2:
            axes.axhspan(first - 0.5, last + 0.5, color="#f4f5f7", zorder=0)
    middles = [(each[0] + each[-1]) / 2 for each in rows.values()]
    axes.set_yticks(middles, [f"thread\n{name}" for name in rows])
    axes.tick_params(axis="y", length=0)


def draw_imports(axes: Axes, waterfall: Waterfall) -> None:
    """The costliest packages."""
    packages = by_package(waterfall.modules)[:SHOWN]
    axes.barh([each.name for each in packages], [each.self_ms for each in packages], color="#7f9fc6")
    for row, each in enumerate(packages):
        axes.text(each.self_ms, row, f" {each.self_ms:.1f}", va="center", fontsize="small")
    axes.invert_yaxis()
    axes.margins(x=0.18)
    axes.set_title("imports by package", loc="left", fontsize="medium")
    axes.set_xlabel("ms, under -X importtime")
