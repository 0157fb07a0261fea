"""Finds libmxnet in the installed wheel or layer and opens it, without importing the ``mxnet`` package.

Declared here is the part of its C API that this project calls (mxnet 1.9.1, ``include/mxnet/c_api.h``); every call goes through
``Library.call``, which turns a non-zero return into an exception with MXNet's own message.
"""

from __future__ import annotations

import ctypes
import os
import threading
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from typing import Any

from gluon_lambda.errors import EngineUnavailable

Handle = c_void_p
_strings = POINTER(c_char_p)
_ints = POINTER(c_int)

# Argument types of each function, so that pointers are never cut to 32 bits.
_PROTOTYPES: dict[str, list[Any]] = {
    "MXListAllOpNames": [POINTER(c_uint32), POINTER(_strings)],
    "MXSymbolCreateFromJSON": [c_char_p, POINTER(Handle)],
    "MXSymbolFree": [Handle],
    "MXSymbolListArguments": [Handle, POINTER(c_uint32), POINTER(_strings)],
    "MXSymbolListAuxiliaryStates": [Handle, POINTER(c_uint32), POINTER(_strings)],
    "NNSymbolListInputNames": [Handle, c_int, POINTER(c_uint32), POINTER(_strings)],
    "MXSymbolInferShapePartialEx": [
        *[Handle, c_uint32, _strings, POINTER(c_uint32), _ints],
        *[POINTER(c_uint32), POINTER(_ints), POINTER(POINTER(_ints))],
        *[POINTER(c_uint32), POINTER(_ints), POINTER(POINTER(_ints))],
        *[POINTER(c_uint32), POINTER(_ints), POINTER(POINTER(_ints))],
        POINTER(c_int),
    ],
    "MXSymbolInferTypePartial": [
        *[Handle, c_uint32, _strings, _ints],
        *[POINTER(c_uint32), POINTER(_ints)] * 3,
        POINTER(c_int),
    ],
    "MXSymbolSaveToJSON": [Handle, POINTER(c_char_p)],
    "MXGenBackendSubgraph": [Handle, c_char_p, POINTER(Handle)],
    "MXNDArrayLoadFromBuffer": [
        *[c_void_p, c_size_t, POINTER(c_uint32), POINTER(POINTER(Handle))],
        *[POINTER(c_uint32), POINTER(_strings)],
    ],
    "MXNDArrayCreateEx": [POINTER(c_uint32), c_uint32, c_int, c_int, c_int, c_int, POINTER(Handle)],
    "MXNDArrayCreateNone": [POINTER(Handle)],
    "MXNDArrayFree": [Handle],
    "MXNDArrayGetShapeEx": [Handle, POINTER(c_int), POINTER(_ints)],
    "MXNDArrayGetDType": [Handle, POINTER(c_int)],
    "MXNDArraySyncCopyFromCPU": [Handle, c_void_p, c_size_t],
    "MXNDArraySyncCopyToCPU": [Handle, c_void_p, c_size_t],
    "MXNDArrayWaitAll": [],
    "MXCreateCachedOpEx": [Handle, c_int, _strings, _strings, POINTER(Handle)],
    "MXInvokeCachedOpEx": [Handle, c_int, POINTER(Handle), POINTER(c_int), POINTER(POINTER(Handle)), POINTER(_ints)],
    "MXFreeCachedOp": [Handle],
    "MXSetIsNumpyShape": [c_int, POINTER(c_int)],
    "MXRandomSeed": [c_int],
}

# What computes or copies lets the interpreter run on meanwhile. The rest takes microseconds and keeps it: giving it up and asking for it again
# costs up to a switch interval for each call while another thread is importing, and a net is loaded by hundreds of calls.
_LONG = frozenset(
    {
        "MXListAllOpNames",
        "MXSymbolCreateFromJSON",
        "MXSymbolInferShapePartialEx",
        "MXGenBackendSubgraph",
        "MXNDArrayLoadFromBuffer",
        "MXNDArraySyncCopyFromCPU",
        "MXNDArraySyncCopyToCPU",
        "MXNDArrayWaitAll",
        "MXInvokeCachedOpEx",
    }
)


# Two threads that open it at once crash it.
_OPENING = threading.Lock()


class MXNetError(Exception):
    """Raised when a C function of libmxnet fails; its text is MXNet's message without the C++ stack trace."""


class Library:
    """An opened libmxnet."""

    def __init__(self, path: str) -> None:
        """Open the library at ``path``.

        Raises:
            EngineUnavailable: It, or a library that it needs, cannot be loaded.
        """
        with _OPENING:
            self._bind(path, _open(path))

    def _bind(self, path: str, handle: int) -> None:
        runs_on, keeps = ctypes.CDLL(path, handle=handle), ctypes.PyDLL(path, handle=handle)
        self._functions = {
            name: _declare(runs_on if name in _LONG else keeps, name, types) for name, types in _PROTOTYPES.items()
        }
        # MXNet keeps the message for each thread, so asking for it is safe whatever the others do meanwhile.
        self._last_error = keeps.MXGetLastError
        self._last_error.restype = c_char_p
        # The handle answers for the libraries that libmxnet needs, too.
        self._openblas_kernels = getattr(keeps, "openblas_get_corename", None)
        if self._openblas_kernels:
            self._openblas_kernels.restype = c_char_p
        # Asking for the operators' names registers those of the oldest kind (SliceChannel, SwapAxis, Crop, …), as importing the mxnet package does.
        # Before that a net can name them, but their number of outputs is whatever lies in memory. 0.7 ms.
        self.call("MXListAllOpNames", ctypes.byref(c_uint32()), ctypes.byref(_strings()))

    @property
    def openblas_kernels(self) -> str:
        """For which processors the kernels are made that OpenBLAS has taken, like ``Haswell``; empty where MXNet has another BLAS."""
        return self._openblas_kernels().decode() if self._openblas_kernels else ""

    def call(self, name: str, *arguments: Any) -> None:
        """Call the C function ``name``; raise MXNetError with MXNet's message when it does not return 0."""
        if self._functions[name](*arguments) != 0:
            raise MXNetError(_first_part(self._last_error().decode(errors="replace")))


def _open(path: str) -> int:
    """libc's own ``dlopen``: ctypes' keeps the interpreter locked for the 50 ms that it takes (Python 3.11), and has every name looked up.

    Names are looked up when they are first called (RTLD_LAZY): that saves a seventh of the time, since a net uses few of them.
    """
    libc = ctypes.CDLL(None)
    libc.dlopen.argtypes, libc.dlopen.restype = [c_char_p, c_int], c_void_p
    libc.dlerror.argtypes, libc.dlerror.restype = [], c_char_p
    handle = libc.dlopen(os.fsencode(path), os.RTLD_LAZY | os.RTLD_LOCAL)
    if handle:
        return int(handle)
    reason = (libc.dlerror() or b"unknown reason").decode(errors="replace")
    raise EngineUnavailable(
        f"libmxnet cannot be loaded: {reason}. It needs libgomp.so.1 and libquadmath.so.0 on LD_LIBRARY_PATH: "
        "add the gluon-lambda layer to the function, or run `make setup` and start through `make run`"
    )


def _declare(dll: ctypes.CDLL, name: str, types: list[Any]) -> Any:
    function = getattr(dll, name)
    function.argtypes = types
    function.restype = c_int
    return function


def _first_part(message: str) -> str:
    """MXNet's message without its C++ stack trace and log prefix lines."""
    return message.partition("\nStack trace:")[0].partition("Stack trace returned")[0].strip()


def find_libmxnet() -> str:
    """The path of ``libmxnet.so`` in the installed mxnet package.

    Raises:
        EngineUnavailable: No mxnet package is installed on ``sys.path``.
    """
    from importlib.machinery import PathFinder

    # PathFinder alone: the finder of stock_mxnet must not take this for an import of mxnet.
    spec = PathFinder.find_spec("mxnet")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = os.path.join(folder, "libmxnet.so")
        if os.path.exists(path):
            return path
    raise EngineUnavailable(
        "No libmxnet.so: the mxnet wheel is not installed here. Add the gluon-lambda layer to the function, or run `make setup`"
    )


def return_free_memory() -> None:
    """Give memory that arrays have left free back to the system; glibc keeps what it got in smaller pieces otherwise."""
    ctypes.CDLL(None).malloc_trim(0)


def strings(values: list[bytes]) -> Any:
    """A C array of the strings."""
    return (c_char_p * len(values))(*values)
