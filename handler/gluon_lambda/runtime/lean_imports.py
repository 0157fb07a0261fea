"""Makes ``import numpy`` and ``import PIL`` leave for its first use what serving seldom uses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from gluon_lambda.runtime.mxnet_import.deferred_modules import defer

# A third of the time that NumPy 1.26 and Pillow take to import. NumPy 2 leaves the same parts of its own (numpy/__init__.py, __getattr__);
# of Python's, NumPy asks ``platform`` for nothing while it is imported, and Pillow keeps the others for programs that it may call.
SELDOM = frozenset({"numpy.fft", "numpy.ma", "numpy.polynomial", "numpy.random", "platform", "subprocess", "tempfile"})


def install() -> None:
    """Leave them from now on, where they are not loaded already. Harmless when called twice."""
    if not any(isinstance(finder, _SeldomUsed) for finder in sys.meta_path):
        sys.meta_path.insert(0, _SeldomUsed())


class _SeldomUsed:
    """Finds the modules that are left for later."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in SELDOM:
            return None
        spec = PathFinder.find_spec(name, path, target)
        return defer(spec) if spec else None
