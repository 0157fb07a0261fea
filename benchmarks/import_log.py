"""What ``python -X importtime`` tells of each module: how long it took itself, and with what it imported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

# Python's line; the handler makes log records of what is written while models load, so it may stand inside one.
_LINE = re.compile(r"import time: +(\d+) \| +(\d+) \| *([\w.]+)")


class Imported(NamedTuple):
    """One module, or all of a package's.

    Attributes:
        name: The module's, or the package's.
        self_ms: Its own code, without what it imports.
        total_ms: With what it was the first to import.
        modules: How many modules these are.
    """

    name: str
    self_ms: float
    total_ms: float
    modules: int = 1


def read_imports(log: Iterable[str]) -> list[Imported]:
    """The modules of a process's log, in the order in which their imports ended."""
    found = (_LINE.search(line) for line in log)
    return [Imported(match[3], int(match[1]) / 1000, int(match[2]) / 1000) for match in found if match]


def by_package(modules: Iterable[Imported]) -> list[Imported]:
    """The modules by top-level package, the costliest first; ``total_ms`` is that of the package's own name."""
    packages: dict[str, Imported] = {}
    for module in modules:
        name = module.name.partition(".")[0]
        so_far = packages.get(name, Imported(name, 0.0, 0.0, 0))
        total = module.total_ms if module.name == name else so_far.total_ms
        packages[name] = Imported(name, so_far.self_ms + module.self_ms, total, so_far.modules + 1)
    return sorted(packages.values(), key=lambda package: -package.self_ms)


def costliest(modules: Iterable[Imported], count: int) -> list[Imported]:
    """Those modules whose own code took longest."""
    return sorted(modules, key=lambda module: -module.self_ms)[:count]
