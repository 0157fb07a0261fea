"""Measure what the handler adds to a warm invocation, beside decoding the request and running the net.

``python -m benchmarks.warm_overhead --out build/bench`` prints a table and writes ``warm_overhead.json``.
``docs/benchmarks.md`` says what is compared, and how to read it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contenders import MEMORY_MB, ROOT
from benchmarks.figures import percentile, summarize
from benchmarks.machine import cpu_time, foreign_share, machine_facts, versions_of
from benchmarks.pictures import Wanted, jpeg
from benchmarks.workload import prepare_workload

SCHEMA = 2
BUSY = 0.05
# Without a value: the workload's own. The base64 of the largest just fits Lambda's 6 MB.
PICTURES = {"38 kB": None, "1 MB": Wanted(2400, 1600, 1_000_000), "4 MB": Wanted(3600, 2400, 4_000_000)}
# The measured process knows them by these names too.
INSTANT, NET, HANDLER = "instant", "net", "lambda_handler"
TITLES = {INSTANT: "a predictor that returns at once", NET: "mobilenet1.0"}
LESS = {"bare": "bare work", "plain": "straight-line"}


class Unanswered(Exception):
    """Raised when the measured process fails, or does not write what it has to write about each invocation."""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warm_overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="repetitions with each picture (1,000)")
    parser.add_argument("--pictures", nargs="+", choices=PICTURES, default=list(PICTURES), help="which ones (all)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for results and workload")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the measured interpreter")
    parser.add_argument("--naive-python", type=Path, help="where stock mxnet works (default: OUT/naive/bin/python)")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error(f"--rounds {options.rounds}: at least 2")
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Prepare, measure each predictor in a process of its own, and sum up.

    Raises:
        Unanswered: A measured process failed.
    """
    out = options.out.resolve()
    naive_python = Path(os.path.abspath(options.naive_python or out / "naive" / "bin" / "python"))
    library_path = os.environ.get("LD_LIBRARY_PATH") or str(ROOT / "build" / "lib")
    workload = prepare_workload(out / "workload", python=naive_python, library_path=library_path)
    before = cpu_time()
    with tempfile.TemporaryDirectory(prefix="warm-overhead-") as scratch:
        environ = lambda_environ(workload.archive, library_path=library_path, scratch=scratch)
        files = picture_files(options.pictures, small=out / "workload" / "picture.jpg", folder=Path(scratch))
        asked = {"rounds": options.rounds, "pictures": files}
        series = {kind: measured(options.python, {**asked, "predictor": kind}, environ) for kind in (INSTANT, NET)}
    foreign = foreign_share(before, cpu_time())
    return to_result(series, options, foreign=foreign)


def picture_files(names: Sequence[str], *, small: Path, folder: Path) -> dict[str, str]:
    """The pictures' files: the workload's own, and larger ones, made here."""
    files = {}
    for name in names:
        wanted = PICTURES[name]
        files[name] = str(small if wanted is None else folder / f"{wanted.size}.jpg")
        if wanted is not None:
            Path(files[name]).write_bytes(jpeg(wanted))
    return files


def lambda_environ(archive: Path, *, library_path: str, scratch: str) -> dict[str, str]:
    """What Lambda would set for a function of 2 vCPUs, and nothing of this machine's but PATH and the library folder."""
    return {
        "AWS_LAMBDA_FUNCTION_NAME": "benchmark",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
        "GLUON_MODELS": f"mobilenet={archive}",
        "GLUON_CACHE_DIR": scratch,
        "LANG": "C.UTF-8",
        "LD_LIBRARY_PATH": library_path,
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "handler"), str(ROOT)]),
        "TZ": ":UTC",
    }


def measured(python: Path, asked: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The series of one process. Its stdout is a pipe that is read as it comes, as on Lambda.

    Raises:
        Unanswered: The process failed, or its log lacks the record of an invocation.
    """
    result = Path(environ["GLUON_CACHE_DIR"]) / f"{asked['predictor']}.json"
    command = [str(python), "-m", "benchmarks.warm_pairs", json.dumps(asked), str(result)]
    with subprocess.Popen(command, cwd=ROOT, env=dict(environ), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = list(process.stdout)
    if process.returncode:
        raise Unanswered(f"the measured process ended with {process.returncode}")
    told: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    logged = sum(map(tells_of_a_prediction, lines))
    if logged != told["invocations"]:
        raise Unanswered(f"{told['invocations']} invocations left {logged} records in the log")
    series: dict[str, Any] = told["series"]
    return series


def tells_of_a_prediction(line: str) -> bool:
    """Whether a line of the log is the record of an answered prediction, with its metrics."""
    record = json.loads(line)
    return record.get("status") == 200 and "InferenceTime" in record and "_aws" in record


def to_result(series: Mapping[str, Any], options: argparse.Namespace, *, foreign: float) -> dict[str, Any]:
    """The whole result as JSON holds it."""
    return {
        "schema": SCHEMA,
        "settings": {"rounds": options.rounds, "memory_mb": MEMORY_MB},
        "machine": {**machine_facts(), "cpu_share_of_other_work": round(foreign, 3)},
        "versions": versions_of(options.python),
        "predictors": {
            kind: {picture: sums_of(timed) for picture, timed in pictures.items()} for kind, pictures in series.items()
        },
    }


def sums_of(pairs: Mapping[str, Any]) -> dict[str, Any]:
    """One picture's part of the JSON: by how much the handler took longer than each rival, and the times of each pair."""
    taken: dict[str, dict[str, list[float]]] = {rival: timed["milliseconds"] for rival, timed in pairs.items()}
    return {
        "grown_kib": sum(timed["grown_bytes"] for timed in pairs.values()) // 1024,
        "handler_minus_ms": {rival: difference(pair[HANDLER], pair[rival])._asdict() for rival, pair in taken.items()},
        "times_ms": {rival: _each(pair, lambda values: summarize(values)._asdict()) for rival, pair in taken.items()},
        "values_ms": {
            rival: _each(pair, lambda values: [round(value, 4) for value in values]) for rival, pair in taken.items()
        },
    }


def _each(pair: Mapping[str, list[float]], of: Callable[[list[float]], Any]) -> dict[str, Any]:
    return {name: of(values) for name, values in pair.items()}


class Difference(NamedTuple):
    """By how much one series of times exceeds another, from the rounds' own differences.

    Attributes:
        median: The middle one.
        low: Lower end of the interval in which the median lies with 95 %.
        high: Upper end of it.
        mean: Their mean.
        p5: 5 % of the rounds differ by no more.
        p95: 95 % do.
        p99: 99 % do.
    """

    median: float
    low: float
    high: float
    mean: float
    p5: float
    p95: float
    p99: float


def difference(mine: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Sum up what ``mine`` took longer, round by round.

    The interval is that of order statistics: so many of n values lie below the median as heads fall in n tosses.
    """
    each = sorted(one - other for one, other in zip(mine, theirs, strict=True))
    reach = math.ceil(1.96 * math.sqrt(len(each)) / 2)
    low, high = max(len(each) // 2 - reach, 0), min(len(each) // 2 + reach, len(each) - 1)
    p5, p95, p99 = (percentile(each, percent) for percent in (5, 95, 99))
    return Difference(statistics.median(each), each[low], each[high], statistics.fmean(each), p5, p95, p99)


def table(result: Mapping[str, Any]) -> str:
    """The result as text: a block for each predictor, a line for each picture and what is compared."""
    machine = result["machine"]
    heading = busy_warning(machine["cpu_share_of_other_work"]) + (
        f"lambda_handler(event, context), HTTP API event with a JPEG, logs and metrics to a pipe; differences in ms, paired\n"
        f"{machine['processor']}, {machine['cpus']} CPUs; {result['settings']['rounds']:,} rounds\n"
        f"in brackets: where the median lies with 95 %"
    )
    blocks = ("\n".join(block_lines(kind, pictures)) for kind, pictures in result["predictors"].items())
    return "\n\n".join([heading, *blocks])


def busy_warning(share: float) -> str:
    """What to think of differences from a machine that had other work; empty where it had none."""
    return f"NOT TO BE RELIED ON: {share:.0%} of the CPU time went to other work.\n\n" if share > BUSY else ""


def block_lines(kind: str, pictures: Mapping[str, Any]) -> Iterator[str]:
    """One predictor's lines."""
    columns = "".join(f"{name:>10}" for name in ("mean", "p5", "p95", "p99"))
    yield f"{TITLES[kind]:<38}{'handler':>10}{'less':>10}{'difference':>12}{'':<18}{columns}"
    for picture, sums in pictures.items():
        for name, less in sums["handler_minus_ms"].items():
            times = sums["times_ms"][name]
            interval = f"  ({less['low']:.3f} – {less['high']:.3f})"
            spread = "".join(f"{less[key]:>10.3f}" for key in ("mean", "p5", "p95", "p99"))
            medians = f"{times[HANDLER]['median']:>10.3f}{times[name]['median']:>10.3f}{less['median']:>12.3f}"
            yield f"  {picture + ', less ' + LESS[name]:<36}{medians}{interval:<18}{spread}"
        yield f"  {'':<36}memory grew by {sums['grown_kib']:,} KiB"


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; 1 where a measured process fails."""
    options = parse_arguments(arguments)
    try:
        result = run(options)
    except Unanswered as error:
        print(error, file=sys.stderr)
        return 1
    print(table(result))
    (options.out / "warm_overhead.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
