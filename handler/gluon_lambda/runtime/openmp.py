"""OpenMP's threads while INIT shares the CPUs between a net's first run and imports.

A team of two that wait for one another, and a third thread that imports, on two CPUs: whoever is not running holds the others up, and a run of
32 ms took 60 to 90. With one thread, the net's first run, most of which is the making of its kernels, takes 42 beside the import and slows
it down by nothing (docs/decisions/0006-init-as-a-plan.md).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

# The process's: this module is imported before libmxnet is opened, and so before any thread is bound.
_CPUS = frozenset(os.sched_getaffinity(0))


@contextmanager
def regions_of_one() -> Iterator[None]:
    """While the body runs, parallel regions have one thread. How many there would be is told as before: kernels are made for that many.

    Not for what multiplies with OpenBLAS: that counts on as many as are told, and waits for them for ever.
    """
    # By its name: libmxnet has loaded it.
    libgomp = ctypes.PyDLL("libgomp.so.1")
    usual = libgomp.omp_get_max_active_levels()
    libgomp.omp_set_max_active_levels(0)
    try:
        yield
    finally:
        libgomp.omp_set_max_active_levels(usual)


def settle(environ: Mapping[str, str]) -> None:
    """Bind the calling thread, the one that runs nets, to the CPU that OpenMP will bind it to: the first one.

    OpenMP does so when it first makes a team, which a net's first run beside imports does not.
    """
    if _binds(environ):
        with suppress(OSError):  # where that is not allowed it is only slower
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@contextmanager
def out_of_the_way(environ: Mapping[str, str]) -> Iterator[None]:
    """While the body runs, keep the calling thread off that CPU.

    The scheduler would move it there sooner or later, and away again; the net is slowed down until it does.
    """
    usual = os.sched_getaffinity(0)
    others = usual - {min(usual)}
    if not (others and _binds(environ)):
        yield
        return
    with suppress(OSError):
        os.sched_setaffinity(0, others)
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, usual)


def leave_binding() -> None:
    """Let the calling thread run on all CPUs of the process: one that was started by the thread that runs nets is bound to the same CPU."""
    with suppress(OSError):  # where that is not allowed it is only slower
        os.sched_setaffinity(0, _CPUS)


def _binds(environ: Mapping[str, str]) -> bool:
    return environ.get("OMP_PROC_BIND", "").lower() in ("true", "close", "spread")
