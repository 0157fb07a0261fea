"""Measure ``import mxnet`` through our import against the stock one, each import in a fresh process, in turns.

``python -m benchmarks.import_time --rounds 20 --out build/bench`` prints a table and writes ``import_time.json``.

Two rivals, for NumPy's version moves the figures: *stock* is the wheel as pip installs it, where that works (Python 3.11,
NumPy 1.23.5, the environment of ``setup_naive.sh``); *restored* is the stock import in this interpreter, with nothing but
the names put back that its NumPy and Python have removed. Ours is measured against each in the same interpreter. What is
timed is the one statement, with NumPy loaded before and without. libmxnet is opened within it. What a deployment package
does not hold (setuptools, onnx) is kept from both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contenders import ROOT
from benchmarks.figures import Ratio, median_ratio, summarize
from benchmarks.machine import cpu_time, foreign_share, machine_facts, versions_of

SCHEMA = 1
LIMIT = 0.3
# Before the clock starts: what a deployment package lacks is hidden, and what the handler would have done by then is done.
WORKER = """
import sys, time
kind, has_numpy = sys.argv[1], sys.argv[2] == "numpy"
sys.modules["onnx"] = sys.modules["setuptools"] = sys.modules["pkg_resources"] = None
if kind != "stock":
    from gluon_lambda.runtime import stock_mxnet
    stock_mxnet.install(lazily=kind == "ours")
if has_numpy:
    import numpy
started = time.perf_counter()
import mxnet
elapsed = time.perf_counter() - started
assert ("gluon_lambda.runtime.mxnet_import.finder" in sys.modules) == (kind == "ours")
mxnet.nd.ones((1,)).asnumpy()
print(elapsed * 1000)
"""


class Pair(NamedTuple):
    """Ours and a rival in one interpreter.

    Attributes:
        rival: ``stock`` or ``restored``.
        python: The interpreter.
        has_numpy: Whether NumPy is loaded before the clock starts.
    """

    rival: str
    python: Path
    has_numpy: bool

    @property
    def title(self) -> str:
        """For tables."""
        title = {"stock": "stock", "restored": "stock with removed names put back"}[self.rival]
        return f"import mxnet{'' if self.has_numpy else ' and NumPy'}, ours / {title}"


class ImportFailed(Exception):
    """Raised when a measured process fails."""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_time", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="imports of each kind (20)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for the result")
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="the interpreter of ours and restored"
    )
    parser.add_argument("--naive-python", type=Path, help="where stock mxnet works (default: OUT/naive/bin/python)")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least 1")
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every pair, in turns, and sum up.

    Raises:
        ImportFailed: A measured process failed.
    """
    # Absolute, links kept: a virtual environment's python is a link, and followed it is another.
    naive = Path(os.path.abspath(options.naive_python or options.out / "naive" / "bin" / "python"))
    own = Path(os.path.abspath(options.python))
    interpreters = {"stock": naive, "restored": own}
    pairs = [Pair(rival, python, has) for rival, python in interpreters.items() for has in (True, False)]
    before = cpu_time()
    values = measured(pairs, options.rounds)
    foreign = foreign_share(before, cpu_time())
    return {
        "schema": SCHEMA,
        "settings": {"rounds": options.rounds, "bytecode": "compiled", "hidden": ["onnx", "setuptools"]},
        "machine": {**machine_facts(), "cpu_share_of_other_work": round(foreign, 3)},
        "versions": {rival: versions_of(python) for rival, python in interpreters.items()},
        "pairs": [
            {"title": pair.title, "rival": pair.rival, "numpy_before": pair.has_numpy, **values[pair]} for pair in pairs
        ],
    }


def measured(pairs: Sequence[Pair], rounds: int) -> dict[Pair, dict[str, list[float]]]:
    """Milliseconds of each import. The first of each, which compiles and fills the page cache, does not count."""
    values: dict[Pair, dict[str, list[float]]] = {pair: {"ours_ms": [], "rival_ms": []} for pair in pairs}
    for number in range(-1, rounds):
        for pair in pairs:
            sides = [("ours_ms", "ours"), ("rival_ms", pair.rival)]
            for key, kind in sides[:: 1 if number % 2 else -1]:
                milliseconds = timed(pair, kind)
                if number >= 0:
                    values[pair][key].append(milliseconds)
    return values


def timed(pair: Pair, kind: str) -> float:
    """Milliseconds of one import in a fresh process.

    Raises:
        ImportFailed: The process failed; says how.
    """
    environ = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH") or str(ROOT / "build" / "lib"),
        "PYTHONPATH": str(ROOT / "handler"),
        # Where setuptools is installed it would answer for distutils.
        "SETUPTOOLS_USE_DISTUTILS": "stdlib",
    }
    command = [str(pair.python), "-W", "ignore", "-c", WORKER, kind, "numpy" if pair.has_numpy else "bare"]
    done = subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImportFailed(f"{kind} import in {pair.rival}'s interpreter failed: {done.stderr.strip()[-500:]}")
    return float(done.stdout)


def ratio_of(pair: Mapping[str, Any]) -> Ratio:
    """Ours over the rival's, median over median."""
    return median_ratio(pair["ours_ms"], pair["rival_ms"])


def targets(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each pair, for the table of what is to be reached."""
    for pair in result["pairs"]:
        ratio = ratio_of(pair)
        yield {"what": pair["title"], "measured": ratio.value, "limit": LIMIT, "low": ratio.low, "high": ratio.high}


def table(result: Mapping[str, Any]) -> str:
    """The result as text."""
    rows = [f"{'import in a fresh process, ms':<78}{'median':>8}{'mean':>8}{'p99':>8}   ratio of medians"]
    for pair in result["pairs"]:
        ratio = ratio_of(pair)
        for key, name in (("ours_ms", "ours"), ("rival_ms", pair["rival"])):
            sums = summarize(pair[key])
            line = f"  {pair['title'] if key == 'ours_ms' else '':<67}{name:<9}"
            line += f"{sums.median:>8.0f}{sums.mean:>8.0f}{sums.p99:>8.0f}"
            rows.append(line + (f"   {ratio.value:.2f} ({ratio.low:.2f}–{ratio.high:.2f})" if key == "ours_ms" else ""))
    for rival, versions in result["versions"].items():
        rows.append(f"  {rival}: Python {versions['python']}, NumPy {versions['numpy']}, mxnet {versions['mxnet']}")
    return "\n".join(rows)


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; 1 where an import fails."""
    options = parse_arguments(arguments)
    try:
        result = run(options)
    except ImportFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(table(result))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "import_time.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
