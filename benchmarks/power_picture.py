"""Latency and cost over memory as a picture: what is measured drawn through, what is computed dashed and labelled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.batch_costs import Prices
from benchmarks.power_sizes import Net, Size, cheapest, fastest, per_million, vcpus

matplotlib.rcParams["svg.hashsalt"] = "gluon-lambda"
matplotlib.rcParams["svg.fonttype"] = "none"

TIME, COST, GREY = "#1f77b4", "#d95f02", "#666666"
COLUMNS = 2


def draw(nets: Mapping[str, Net], prices: Prices, paths: Iterable[Path]) -> None:
    """Write the picture into each file, in the format that its suffix names."""
    # Of a net that fits into no size that was measured there is nothing to draw.
    nets = {name: net for name, net in nets.items() if any(size.is_measured for size in net.possible)}
    rows = max(1, -(-len(nets) // COLUMNS))
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(13, 4.3 * rows), squeeze=False, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.15)
    for place, (name, net) in zip(axes.flat, nets.items(), strict=False):
        draw_net(place, name, net, prices)
    for place in list(axes.flat)[len(nets) :]:
        place.set_axis_off()
    for path in paths:
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def draw_net(axes: Axes, name: str, net: Net, prices: Prices) -> None:
    """One net: warm latency on the left axis, what a million warm invocations cost on the right one."""
    costs = axes.twinx()
    draw_curve(axes, net.possible, [size.warm_ms for size in net.possible], TIME)
    draw_curve(costs, net.possible, [per_million(size, prices) for size in net.possible], COST)
    draw_border(axes, net)
    least, quickest = cheapest(net, prices), fastest(net, measured_only=True)
    costs.plot(least.memory_mb, per_million(least, prices), "v", color=COST, markersize=10, label="cheapest")
    axes.plot(quickest.memory_mb, quickest.warm_ms, "^", color=TIME, markersize=10, label="fastest measured")
    label_axes(axes, costs, net)
    axes.set_title(f"{name}: {net.title}", fontsize="medium", loc="left")


def draw_curve(axes: Axes, sizes: Sequence[Size], values: Sequence[float], color: str) -> None:
    """Drawn through where it is measured, on from there dashed."""
    memories = [size.memory_mb for size in sizes]
    measured = sum(size.is_measured for size in sizes)
    axes.plot(memories[:measured], values[:measured], "o-", color=color)
    axes.plot(memories[measured - 1 :], values[measured - 1 :], "--", color=color)
    axes.plot(memories[measured:], values[measured:], "o", color=color, markerfacecolor="white")


def draw_border(axes: Axes, net: Net) -> None:
    """Where measuring ends; and from there what lies between the computed latency and none gained, which may be true as well."""
    last = next(size for size in reversed(net.possible) if size.is_measured)
    beyond = [last, *(size for size in net.possible if not size.is_measured)]
    computed = [size.warm_ms for size in beyond]
    axes.fill_between([size.memory_mb for size in beyond], computed, last.warm_ms, color=TIME, alpha=0.12, linewidth=0)
    axes.axvline(last.memory_mb, color=GREY, linewidth=0.8, linestyle=":")
    beside = axes.get_xaxis_transform()
    for text, side, points in (("measured", "right", -6), ("computed (Amdahl)", "left", 6)):
        axes.annotate(text, (last.memory_mb, 0.98), (points, 0), beside, "offset points", ha=side, va="top", color=GREY)


def label_axes(axes: Axes, costs: Axes, net: Net) -> None:
    """Names, units and beginnings of the axes."""
    ticks = [size.memory_mb for size in net.sizes]
    labels = [f"{memory:,}\n{vcpus(memory):.1f}" for memory in ticks]
    axes.set_xticks(ticks, labels, fontsize="xx-small")
    axes.set_xlabel("MB, and vCPUs that come with them", fontsize="small")
    axes.set_ylabel("warm invocation, ms (median)", color=TIME)
    costs.set_ylabel("US$ for a million warm invocations", color=COST)
    for each in (axes, costs):
        # Room at the top for what is written there.
        each.set_ylim(0, 1.15 * each.get_ylim()[1])
    axes.set_xlim(0, 1.03 * ticks[-1])
    axes.grid(axis="y", color="#eeeeee")
    handles = [*axes.get_legend_handles_labels()[0], *costs.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, fontsize="small", loc="lower right")
