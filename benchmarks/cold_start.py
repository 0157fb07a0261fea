"""Measure the first answer and the warm ones: our handler, a straight-line floor and a naive handler, in one run.

``python -m benchmarks.cold_start --cold 10 --warm 100 --out build/bench`` prints a table, and writes ``cold_start.json``
and ``cold_start.svg``. ``docs/benchmarks.md`` says what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.agreement import Disagreement
from benchmarks.contenders import ROOT, Contender, Places, all_contenders, compile_bytecode
from benchmarks.machine import cpu_time, foreign_share, machine_facts, versions_of
from benchmarks.measure import Lambda, measure
from benchmarks.report import table, to_result
from benchmarks.sandbox import SandboxFailed
from benchmarks.workload import Workload, prepare_workload

DEFAULT_CONTENDERS = ("ours", "floor", "floor-2", "naive")
CONTENDERS_HELP = "of ours, floor, floor-2, naive, naive-2 (all but the last)"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    parser.add_argument("--cold", type=positive, default=10, help="process starts of each contender (10)")
    parser.add_argument("--warm", type=positive, default=100, help="warm invocations of each contender (100)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for results and workload")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="interpreter of ours and floor")
    parser.add_argument("--naive-python", type=Path, help="the naive handler's (default: OUT/naive/bin/python)")
    parser.add_argument("--library-path", default=default_library_path(), help="folder of libgomp and libquadmath")
    parser.add_argument("--contenders", nargs="+", default=DEFAULT_CONTENDERS, metavar="NAME", help=CONTENDERS_HELP)
    parser.add_argument("--no-plot", action="store_true", help="do without matplotlib")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """A count of at least one."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return count


def default_library_path() -> str:
    """``LD_LIBRARY_PATH`` as it is, or where `make setup` puts the libraries."""
    folders = os.environ.get("LD_LIBRARY_PATH") or str(ROOT / "build" / "lib")
    # The handlers run in folders of their own.
    return os.pathsep.join(os.path.abspath(folder) for folder in folders.split(os.pathsep) if folder)


def places_of(options: argparse.Namespace, workload: Workload) -> Places:
    """Where the contenders find what they need; folders made absolute, since each runs in its own."""
    cache = options.out.resolve() / "cache"
    return Places(absolute(options.python), naive_python_of(options), workload.net, workload.archive, cache)


def naive_python_of(options: argparse.Namespace) -> Path:
    """The naive handler's interpreter."""
    return absolute(options.naive_python or options.out / "naive" / "bin" / "python")


def absolute(path: Path) -> Path:
    """An absolute path, links kept: a virtual environment's python is a link, and followed it is another."""
    return Path(os.path.abspath(path))


def choose(names: Sequence[str], places: Places) -> list[Contender]:
    """The contenders of these names.

    Raises:
        SystemExit: There is none of one name.
    """
    known = all_contenders(places)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no contender {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names]


def facts_of(options: argparse.Namespace, field: Sequence[Contender], *, foreign: float) -> dict[str, Any]:
    """Machine, versions and settings for the JSON."""
    return {
        "settings": {"cold": options.cold, "warm": options.warm, "bytecode": "compiled"},
        "machine": {**machine_facts(), "cpu_share_of_other_work": round(foreign, 3)},
        "versions": {contender.name: versions_of(contender.python) for contender in field},
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Prepare, measure and sum up."""
    naive_python = naive_python_of(options)
    if not naive_python.is_file():
        raise SystemExit(f"no naive environment at {naive_python}: `make bench` makes it (benchmarks/setup_naive.sh)")
    out = options.out.resolve()
    workload = prepare_workload(out / "workload", python=naive_python, library_path=options.library_path)
    field = choose(options.contenders, places_of(options, workload))
    for contender in field:
        compile_bytecode(contender)
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    setting = Lambda(workload.event, options.library_path, logs)
    before = cpu_time()
    measured = measure(setting, field, cold=options.cold, warm=options.warm, say=print)
    return to_result(measured, facts_of(options, field, foreign=foreign_share(before, cpu_time())))


def write_result(result: dict[str, Any], out: Path, *, plot: bool) -> None:
    """Write JSON and picture into ``out``."""
    (out / "cold_start.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if plot:
        # Only here: matplotlib is the benchmark's own requirement, and --no-plot does without it.
        from benchmarks.plot import draw

        draw(result, out / "cold_start.svg")


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; 1 where a contender fails or answers differently."""
    options = parse_arguments(arguments)
    try:
        result = run(options)
    except (Disagreement, SandboxFailed) as error:
        print(error, file=sys.stderr)
        return 1
    print(table(result))
    write_result(result, options.out.resolve(), plot=not options.no_plot)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
