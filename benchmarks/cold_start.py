"""Measure the first answer and the warm ones of every handler, in one run, and say what is reached of what was promised.

``python -m benchmarks.cold_start --cold 10 --warm 100 --out build/bench`` prints tables, and writes ``cold_start.json``,
``cold_start.svg`` and ``cold_start.png``. ``docs/benchmarks.md`` says what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.agreement import Disagreement
from benchmarks.beside import measure_beside
from benchmarks.bytecode import bytecode_of_the_image, compile_bytecode
from benchmarks.contenders import ROOT, Contender, Places, all_contenders
from benchmarks.fetch import BareFetch, FetchFailed
from benchmarks.import_time import ImportFailed
from benchmarks.machine import cpu_time, foreign_share, machine_facts, versions_of
from benchmarks.measure import Lambda, Measured, Probe, measure
from benchmarks.report import to_result
from benchmarks.s3_server import serve
from benchmarks.s3_terms import CLIENT_PROBE, PAIRS, client_ms, fetch_probe
from benchmarks.sandbox import SandboxFailed, lambda_environ
from benchmarks.tables import table
from benchmarks.targets import targets_of
from benchmarks.warm_overhead import Unanswered
from benchmarks.workload import MissingArchive, Workload, prepare_workload, require_examples

BUCKET = "benchmark"
# By choice only: what it would tell is what the floor with two threads tells, too.
NOT_BY_DEFAULT = ("naive-2",)
CONTENDERS_HELP = "handlers to measure (all but naive-2; a wrong name shows which there are)"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    parser.add_argument("--cold", type=positive, default=10, help="process starts of each contender (10)")
    parser.add_argument("--warm", type=positive, default=100, help="warm invocations of each contender (100)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for results and workload")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="interpreter of ours and floor")
    parser.add_argument("--naive-python", type=Path, help="the naive handler's (default: OUT/naive/bin/python)")
    parser.add_argument("--library-path", default=default_library_path(), help="folder of libgomp and libquadmath")
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help=CONTENDERS_HELP)
    parser.add_argument("--no-beside", action="store_true", help="cold starts and warm invocations only")
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


def naive_python_of(options: argparse.Namespace) -> Path:
    """The naive handler's interpreter."""
    return absolute(options.naive_python or options.out / "naive" / "bin" / "python")


def absolute(path: Path) -> Path:
    """An absolute path, links kept: a virtual environment's python is a link, and followed it is another."""
    return Path(os.path.abspath(path))


def choose(names: Sequence[str] | None, places: Places) -> list[Contender]:
    """The contenders of these names.

    Raises:
        SystemExit: There is none of one name.
    """
    known = all_contenders(places)
    chosen = names or [name for name in known if name not in NOT_BY_DEFAULT]
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise SystemExit(f"no contender {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in chosen]


def facts_of(options: argparse.Namespace, field: Sequence[Contender], *, foreign: float) -> dict[str, Any]:
    """Machine, versions and settings for the JSON."""
    return {
        "settings": {"cold": options.cold, "warm": options.warm, "bytecode": "compiled"},
        "machine": {**machine_facts(), "cpu_share_of_other_work": round(foreign, 3)},
        "versions": {contender.name: versions_of(contender.python) for contender in field},
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Prepare, measure and sum up.

    Raises:
        Disagreement: The contenders answer differently.
        FetchFailed: The file server does not give an archive.
        ImportFailed: An ``import mxnet`` failed.
        MissingArchive: An example archive has not been built.
        SandboxFailed: A contender does not answer.
        Unanswered: The process that warm overhead is measured in failed.
    """
    naive_python = naive_python_of(options)
    if not naive_python.is_file():
        raise SystemExit(f"no naive environment at {naive_python}: `make bench` makes it (benchmarks/setup_naive.sh)")
    workload = prepare_workload(
        options.out.resolve() / "workload", python=naive_python, library_path=options.library_path
    )
    require_examples(workload)
    before = cpu_time()
    with file_server(options.out.resolve() / "s3", workload) as endpoint:
        field = choose(options.contenders, places_of(options, workload, endpoint))
        measured = measure_field(options, field, workload, endpoint)
    # The file server has ended: its work counts as the benchmark's own.
    facts = facts_of(options, field, foreign=foreign_share(before, cpu_time()))
    return to_result(measured, field, {**facts, **measured_beside(options)})


def measured_beside(options: argparse.Namespace) -> dict[str, Any]:
    """What belongs to the matrix and is no cold start, by the name that it has in the JSON."""
    if options.no_beside:
        return {}
    return measure_beside(options.out.resolve(), absolute(options.python), naive_python_of(options), say=print)


def measure_field(
    options: argparse.Namespace, field: Sequence[Contender], workload: Workload, endpoint: str
) -> Measured:
    """Measure the contenders, and what it takes to fetch those archives that any of them has on S3."""
    for contender in field:
        compile_bytecode(contender)
    logs = options.out.resolve() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        probes = probes_of(options, field, workload, endpoint, stack)
        setting = Lambda(workload.events, options.library_path, logs)
        return measure(setting, field, probes, cold=options.cold, warm=options.warm, say=print)


def probes_of(
    options: argparse.Namespace, field: Sequence[Contender], workload: Workload, endpoint: str, stack: ExitStack
) -> dict[str, Probe]:
    """What is measured beside those contenders that have their archive on S3: its fetch, and the client's import."""
    probes: dict[str, Probe] = {}
    by_name = {contender.name: contender for contender in field}
    for model, (on_s3, _) in PAIRS.items():
        if on_s3 in by_name:
            fetch = stack.enter_context(BareFetch(endpoint, f"/{BUCKET}/{workload.archives[model].name}"))
            probes[fetch_probe(model)] = fetch.milliseconds
            mine = by_name[on_s3]
            environ = lambda_environ(mine, address="", library_path=options.library_path, scratch="")
            probes[CLIENT_PROBE] = partial(client_ms, mine.python, mine.folder, environ)
    return probes


@contextmanager
def file_server(folder: Path, workload: Workload) -> Iterator[str]:
    """The archives on a file server of S3's shape; yields its URL."""
    bucket = folder / BUCKET
    bucket.mkdir(parents=True, exist_ok=True)
    for archive in workload.archives.values():
        (bucket / archive.name).unlink(missing_ok=True)
        (bucket / archive.name).symlink_to(archive)
    with serve(folder) as endpoint:
        yield endpoint


def places_of(options: argparse.Namespace, workload: Workload, endpoint: str) -> Places:
    """Where the contenders find what they need; folders made absolute, since each runs in its own."""
    python = absolute(options.python)
    bytecode = bytecode_of_the_image(python, options.out.resolve() / "bytecode")
    return Places(python, naive_python_of(options), workload.net, workload.archives, bytecode, endpoint, BUCKET)


def write_result(result: dict[str, Any], out: Path, *, plot: bool) -> str:
    """Write JSON and pictures into ``out``; returns what to tell about it."""
    rows = [{**row._asdict(), "reached": row.reached} for row in targets_of(result)]
    text = json.dumps({**result, "targets": rows}, indent=1)
    (out / "cold_start.json").write_text(text + "\n", encoding="utf-8")
    if not plot or importlib.util.find_spec("matplotlib") is None:
        return f"written: {out / 'cold_start.json'}; pictures want matplotlib (benchmarks/requirements.txt)"
    # Only here: matplotlib is the benchmark's own requirement, and all else does without it.
    from benchmarks.plot import draw

    draw(result, [out / "cold_start.svg", out / "cold_start.png"])
    return f"written: {out / 'cold_start.json'}, cold_start.svg, cold_start.png"


def end(_signal: int, _frame: FrameType | None) -> None:
    """Leave by the ordinary way, on which all processes that were started are ended."""
    raise SystemExit("ended from outside; nothing is left running")


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; 1 where a contender fails or answers differently."""
    options, started = parse_arguments(arguments), time.monotonic()
    signal.signal(signal.SIGTERM, end)
    try:
        result = run(options)
    except (Disagreement, FetchFailed, MissingArchive, ImportFailed, SandboxFailed, Unanswered) as error:
        print(error, file=sys.stderr)
        return 1
    print(table(result))
    print(f"\n{write_result(result, options.out.resolve(), plot=not options.no_plot)}")
    print(f"took {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
