"""Asks the OpenBLAS of MXNet's wheel which kernels it takes on processors that are not here. x86_64 only.

Run as a program: the library is loaded, each CPUID instruction with which it looks at the processor is overwritten by one that is not allowed, and
the signal's handler answers in its place. So what decides is the library's own code, for every vendor, family and model that one likes.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from typing import Any

VENDORS = {
    "GenuineIntel": (6, 15, 18, 19),
    "AuthenticAMD": tuple(range(15, 32)),
    "HygonGenuine": (24,),
    "CentaurHauls": (6, 7),
    "  Shanghai  ": (6, 7),
}
MODELS = range(256)
_CPUID, _NOT_ALLOWED = b"\x0f\xa2", b"\x0f\x0b"
# Where ucontext_t of Linux on x86_64 has the registers, and their numbers there; see <sys/ucontext.h>.
_REGISTERS_AT, _RBX, _RDX, _RAX, _RCX, _RIP = 40, 11, 12, 13, 14, 16
_SA_SIGINFO = 4
_READ_WRITE_EXECUTE = 7
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

# By leaf: EAX, EBX, ECX and EDX.
Leaves = Mapping[int, tuple[int, int, int, int]]


class _Action(ctypes.Structure):
    """Sigaction's argument, as glibc has it."""

    _fields_ = (
        ("handler", _HANDLER),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class Detection:
    """The library, with its view of the processor in our hands."""

    def __init__(self, path: str) -> None:
        """Load it from ``path``."""
        self._library = ctypes.PyDLL(path)
        self._library.openblas_get_corename.restype = ctypes.c_char_p
        self._leaves: Leaves = {}
        self._overwrite("support_avx", "support_avx512")
        self._overwrite("gotoblas_dynamic_init", "gotoblas_dynamic_quit")
        self._action = _Action(_HANDLER(self._answer), flags=_SA_SIGINFO)
        if ctypes.CDLL(None).sigaction(signal.SIGILL, ctypes.byref(self._action), None):
            raise OSError("sigaction")

    def kernels(self, leaves: Leaves) -> str:
        """The kernels that it takes on a processor that tells this of itself."""
        self._leaves = leaves
        self._library.gotoblas_dynamic_quit()
        self._library.gotoblas_dynamic_init()
        return str(self._library.openblas_get_corename().decode())

    def _overwrite(self, first: str, behind: str) -> None:
        """Overwrite the CPUID instructions of the functions between two."""
        begin, end = self._address(first), self._address(behind)
        page = begin & -os.sysconf("SC_PAGESIZE")
        if ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), ctypes.c_size_t(end - page), _READ_WRITE_EXECUTE):
            raise OSError("mprotect")
        code = ctypes.string_at(begin, end - begin).replace(_CPUID, _NOT_ALLOWED)
        ctypes.memmove(begin, code, len(code))

    def _address(self, name: str) -> int:
        address = ctypes.cast(getattr(self._library, name), ctypes.c_void_p).value
        assert address is not None
        return address

    def _answer(self, _number: int, _information: int, context: int) -> None:
        registers = (ctypes.c_int64 * 23).from_address(context + _REGISTERS_AT)
        assert ctypes.string_at(registers[_RIP], 2) == _NOT_ALLOWED
        answer = self._leaves.get(registers[_RAX] & 0xFFFF_FFFF, (0, 0, 0, 0))
        registers[_RAX], registers[_RBX], registers[_RCX], registers[_RDX] = answer
        registers[_RIP] += 2


def with_avx2(vendor: str, family: int, model: int) -> Leaves:
    """What a processor with AVX2 and the operating system's support for it tells of itself; see Intel's and AMD's manuals, CPUID."""
    first, third, second = struct.unpack("<3I", vendor.encode("ascii"))
    base = min(family, 15)
    signature = (family - base) << 20 | (model >> 4) << 16 | base << 8 | (model & 15) << 4
    return {0: (16, first, second, third), 1: (signature, 0, 7 << 26, 0), 7: (0, 1 << 5, 0, 0)}


def _asked_as_all(detection: Detection) -> dict[str, Any]:
    return {
        vendor: {
            family: [detection.kernels(with_avx2(vendor, family, model)) for model in MODELS] for family in families
        }
        for vendor, families in VENDORS.items()
    }


def main() -> None:
    """Write the kernels by vendor, family and model as JSON."""
    spec = PathFinder.find_spec("mxnet")
    assert spec is not None
    assert spec.submodule_search_locations
    detection = Detection(os.path.join(next(iter(spec.submodule_search_locations)), "libopenblas.so.0"))
    json.dump(_asked_as_all(detection), sys.stdout)


if __name__ == "__main__":
    main()
