"""NumPy's functions on MXNet's arrays: the tables by which ``numpy.sum(mx_array)`` becomes ``mx.np.sum``, filled when first asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from gluon_lambda.runtime.mxnet_import.deferred_modules import load

# Its import enters about 140 functions into the two tables of mxnet.numpy.multiarray, and makes 25 of them for that.
FILLING_MODULE = "mxnet.numpy_dispatch_protocol"
_TABLES = ("_NUMPY_ARRAY_FUNCTION_DICT", "_NUMPY_ARRAY_UFUNC_DICT")


class DispatchTable(dict[Any, Any]):
    """A table that is filled before it is first read."""

    def __getitem__(self, key: Any) -> Any:
        _fill()
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        _fill()
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        _fill()
        return super().__contains__(key)

    def __iter__(self) -> Iterator[Any]:
        _fill()
        return super().__iter__()

    def __len__(self) -> int:
        _fill()
        return super().__len__()

    def keys(self) -> Any:
        _fill()
        return super().keys()

    def values(self) -> Any:
        _fill()
        return super().values()

    def items(self) -> Any:
        _fill()
        return super().items()


def defer_tables(multiarray: ModuleType) -> None:
    """Have the two tables of ``mxnet.numpy.multiarray`` filled at first use."""
    for name in _TABLES:
        setattr(multiarray, name, DispatchTable())


def _fill() -> None:
    load(sys.modules[FILLING_MODULE])
