"""How long invocations of a batch take: what was measured, as a file, and what is drawn from it.

An invocation with ``new`` objects and ``done`` ones (duplicates, which only look for the summary) is taken to last
``fixed + each_new * new + each_done * done``: the line through the medians of the batch sizes that were measured. It is multiplied by how far one
measured invocation, drawn by chance, lay from its size's median. A sandbox's first invocation lasts longer by what was measured, too.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Measured(NamedTuple):
    """One model in a sandbox of one memory size, with S3 at one distance. All times in milliseconds.

    Attributes:
        model: Its name.
        memory_mb: The sandbox's memory; it has a CPU for each 1,769 MB.
        latency_ms: How long S3 takes to answer a request.
        init: INITs, from the process's start to its first ``next``.
        first: First invocations of a sandbox, of ``first_size`` objects each.
        first_size: See ``first``.
        new: By batch size, invocations whose objects were new.
        done: By batch size, invocations whose objects were done already.
        requests_new: How often S3 was asked for a new object, by HTTP method (``LIST`` for a listing).
        requests_done: The same for one that is done.
    """

    model: str
    memory_mb: int
    latency_ms: float
    init: tuple[float, ...]
    first: tuple[float, ...]
    first_size: int
    new: Mapping[int, tuple[float, ...]]
    done: Mapping[int, tuple[float, ...]]
    requests_new: Mapping[str, float]
    requests_done: Mapping[str, float]

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.model}, {self.memory_mb:,} MB, S3 at {self.latency_ms:g} ms"

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return self._asdict()


def from_json(stored: Mapping[str, Any]) -> Measured:
    """The reverse of ``Measured.to_json``; JSON's keys are text."""
    sizes = {name: {int(size): tuple(times) for size, times in stored[name].items()} for name in ("new", "done")}
    return Measured(**{**stored, **sizes, "init": tuple(stored["init"]), "first": tuple(stored["first"])})


def load(path: Path) -> tuple[list[Measured], dict[str, Any]]:
    """What was measured, and on which machine.

    Raises:
        FileNotFoundError: Nothing was.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    return [from_json(each) for each in content["measured"]], content["machine"]


class Line(NamedTuple):
    """Milliseconds for a batch, and for each object in it."""

    fixed: float
    each: float

    def at(self, size: float) -> float:
        """Milliseconds for ``size`` objects."""
        return self.fixed + self.each * size


def line_through(points: Sequence[tuple[float, float]]) -> Line:
    """The line of least squares, relative to each point's height so that small batches count as much as large ones; never falling below 0.

    Args:
        points: Sizes and milliseconds; a single one gives a line through the origin.
    """
    if len({size for size, _ in points}) < 2:
        size, height = points[0]
        return Line(0.0, height / size)
    weights = [1 / max(height, 1e-9) ** 2 for _, height in points]
    total = sum(weights)
    middle = sum(weight * size for weight, (size, _) in zip(weights, points, strict=True)) / total
    height = sum(weight * high for weight, (_, high) in zip(weights, points, strict=True)) / total
    spread = sum(weight * (size - middle) ** 2 for weight, (size, _) in zip(weights, points, strict=True))
    slope = sum(
        weight * (size - middle) * (high - height) for weight, (size, high) in zip(weights, points, strict=True)
    )
    each = max(slope / spread, 0.0)
    return Line(max(height - each * middle, 0.0), each)


class Durations:
    """Draws durations as they were measured. All in milliseconds."""

    def __init__(self, measured: Measured, chance: random.Random) -> None:
        self._chance = chance
        medians = {size: statistics.median(times) for size, times in measured.new.items()}
        self.new = line_through(sorted(medians.items()))
        self.done = line_through(sorted((size, statistics.median(times)) for size, times in measured.done.items()))
        self._factors = [time / medians[size] for size, times in measured.new.items() for time in times]
        usual = self.new.at(measured.first_size)
        self._extra = [max(time - usual, 0.0) for time in measured.first]
        self._init = measured.init

    def factor(self) -> float:
        """How much longer than usual the next invocation takes."""
        return self._chance.choice(self._factors)

    def init(self) -> float:
        """The next INIT."""
        return self._chance.choice(self._init)

    def extra(self) -> float:
        """What a sandbox's first invocation takes more."""
        return self._chance.choice(self._extra)

    def usual(self, new: int, done: int) -> float:
        """An invocation of ``new`` and ``done`` objects at the median."""
        fixed = self.new.fixed if new else self.done.fixed
        return fixed + self.new.each * new + self.done.each * done
