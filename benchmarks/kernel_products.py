"""Measure products of matrices by MXNet's OpenBLAS with the kernels of several processors, one thread each.

``python -m benchmarks.kernel_products`` prints a table of medians. Every process is a fresh one, and all kernels take turns.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.cold_start import default_library_path, positive
from benchmarks.contenders import ROOT
from benchmarks.machine import machine_facts
from benchmarks.measure import turns
from gluon_lambda.runtime.libmxnet import find_libmxnet

KERNELS = ("Haswell", "Zen", "Nehalem", "Barcelona", "Prescott")
# Rows and columns of the product, what is summed up for each, and its type.
SHAPES = (
    (512, 512, 512, "float32"),
    (512, 512, 512, "float64"),
    (128, 128, 64, "float32"),
    (20, 5000, 128, "float32"),
    (4, 1024, 1024, "float32"),
    (1, 1024, 1024, "float32"),
)
REPEATED = 15


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernel_products", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=15, help="processes of each (15)")
    options = parser.parse_args(arguments)
    taken: dict[str, list[list[float]]] = {name: [] for name in KERNELS}
    for order in turns(KERNELS, options.rounds):
        for name in order:
            taken[name].append(in_a_process(name))
    print(f"{machine_facts()['processor']}; medians over Haswell's\n")
    print(table({name: [statistics.median(each) for each in zip(*rows, strict=True)] for name, rows in taken.items()}))


def table(medians: dict[str, list[float]]) -> str:
    """A row for each product, the kernels' medians as ratios to the first one's."""
    first, *others = medians
    lines = [f"| product | {first}, ms | {' | '.join(others)} |", "|---|" + "---:|" * len(medians)]
    for at, (rows, columns, inner, dtype) in enumerate(SHAPES):
        ratios = [f"{medians[name][at] / medians[first][at]:.2f}" for name in others]
        cells = [f"{rows} x {inner} times {inner} x {columns}, {dtype}", f"{medians[first][at]:.3f}", *ratios]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def in_a_process(kernels: str) -> list[float]:
    """Milliseconds of each product in a fresh process."""
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LD_LIBRARY_PATH": default_library_path(),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "handler"), str(ROOT)]),
        "OPENBLAS_CORETYPE": kernels,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", "from benchmarks.kernel_products import measured; print(measured())"]
    told: list[float] = json.loads(subprocess.check_output(command, cwd=ROOT, env=environ, text=True))
    return told


def measured() -> list[float]:
    """Milliseconds of each product here, medians."""
    openblas = ctypes.CDLL(os.path.join(os.path.dirname(find_libmxnet()), "libopenblas.so.0"))
    return [product_ms(openblas, *shape) for shape in SHAPES]


def product_ms(openblas: ctypes.CDLL, rows: int, columns: int, inner: int, dtype: str) -> float:
    """Milliseconds of one product, the median of some; the first two, which touch the memory, do not count."""
    import numpy as np

    random = np.random.default_rng(0)
    left, right = random.random((rows, inner)).astype(dtype), random.random((inner, columns)).astype(dtype)
    result = np.zeros((rows, columns), dtype)
    number, multiply = (
        (ctypes.c_float, openblas.cblas_sgemm) if dtype == "float32" else (ctypes.c_double, openblas.cblas_dgemm)
    )
    a, b, c = (ctypes.c_void_p(each.ctypes.data) for each in (left, right, result))
    times = []
    for _ in range(2 + REPEATED):
        started = time.perf_counter()
        # By rows, neither transposed.
        multiply(101, 111, 111, rows, columns, inner, number(1), a, inner, b, columns, number(0), c, columns)
        times.append((time.perf_counter() - started) * 1000)
    np.testing.assert_allclose(result, left @ right, rtol=1e-4)
    return statistics.median(times[2:])


if __name__ == "__main__":
    main(sys.argv[1:])
