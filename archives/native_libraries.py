"""The two shared libraries that MXNet's wheel lacks, for tools that are started without LD_LIBRARY_PATH."""

from __future__ import annotations

import ctypes
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "build" / "lib"


def load_native_libraries() -> None:
    """Load them from where ``make setup`` puts them, if it has; libmxnet, opened later, then finds them by name."""
    for library in sorted(FOLDER.glob("lib*.so*")):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
