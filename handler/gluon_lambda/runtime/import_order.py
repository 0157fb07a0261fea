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

Wait = Callable[[], object]


@contextmanager
def extensions_waiting(wait: Wait) -> Iterator[None]:
    """While the body runs, let ``wait`` return before any extension module is loaded, in whichever thread; other modules go on."""
    gate = _ExtensionGate(wait)
    sys.meta_path.insert(sys.meta_path.index(PathFinder), gate)
    try:
        yield
    finally:
        sys.meta_path.remove(gate)


class _ExtensionGate:
    """Finds what ``PathFinder`` finds, and lets extension modules wait. Not here: modules are looked for one at a time in all threads."""

    def __init__(self, wait: Wait) -> None:
        self._wait = wait

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, ExtensionFileLoader):
            spec.loader = _WaitingLoader(spec.loader, self._wait)
        return spec


class _WaitingLoader(ExtensionFileLoader):
    """Waits before it opens the module's library, and leaves the rest, and its place in the module, to the usual loader."""

    def __init__(self, loader: ExtensionFileLoader, wait: Wait) -> None:
        super().__init__(loader.name, loader.path)
        self._loader = loader
        self._wait = wait

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self._wait()
        spec.loader = self._loader
        return self._loader.create_module(spec)
