"""Measure latency, cold start and billed cost at each memory size of Lambda, compute those that this machine has not the cores for, and draw both.

``python -m benchmarks.power`` prints a table and writes ``power.json``, ``power.md``, ``power.svg`` and ``power.png`` into ``build/bench``. It sets
CPU quotas by a cgroup, which takes root, or a cgroup that is yours. ``--pages`` measures nothing: it takes what was measured into ``docs/``.
``docs/deploy.md``, "Choosing memory", says how to read it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.batch_costs import Prices
from benchmarks.batch_measuring import MB_A_CPU
from benchmarks.cold_start import absolute, default_library_path, positive
from benchmarks.contenders import ALEXNET, CHAR_CNN, MOBILENET, ROOT
from benchmarks.cpu_quota import QuotaGroup, QuotaUnavailable, open_group
from benchmarks.machine import cpu_time, foreign_share, machine_facts
from benchmarks.power_measuring import Asked, Often, Place, measure
from benchmarks.power_sizes import Net, computed_sizes, from_json, table, to_json
from benchmarks.report import busy_warning
from benchmarks.workload import BUILT, REVIEW, http_api_event, prepare_workload

DIGITS = "digits_lenet"
NETS = (DIGITS, MOBILENET, CHAR_CNN, ALEXNET)
# From the template's least: two below a CPU, a CPU, one and a half, and then every whole one up to Lambda's most.
LEAST, MOST = 128, 10240
MEMORIES = (512, 1024, 1769, 2654, 3538, 5307, 7076, 8845, MOST)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.power", description=__doc__)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), metavar="NET", help=", ".join(NETS))
    parser.add_argument("--memories", nargs="+", type=memory, default=list(MEMORIES), metavar="MB")
    parser.add_argument("--cold", type=positive, default=5, help="cold starts of each kind at each size (5)")
    parser.add_argument("--warm", type=positive, default=50, help="warm invocations at each size (50)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for results and workload")
    parser.add_argument("--naive-python", type=Path, help="builds mobilenet, once (default: OUT/naive/bin/python)")
    parser.add_argument("--library-path", default=default_library_path(), help="folder of libgomp and libquadmath")
    parser.add_argument("--no-plot", action="store_true", help="do without matplotlib")
    parser.add_argument("--pages", action="store_true", help="take OUT/power.json into docs/; nothing is measured")
    return parser.parse_args(arguments)


def memory(text: str) -> int:
    """A size that Lambda has: AWS Lambda Developer Guide, "Configure Lambda function memory"."""
    size = int(text)
    if not LEAST <= size <= MOST:
        raise argparse.ArgumentTypeError(f"{text}: Lambda has {LEAST} to {MOST:,} MB")
    return size


def questions(options: argparse.Namespace) -> list[Asked]:
    """The nets and what they are asked.

    Raises:
        SystemExit: Something has not been built.
    """
    naive = absolute(options.naive_python or options.out / "naive" / "bin" / "python")
    if not naive.is_file():
        raise SystemExit(f"no naive environment at {naive}: `make bench-power` makes it (benchmarks/setup_naive.sh)")
    workload = prepare_workload(options.out.resolve() / "workload", python=naive, library_path=options.library_path)
    events, picture = workload.events, (options.out.resolve() / "workload" / "picture.jpg").stat().st_size
    digit = (ROOT / "archives" / DIGITS / "sample.png").read_bytes()
    png = http_api_event(digit, path=f"/{DIGITS}/predict", content_type="image/png")
    review = len(repr(REVIEW))
    known = (
        Asked(DIGITS, "a small exported net, a PNG", BUILT / f"{DIGITS}.model", png, len(digit)),
        Asked(MOBILENET, "exported, 17 MB, a JPEG of 38 kB", workload.archive, events[MOBILENET], picture),
        Asked(CHAR_CNN, "MMS 0.4 service, 45 MB, a review", BUILT / f"{CHAR_CNN}.model", events[CHAR_CNN], review),
        Asked(ALEXNET, "MMS 0.4 service, 244 MB, a JPEG", BUILT / f"{ALEXNET}.model", events[ALEXNET], picture),
    )
    chosen = [asked for asked in known if asked.name in options.nets]
    if missing := [asked.archive.name for asked in chosen if not asked.archive.is_file()]:
        raise SystemExit(f"no {', '.join(missing)} in {BUILT.relative_to(ROOT)}: `make bench-power` builds them")
    return chosen


def split(memories: Sequence[int], cpus: int) -> tuple[list[int], list[int]]:
    """The sizes that so many CPUs can show, and the larger ones.

    Raises:
        SystemExit: All are larger.
    """
    most = cpus * MB_A_CPU
    small, large = (sorted(each for each in set(memories) if (each <= most) is is_small) for is_small in (True, False))
    if not small:
        raise SystemExit(
            f"None of these sizes can be measured on {cpus} CPUs, which show up to {most:,} MB, and larger ones are computed from smaller ones: "
            "--memories with some of these"
        )
    return small, large


def own_group() -> QuotaGroup:
    """The cgroup.

    Raises:
        SystemExit: None can be made here.
    """
    try:
        return open_group()
    except QuotaUnavailable as error:
        raise SystemExit(f"Nothing is measured, since no CPU quota can be set: {error}. It takes root") from None


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every net, and compute its larger sizes.

    Raises:
        SandboxFailed: The handler does not answer.
        SystemExit: No quota can be set here, or something has not been built.
    """
    small, large = split(options.memories, len(os.sched_getaffinity(0)))
    asked = questions(options)
    logs = options.out.resolve() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    before, nets = cpu_time(), {}
    with own_group() as group:
        place = Place(group, Path(sys.executable), options.library_path, logs)
        for each in asked:
            print(f"{each.name}: {', '.join(f'{memory:,}' for memory in small)} MB", flush=True)
            nets[each.name] = with_larger(measure(each, small, Often(options.cold, options.warm), place), large)
    machine = machine_facts() | {"cpu_share_of_other_work": round(foreign_share(before, cpu_time()), 3)}
    settings = {"cold": options.cold, "warm": options.warm, "taken": time.strftime("%Y-%m-%d")}
    return {"machine": machine, "settings": settings, "nets": {name: to_json(net) for name, net in nets.items()}}


def with_larger(net: Net, memories: Sequence[int]) -> Net:
    """The net with sizes that are computed; without them where too little was measured to do so."""
    try:
        return net._replace(sizes=(*net.sizes, *computed_sizes(net.sizes, memories)))
    except ValueError as error:
        print(f"Larger sizes are not computed: {error}", file=sys.stderr)
        return net


def nets_of(result: Mapping[str, Any]) -> dict[str, Net]:
    """The nets of a stored result."""
    return {name: from_json(each) for name, each in result["nets"].items()}


def text_of(result: Mapping[str, Any]) -> str:
    """The result for the terminal."""
    machine = result["machine"]
    head = busy_warning(machine["cpu_share_of_other_work"])
    head += f"{machine['processor']}, {machine['cpus']} CPUs; in *italics*: computed\n\n"
    return head + table(nets_of(result), Prices())


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write."""
    options = parse_arguments(arguments)
    result_file = options.out / "power.json"
    if options.pages:
        if not result_file.is_file():
            raise SystemExit(f"There is no {result_file} to be taken into docs/: measure first (make bench-power)")
        if importlib.util.find_spec("matplotlib") is None:
            raise SystemExit("the pages' picture wants matplotlib: pip install -r benchmarks/requirements.txt")
        # Only here: the pages know more than this benchmark.
        from benchmarks.deploy_costs import write_pages

        write_pages(json.loads(result_file.read_text(encoding="utf-8")))
        return 0
    # A cgroup outlives who made it: whoever ends this run, it is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    result = run(options)
    result_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.out / "power.md").write_text(text_of(result), encoding="utf-8")
    print(f"\n{text_of(result)}")
    if not options.no_plot:
        # Only here: matplotlib is no part of what is measured.
        from benchmarks.power_picture import draw

        draw(nets_of(result), Prices(), [options.out / "power.svg", options.out / "power.png"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
