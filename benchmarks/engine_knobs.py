"""Measure what the engine's settings are worth under the CPU quotas that Lambda's memory sizes give.

``python -m benchmarks.engine_knobs`` prints tables and writes ``engine_knobs.json`` and ``engine_knobs.md`` into ``build/bench``; ``--quick``
is a trial with few repetitions. It makes one cgroup, sets quotas on it, puts its own worker processes into it, one at a time, and removes
it at the end. That takes root, or a cgroup that is yours; where it may not, the tables under a quota are left out, and the run says why.

The workers of a table live side by side, each with its own settings, and take turns; one that waits for its turn uses no CPU. Before a
turn begins the group has a whole period's quota. *In a row* runs follow one another; *one by one* each comes after a pause, as requests
do. ``docs/decisions/0005-engine-knobs.md`` says what was concluded.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

from benchmarks.contenders import ROOT
from benchmarks.cpu_quota import Quota, QuotaGroup, QuotaUnavailable, open_group
from benchmarks.figures import Summary, summarize
from benchmarks.knob_nets import SHAPES
from benchmarks.knob_worker import Spec, Turn
from benchmarks.machine import cpu_time, foreign_share, machine_facts
from benchmarks.measure import turns
from gluon_lambda.runtime.engine_environment import engine_environment, kernel_environment

SETTLING_RUNS = 5
GAP_MS = 20.0
# Lambda's period, as others take it to be it from inside, and Linux's own.
LAMBDA_PERIOD_MS, LINUX_PERIOD_MS = 20, 100
NO_QUOTA = Quota(0, LAMBDA_PERIOD_MS)
# Two nets tell where a table is not about threads: one whose operators take the time, one where it goes between them.
TWO_NETS = ("mobilenet1.0", "lenet")


class Contender(NamedTuple):
    """One way to set the engine.

    Attributes:
        name: In the table.
        environ: What libmxnet and libgomp read.
        options: The fields of ``Spec`` that say how the net is run.
    """

    name: str
    environ: Mapping[str, str]
    options: Mapping[str, Any]


class Cell(NamedTuple):
    """One block of a table: a net under a quota, runs in a row or one by one."""

    net: str
    quota: Quota
    gap_ms: float


class Table(NamedTuple):
    """Contenders that are compared with one another; the first is the yardstick.

    Attributes:
        key: For ``--tables``.
        title: Above its blocks.
        contenders: Who takes part.
        cells: Where they are compared.
        starts: Fresh processes of each contender and net.
    """

    key: str
    title: str
    contenders: tuple[Contender, ...]
    cells: tuple[Cell, ...]
    starts: int


def ours(threads: int, **changed: str) -> dict[str, str]:
    """The environment that the handler sets for so many threads, with some of it changed."""
    return engine_environment(threads, tempfile.gettempdir()) | changed


def threads_table() -> Table:
    """How many threads, bound or not, spinning for long or not, under each quota."""
    contenders = (
        Contender("1 thread", ours(1), {}),
        Contender("2 threads", ours(2), {}),
        Contender("2 threads, spinning as libgomp does by itself", ours(2, GOMP_SPINCOUNT="300000"), {}),
        Contender("2 threads, not bound", ours(2, OMP_PROC_BIND="false"), {}),
    )
    quotas = [Quota(vcpus, LAMBDA_PERIOD_MS) for vcpus in (0.5, 1, 1.13, 1.5, 2)]
    cells = [Cell(net, quota, gap) for net in SHAPES for quota in quotas for gap in (0.0, GAP_MS)]
    cells += [Cell(net, Quota(vcpus, LINUX_PERIOD_MS), 0.0) for net in SHAPES for vcpus in (1.13, 1.5)]
    return Table("threads", "Threads under a CPU quota, exported nets", contenders, tuple(cells), starts=1)


def engine_table() -> Table:
    """The engine's type, for both ways to run a net, and what operator tuning costs."""
    types = ("NaiveEngine", "ThreadedEngine", "ThreadedEnginePerDevice")
    contenders = [
        Contender(f"{how}, {each}", ours(1, MXNET_ENGINE_TYPE=each), {"how": how})
        for how in ("exported", "gluon")
        for each in types
    ]
    tuned = Contender("exported, NaiveEngine, operators tuned", ours(1, MXNET_USE_OPERATOR_TUNING="1"), {})
    cells = (Cell(net, NO_QUOTA, 0.0) for net in TWO_NETS)
    return Table("engine", "Engine type, 1 thread, no quota", (*contenders, tuned), tuple(cells), starts=3)


def net_table() -> Table:
    """Fusing and static memory, for a SymbolBlock."""
    ways = {
        "as it is": (False, False, False),
        "static memory": (False, True, False),
        "static memory and plan": (False, True, True),
        "fused": (True, False, False),
        "fused, static memory and plan": (True, True, True),
    }
    contenders = [
        Contender(name, ours(1), {"how": "gluon", "fuse": fuse, "static_alloc": alloc, "static_shape": shape})
        for name, (fuse, alloc, shape) in ways.items()
    ]
    predictor = Contender("our predictor", ours(1), {"how": "exported"})
    cells = (Cell(net, NO_QUOTA, 0.0) for net in TWO_NETS)
    return Table("net", "How a net is made ready, 1 thread, no quota", (*contenders, predictor), tuple(cells), starts=2)


def one_core_table() -> Table:
    """MXNet as it comes against our settings, on one CPU."""
    one = {"cpus": (min(os.sched_getaffinity(0)),)}
    contenders = (
        Contender("SymbolBlock, MXNet as it comes", {}, {**one, "how": "gluon"}),
        Contender("SymbolBlock, our settings", ours(1), {**one, "how": "gluon"}),
        Contender("our predictor, MXNet as it comes", {}, one),
        Contender("our predictor, our settings", ours(1), one),
    )
    cells = (Cell(net, NO_QUOTA, gap) for net in SHAPES for gap in (0.0, GAP_MS))
    return Table("one-core", "One CPU: MXNet as it comes and our settings", contenders, tuple(cells), starts=4)


TABLES = (threads_table, engine_table, net_table, one_core_table)


class Repetitions(NamedTuple):
    """How often.

    Attributes:
        rounds: Turns of each contender in a block.
        row_ms: About how long one turn of runs in a row lasts.
        singles: Runs in one turn of runs one by one.
    """

    rounds: int
    row_ms: float
    singles: int


FULL = Repetitions(rounds=4, row_ms=150, singles=10)
QUICK = Repetitions(rounds=2, row_ms=60, singles=4)


class Worker:
    """A running ``knob_worker``."""

    def __init__(self, contender: Contender, spec: Spec, *, library_path: str) -> None:
        """Start it, and wait until it has answered once."""
        own = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        paths = {"LD_LIBRARY_PATH": library_path, "PYTHONPATH": str(ROOT / "handler"), "MXNET_SUBGRAPH_VERBOSE": "0"}
        # Kept for the case that it fails; a pipe that nobody reads would fill up.
        self._complaints: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the worker)
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.knob_worker", json.dumps(spec._asdict())],
            # The same kernels for all: MXNet as it comes, too.
            env={**own, **paths, **kernel_environment(), **contender.environ}, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints,
        )  # fmt: skip
        self.ready: dict[str, float] = self._read()
        self.ready["start_ms"] = (time.perf_counter() - started) * 1000
        self.pid = self._process.pid

    def run(self, count: int, gap_ms: float) -> Turn:
        """Run the net so often."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count} {gap_ms}\n")
        self._process.stdin.flush()
        return Turn(*self._read())

    def stop(self) -> None:
        """End it."""
        self._process.communicate()
        self._complaints.close()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._complaints.seek(0)
            raise RuntimeError(f"a worker ended:\n{self._complaints.read()}")
        return json.loads(line)


def measure_table(table: Table, nets: Path, often: Repetitions, group: QuotaGroup | None) -> list[dict[str, Any]]:
    """Every cell of a table, net by net."""
    done: list[dict[str, Any]] = []
    for net in dict.fromkeys(cell.net for cell in table.cells):
        with ExitStack() as at_end:
            workers = start_workers(table, net, nets, at_end)
            for cell in table.cells:
                if cell.net == net and (group is not None or not cell.quota.vcpus):
                    done.append({**cell_facts(cell), "contenders": measure_cell(cell, workers, often, group)})
                    print("\n".join(run_lines(done[-1])), flush=True)
            done.append({"net": net, "starts": {name: worker_starts for name, (_, worker_starts) in workers.items()}})
            print("\n".join(start_lines(done[-1])), flush=True)
    return done


def start_workers(table: Table, net: str, nets: Path, at_end: ExitStack) -> dict[str, tuple[Worker, dict[str, Any]]]:
    """One living worker for each contender, and what it cost to start one, over several starts taking turns."""
    starts: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in table.contenders}
    workers: dict[str, Worker] = {}
    for number, order in enumerate(turns(table.contenders, table.starts)):
        for contender in order:
            worker = start(contender, net, nets)
            starts[contender.name].append(worker.ready)
            if number == table.starts - 1:
                at_end.callback(worker.stop)
                workers[contender.name] = worker
            else:
                worker.stop()
    return {each.name: (workers[each.name], start_facts(starts[each.name])) for each in table.contenders}


def start(contender: Contender, net: str, nets: Path) -> Worker:
    """One worker of a contender with a net."""
    spec = Spec(str(nets / net), SHAPES[net], **contender.options)
    return Worker(contender, spec, library_path=os.environ.get("LD_LIBRARY_PATH") or str(ROOT / "build" / "lib"))


def start_facts(starts: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Summaries of what the starts cost."""
    return {key: summarize([each[key] for each in starts])._asdict() for key in starts[0]}


def measure_cell(
    cell: Cell, workers: Mapping[str, tuple[Worker, Any]], often: Repetitions, group: QuotaGroup | None
) -> dict[str, Any]:
    """One cell: every contender once a round, alone under the quota."""
    taken: dict[str, list[Turn]] = {name: [] for name in workers}
    for order in turns(list(workers), often.rounds):
        for name in order:
            taken[name].append(one_turn(workers[name][0], cell, often, group))
    return {name: turn_facts(each) for name, each in taken.items()}


def turn_facts(done: Sequence[Turn]) -> dict[str, Any]:
    """A contender's turns in one cell, summed up."""
    values = [value for turn in done for value in turn.ms]
    cpu = statistics.median(turn.cpu_ms for turn in done)
    return {**summarize(values)._asdict(), "cpu": cpu, "runs": len(values)}


def one_turn(worker: Worker, cell: Cell, often: Repetitions, group: QuotaGroup | None) -> Turn:
    """A worker's turn, under the quota if there is one."""
    with ExitStack() as at_end:
        if cell.quota.vcpus and group is not None:
            group.limit(cell.quota)
            group.admit(worker.pid)
            at_end.callback(group.release, worker.pid)
        settling = worker.run(SETTLING_RUNS, 0)
        # What the settling runs used up is given again at the next period.
        time.sleep(2 * cell.quota.period_ms / 1000)
        count = often.singles if cell.gap_ms else max(5, round(often.row_ms / min(settling.ms)))
        return worker.run(count, cell.gap_ms)


def cell_facts(cell: Cell) -> dict[str, Any]:
    """A cell for the JSON."""
    return {"net": cell.net, "vcpus": cell.quota.vcpus, "period_ms": cell.quota.period_ms, "gap_ms": cell.gap_ms}


def run_lines(block: Mapping[str, Any]) -> Iterator[str]:
    """One cell: a line a contender, with the ratio of the means to the first one's."""
    quota = f"{block['vcpus']} vCPU, period {block['period_ms']} ms" if block["vcpus"] else "no quota"
    pattern = "one by one" if block["gap_ms"] else "in a row"
    heading = f"{block['net']}, {quota}, {pattern}; ms"
    yield ""
    yield f"{heading:<58}{'median':>9}{'mean':>9}{'p99':>9}{'/ first: median':>17}{'mean':>7}{'p99':>7}{'CPU ms':>9}{'runs':>7}"
    first = summary_of(next(iter(block["contenders"].values())))
    for name, entry in block["contenders"].items():
        mine = summary_of(entry)
        numbers = "".join(f"{value:>9.2f}" for value in mine)
        median, mean, p99 = (one / other for one, other in zip(mine, first, strict=True))
        yield f"  {name:<56}{numbers}{median:>17.2f}{mean:>7.2f}{p99:>7.2f}{entry['cpu']:>9.2f}{entry['runs']:>7}"


def summary_of(entry: Mapping[str, Any]) -> Summary:
    """The summary in an entry of the result."""
    return Summary(entry["median"], entry["mean"], entry["p99"])


def markdown_lines(done: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table as Markdown: a row for each cell, three numbers for each contender."""
    cells = [block for block in done if "contenders" in block]
    names = list(cells[0]["contenders"])
    yield f"| net | vCPU | period | runs | {' | '.join(names)} |"
    yield "|" + "---|" * (len(names) + 4)
    for cell in cells:
        pattern = "one by one" if cell["gap_ms"] else "in a row"
        quota = f"{cell['vcpus']} | {cell['period_ms']} ms" if cell["vcpus"] else "all | "
        numbers = [" / ".join(f"{value:.2f}" for value in summary_of(each)) for each in cell["contenders"].values()]
        yield f"| {cell['net']} | {quota} | {pattern} | {' | '.join(numbers)} |"


def start_lines(block: Mapping[str, Any]) -> Iterator[str]:
    """What starting the workers of one net cost: medians."""
    heading = f"{block['net']}: fresh processes, medians"
    yield ""
    yield f"{heading:<58}{'start ms':>9}{'open ms':>9}{'first ms':>9}{'peak MiB':>10}"
    for name, facts in block["starts"].items():
        medians = [facts[key]["median"] for key in ("start_ms", "open_ms", "first_ms")]
        numbers = "".join(f"{value:>9.1f}" for value in medians)
        yield f"  {name:<56}{numbers}{facts['peak_kib']['median'] / 1024:>10.1f}"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    keys = [table().key for table in TABLES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine_knobs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repetitions: a trial, not a measurement")
    parser.add_argument(
        "--tables", nargs="+", choices=keys, default=keys, metavar="TABLE", help=f"of {', '.join(keys)}"
    )
    parser.add_argument("--nets", nargs="+", choices=list(SHAPES), default=list(SHAPES), metavar="NET", help="all")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for results and nets")
    return parser.parse_args(arguments)


def prepare_nets(folder: Path) -> Path:
    """Build the nets, unless they are there."""
    if not all((folder / f"{name}-0000.params").is_file() for name in SHAPES):
        # In a process of its own: this one is to stay without the engine and its threads.
        subprocess.run([sys.executable, "-m", "benchmarks.knob_nets", str(folder)], check=True, cwd=ROOT)
    return folder


def group_or_reason(at_end: ExitStack) -> QuotaGroup | None:
    """The cgroup, or None where none may be made; says which."""
    try:
        group = at_end.enter_context(open_group())
    except QuotaUnavailable as error:
        print(f"Nothing is measured under a quota: {error}")
        return None
    print(f"Quotas are set on {group.folder}, which is removed at the end")
    return group


def chosen_tables(options: argparse.Namespace) -> Iterator[Table]:
    """The tables that were asked for, with the nets that were asked for."""
    for make in TABLES:
        table = make()
        if table.key in options.tables:
            yield table._replace(cells=tuple(cell for cell in table.cells if cell.net in options.nets))


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write."""
    options = parse_arguments(arguments)
    # A cgroup outlives who made it: whoever ends this run, it is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    nets = prepare_nets(options.out.resolve() / "knobs")
    often = QUICK if options.quick else FULL
    result: dict[str, Any] = {"machine": machine_facts(), "repetitions": often._asdict(), "tables": {}}
    before = cpu_time()
    with ExitStack() as at_end:
        group = group_or_reason(at_end)
        for table in chosen_tables(options):
            print(f"\n== {table.title} ==", flush=True)
            result["tables"][table.key] = measure_table(table, nets, often, group)
    result["machine"]["cpu_share_of_other_work"] = round(foreign_share(before, cpu_time()), 3)
    print(f"\nOther work took {result['machine']['cpu_share_of_other_work']:.0%} of this machine's CPU time")
    pages = [
        f"{key}: median / mean / 99th percentile, ms\n\n" + "\n".join(markdown_lines(done))
        for key, done in result["tables"].items()
    ]
    (options.out / "engine_knobs.md").write_text("\n\n".join(pages) + "\n", encoding="utf-8")
    (options.out / "engine_knobs.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
