"""What is imported when, so that importing and opening libmxnet get out of each other's way.

The system's loader opens one library at a time. An extension module that is imported while libmxnet is being opened waits for that, 50 ms, and
all of Python with it, since the import system keeps the interpreter locked meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder
from types import ModuleType


@contextmanager
def extensions_waiting(wait: Callable[[], object]) -> Iterator[None]:
    """While the body runs, let ``wait`` return before any extension module is loaded, in whichever thread; other modules go on."""
    gate = _ExtensionGate(wait)
    sys.meta_path.insert(sys.meta_path.index(PathFinder), gate)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.meta_path.remove(gate)  # type: ignore[arg-type]


class _ExtensionGate:
    """Finds what ``PathFinder`` finds, and takes its time where that is an extension module."""

    def __init__(self, wait: Callable[[], object]) -> None:
        self._wait = wait

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, ExtensionFileLoader):
            self._wait()
        return spec
