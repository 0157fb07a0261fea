"""Makes ``import mxnet`` of the stock 1.9.1 wheel fast, and work on current Python and NumPy, with nothing changed on disk.

``install()`` puts a finder in front of ``sys.meta_path``. Nothing is imported, and NumPy is left alone, until somebody says
``import mxnet``: then the names that NumPy and Python have since removed are put back, and a second finder (``mxnet_import``) takes over,
which leaves for their first use what a serving process may never need: about 4,000 operator functions and a third of MXNet's modules.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


def install(*, lazily: bool = True) -> None:
    """Prepare for ``import mxnet``; cheap, and harmless when called twice or when mxnet is never imported.

    Args:
        lazily: Whether the import leaves for first use what it can. False puts the removed names back and nothing else: the rival that
            tests and benchmarks compare with.
    """
    if "mxnet" not in sys.modules and not any(isinstance(finder, _FirstImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _FirstImport(lazily=lazily))


class _FirstImport:
    """Finds mxnet where it is, prepares the ground when it is loaded, and is out of the way from then on."""

    def __init__(self, *, lazily: bool) -> None:
        self._lazily = lazily

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "mxnet":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = _PreparedLoader(spec, self, lazily=self._lazily)  # type: ignore[assignment]
        return spec


class _PreparedLoader:
    """Stands in for mxnet's loader until it loads.

    Not in ``find_spec``: Python holds one lock for all imports while it asks finders. What they import themselves would wait for other
    threads' imports, and those for the lock.
    """

    def __init__(self, spec: ModuleSpec, finder: _FirstImport, *, lazily: bool) -> None:
        self._loader: Any = spec.loader
        self._finder = finder
        self._lazily = lazily

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        # Lazily: an exported net is served without mxnet, and then none of this is needed.
        from gluon_lambda.runtime.mxnet_import.removed_names import restore_removed_names

        restore_removed_names()
        # Only now: somebody may have asked whether there is an mxnet, and not have imported it.
        sys.meta_path.remove(self._finder)
        if self._lazily:
            from gluon_lambda.runtime.mxnet_import.finder import MxnetFinder

            finder = MxnetFinder()
            sys.meta_path.insert(0, finder)
            found = finder.find_spec(spec.name)
            self._loader = found.loader if found else self._loader
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
