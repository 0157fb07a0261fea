"""Puts back what MXNet 1.9.1 reads of NumPy and Python, and what they have since removed or changed (NumPy 1.24 and 2.0, Python 3.12)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

# Removed in NumPy 1.24: aliases of Python's own types.
_BUILTIN_ALIASES: dict[str, type] = {
    "bool": bool,
    "int": int,
    "float": float,
    "object": object,
    "str": str,
    "complex": complex,
}

# Removed in NumPy 2.0: other spellings of what is still there.
_RENAMED = {
    "float_": "float64",
    "NaN": "nan",
    "NAN": "nan",
    "Inf": "inf",
    "Infinity": "inf",
    "infty": "inf",
    "PINF": "inf",
    "alltrue": "all",
    "sometrue": "any",
    "product": "prod",
    "cumproduct": "cumprod",
    "round_": "round",
    "in1d": "isin",
    "trapz": "trapezoid",
}

_CONSTANTS = {"PZERO": 0.0, "NZERO": -0.0, "NINF": float("-inf")}

# Removed with no successor in NumPy; mxnet.numpy_op_fallback reads them at import to wrap them.
_GONE = ("mirr", "msort", "npv", "pmt", "ppmt", "pv", "rate")


def restore_removed_names() -> None:
    """Put back every name that MXNet 1.9.1 reads and that this NumPy or this Python no longer has."""
    import numpy as np

    for name, value in (_BUILTIN_ALIASES | _CONSTANTS).items():
        _put_back(np, name, value)
    for name, successor in _RENAMED.items():
        if hasattr(np, successor):
            _put_back(np, name, getattr(np, successor))
    for name in _GONE:
        _put_back(np, name, _stand_in(name))
    _restore_texts_of_numbers()
    if sys.version_info >= (3, 12):
        _restore_distutils()


def _put_back(module: ModuleType, name: str, value: object) -> None:
    # __dict__, not hasattr: NumPy answers removed names with a deprecation error of its own.
    if name not in vars(module):
        setattr(module, name, value)


def _stand_in(name: str) -> Callable[..., Any]:
    def removed(*_args: object, **_kwargs: object) -> Any:
        raise AttributeError(f"numpy.{name} was removed from NumPy; install numpy_financial, or NumPy 1.26, to call it")

    removed.__name__ = name
    return removed


def _restore_texts_of_numbers() -> None:
    """Let ``str((2, numpy.int64(3)))`` be ``(2, 3)`` again: MXNet hands shapes to libmxnet so, which refuses NumPy 2's ``np.int64(3)``.

    By its defaults, which are private: ``numpy.set_printoptions`` is for one thread only, and nets run in others, too.
    """
    options = sys.modules.get("numpy._core.printoptions")
    if options is not None:
        options.default_format_options_dict["legacy"] = 125


def _restore_distutils() -> None:
    """Give ``distutils.version`` back (gone from Python 3.12), unless setuptools already does."""
    import importlib.util

    if importlib.util.find_spec("distutils") is None:
        sys.modules.update(distutils_stand_in())


def distutils_stand_in() -> dict[str, ModuleType]:
    """As much of ``distutils`` as MXNet's import reads, by module name."""
    package, version = ModuleType("distutils"), ModuleType("distutils.version")
    package.__path__ = []
    version.LooseVersion = version.StrictVersion = LooseVersion  # type: ignore[attr-defined]
    package.version = version  # type: ignore[attr-defined]
    return {"distutils": package, "distutils.version": version}


class LooseVersion:
    """What MXNet asks of ``distutils.version.LooseVersion``: versions that compare by their numbers, then by their words."""

    def __init__(self, text: str) -> None:
        import re

        self.text = text
        # Numbers sort before words at the same place, as "1.9" < "1.9.post1"; mixed comparison must not raise.
        self.version = [
            (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|[a-z]+", text)
        ]

    def __str__(self) -> str:
        return self.text

    def __hash__(self) -> int:
        return hash(tuple(self.version))

    def __eq__(self, other: object) -> bool:
        return self.version == _as_version(other).version

    def __lt__(self, other: object) -> bool:
        return self.version < _as_version(other).version

    def __le__(self, other: object) -> bool:
        return self.version <= _as_version(other).version

    def __gt__(self, other: object) -> bool:
        return self.version > _as_version(other).version

    def __ge__(self, other: object) -> bool:
        return self.version >= _as_version(other).version


def _as_version(value: object) -> LooseVersion:
    return value if isinstance(value, LooseVersion) else LooseVersion(str(value))
