"""Measure a built layer against rivals: its imports against the same without bytecode, its linear algebra against NumPy's own OpenBLAS.

``python -m benchmarks.layers --rounds 15`` prints a table and writes ``build/bench/layers.json``. The layer is the one for this Python.

*without bytecode* is the same layer without its ``__pycache__`` folders. *installed* is NumPy as its wheel has it, in this interpreter's environment;
both have one thread, and the layer's NumPy multiplies with MXNet's OpenBLAS. Every measurement is a fresh process, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contenders import ROOT
from benchmarks.figures import median_ratio, summarize
from benchmarks.machine import cpu_time, foreign_share, machine_facts

SCHEMA = 1

IMPORTS = {
    "numpy": "import numpy",
    "Pillow": "import PIL.Image, PIL.JpegImagePlugin",
    "mxnet, after numpy": "import mxnet",
    "fastapi and mangum": "import fastapi, mangum",
}
_BEFORE = {"mxnet, after numpy": "import numpy; from gluon_lambda.runtime import stock_mxnet; stock_mxnet.install()"}

ALGEBRA = {
    "product of 512 x 512, float32": "a @ a",
    "product of 512 x 512, float64": "b @ b",
    "500 x 500 times a vector, float32": "a[:500, :500] @ a[0, :500]",
    "solve 300 x 300, float64": "numpy.linalg.solve(b[:300, :300], b[:300, 0])",
    "svd of 150 x 150, float64": "numpy.linalg.svd(b[:150, :150])",
    "eigh of 150 x 150, float64": "numpy.linalg.eigh(b[:150, :150] + b[:150, :150].T)",
}

_TIMED = """
import sys, time
{before}
started = time.perf_counter()
{statement}
print((time.perf_counter() - started) * 1000)
"""

_REPEATED = """
import statistics, time, numpy
a = numpy.random.default_rng(0).standard_normal((512, 512)).astype("float32"); b = a.astype("float64")
def once():
    started = time.perf_counter(); {statement}; return (time.perf_counter() - started) * 1000
once()
print(statistics.median(once() for _ in range(15)))
"""


class Side(NamedTuple):
    """One of two that are compared.

    Attributes:
        name: For tables.
        flags: The interpreter's.
        paths: To import from.
        libraries: For LD_LIBRARY_PATH.
    """

    name: str
    flags: tuple[str, ...]
    paths: tuple[Path, ...]
    libraries: Path


class Question(NamedTuple):
    """What both sides are asked.

    Attributes:
        title: For tables.
        code: A program that prints milliseconds.
        ours: The layer.
        rival: What it is compared with.
    """

    title: str
    code: str
    ours: Side
    rival: Side


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each (15)")
    parser.add_argument(
        "--core", default="", help="processor whose kernels both OpenBLAS take (OPENBLAS_CORETYPE): Haswell, …"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for the result")
    options = parser.parse_args(arguments)
    folder = ROOT / "build" / "layers" / f"{sys.version_info.major}.{sys.version_info.minor}"
    if not (folder / "layer" / "python").is_dir():
        parser.error(f"no layer in {folder}: make layers LAYERS={folder.name}")
    with tempfile.TemporaryDirectory(dir=folder, prefix="without-bytecode-") as bare:
        asked = questions(folder, without_bytecode(folder, Path(bare)))
        result = run(asked, options.rounds, core=options.core)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "layers.json").write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


def without_bytecode(folder: Path, bare: Path) -> Path:
    """The layer and the function without their bytecode, as links to the same files."""
    for name in ("layer", "function"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(folder / name, bare / name, ignore=ignored, copy_function=os.link)
    return bare


def questions(folder: Path, bare: Path) -> list[Question]:
    """What is measured."""
    libraries = folder / "layer" / "lib"
    # -S: nothing that is installed. -B: what has no bytecode gets none.
    ours, rival = (
        Side(name, ("-S", "-B"), (place / "function", place / "layer" / "python"), libraries)
        for name, place in (("layer", folder), ("without bytecode", bare))
    )
    installed = Side("installed", ("-B",), (), libraries)
    imports = [
        Question(title, _TIMED.format(before=_BEFORE.get(title, ""), statement=statement), ours, rival)
        for title, statement in IMPORTS.items()
    ]
    return imports + [
        Question(title, _REPEATED.format(statement=statement), ours, installed) for title, statement in ALGEBRA.items()
    ]


def run(asked: Sequence[Question], rounds: int, *, core: str) -> dict[str, Any]:
    """Ask everything in turns, and sum up. The first round, which fills the page cache, does not count."""
    values: dict[str, dict[str, list[float]]] = {each.title: {"ours_ms": [], "rival_ms": []} for each in asked}
    before = cpu_time()
    for number in range(-1, rounds):
        for each in asked:
            for key, side in [("ours_ms", each.ours), ("rival_ms", each.rival)][:: 1 if number % 2 else -1]:
                milliseconds = timed(each.code, side, core)
                if number >= 0:
                    values[each.title][key].append(milliseconds)
    facts = {**machine_facts(), "cpu_share_of_other_work": round(foreign_share(before, cpu_time()), 3)}
    rivals = {each.title: each.rival.name for each in asked}
    return {
        "schema": SCHEMA,
        "machine": facts,
        "core": core or "found by each OpenBLAS",
        "questions": [{"title": title, "rival": rivals[title], **series} for title, series in values.items()],
    }


def timed(code: str, side: Side, core: str) -> float:
    """Milliseconds that a fresh process prints."""
    environ = {
        "PATH": "/usr/bin:/bin",
        "LD_LIBRARY_PATH": str(side.libraries),
        "PYTHONPATH": ":".join(map(str, side.paths)),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **({"OPENBLAS_CORETYPE": core} if core else {}),
    }
    command = [sys.executable, *side.flags, "-W", "ignore", "-c", code]
    return float(subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, check=True).stdout)


def table(result: Mapping[str, Any]) -> str:
    """The figures for reading."""
    lines = ["| | layer, ms | rival, ms | rival | layer / rival |", "|---|---:|---:|---|---|"]
    for each in result["questions"]:
        ours, rival = each["ours_ms"], each["rival_ms"]
        ratio = median_ratio(ours, rival)
        lines.append(
            f"| {each['title']} | {summarize(ours).median:.3g} | {summarize(rival).median:.3g} | {each['rival']} "
            f"| {ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) |"
        )
    share = result["machine"]["cpu_share_of_other_work"]
    return "\n".join([*lines, "", f"Others than these processes took {share:.0%} of the CPU time."])


if __name__ == "__main__":
    main()
