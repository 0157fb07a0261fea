"""MXNet's numbers for element types (mxnet 1.9.1, 3rdparty/mshadow/mshadow/base.h) and NumPy's names for them."""

from __future__ import annotations

_NAMES = {
    0: "float32",
    1: "float64",
    2: "float16",
    3: "uint8",
    4: "int32",
    5: "int8",
    6: "int64",
    7: "bool",
    8: "int16",
    9: "uint16",
    10: "uint32",
    11: "uint64",
}
_FLAGS = {name: flag for flag, name in _NAMES.items()}
_SIZES = {0: 4, 1: 8, 2: 2, 3: 1, 4: 4, 5: 1, 6: 8, 7: 1, 8: 2, 9: 2, 10: 4, 11: 8}
# Names of types that MXNet has and NumPy has not.
_FOREIGN = {12: "bfloat16"}


def dtype_name(flag: int) -> str:
    """NumPy's name of MXNet's type number."""
    return _NAMES.get(flag) or _FOREIGN.get(flag) or f"type {flag}"


def dtype_flag(name: str) -> int:
    """MXNet's number for NumPy's type ``name``; ``KeyError`` where MXNet has no such type."""
    return _FLAGS[name]


def dtype_size(name: str) -> int:
    """Bytes that an element of NumPy's type ``name`` takes; ``KeyError`` where MXNet has no such type."""
    return _SIZES[_FLAGS[name]]


def is_known(name: str) -> bool:
    """Whether MXNet and NumPy both have the type."""
    return name in _FLAGS
