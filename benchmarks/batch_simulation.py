"""Batches from ten objects to a billion: how long they take, what comes again, what it costs. ``docs/batch-at-scale.md`` says how to read it.

``python -m benchmarks.batch_simulation --measure`` asks real sandboxes and writes ``build/bench/batch_durations.json``. Everything else is computed
from that file: ``--costs`` prints what a million images cost, ``--scales`` what ten to a million take by each trigger, and without
either one run is simulated, as the options say.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.batch_costs import Prices, bill, billed_ms, per_million, prefixes_needed, simulated
from benchmarks.batch_durations import Durations, Measured, load
from benchmarks.batch_measuring import MB_A_CPU, Asked, Setting, measure, quota_group
from benchmarks.contenders import ROOT
from benchmarks.cpu_quota import QuotaGroup, QuotaUnavailable
from benchmarks.machine import cpu_time, foreign_share, machine_facts
from benchmarks.simulated_batches import NO_THING, Arrival, Faults, Outcome, Plan, Simulation, Trigger
from benchmarks.simulated_fleet import SQS_STANDARD, FleetRules, Scaling, fixed, sqs_provisioned
from benchmarks.simulated_queue import Backlog, Queue, QueueRules, Source

MEASURED = ROOT / "build" / "bench" / "batch_durations.json"
# Step Functions' Retry in docs/batch-triggers.md: ten seconds, then twice as long each time, six times.
MAP_WAITS_S = tuple(10.0 * 2**attempt for attempt in range(6))
# S3 Batch Operations tries a task again by itself; how often, and after how long, is an assumption.
S3_BATCH_WAITS_S = (10.0, 20.0, 40.0)
# AWS names no number for S3 Batch Operations; an account's usual concurrency is an assumption.
S3_BATCH_AT_A_TIME = 1000
TRIGGERS = ("sqs", "map", "s3-batch")
SCALES = (10, 1_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Run:
    """One run that is to be simulated; the command line's options say the same."""

    objects: int
    trigger: str = "sqs"
    rate: float = 0.0
    batch_size: int = 10
    window_s: float = 0.0
    max_concurrency: int = 0
    provisioned: int = 0
    concurrency: int = 1000
    timeout_s: float = 60.0
    visibility_s: float = 0.0
    max_receives: int = 5
    crash: float = 0.0
    transient: float = 0.0
    hopeless: int = 0
    duplicate_events: float = 0.0
    duplicate_deliveries: float = 0.0
    seed: int = 1

    @property
    def hidden_s(self) -> float:
        """The queue's visibility timeout: as AWS advises it, where none is given."""
        return self.visibility_s or 6 * self.timeout_s + self.window_s


def simulate(run: Run, measured: Measured) -> Outcome:
    """Simulate a run of a function that behaves as it was measured."""
    chance = random.Random(run.seed)
    faults = Faults(run.crash, run.transient)
    plan = Plan(run.objects, _trigger(run), FleetRules(run.concurrency), run.timeout_s, faults)
    simulation = Simulation(plan, _source(run, chance), Durations(measured, chance), chance)
    return simulation.run(arrivals(run, chance))


def _trigger(run: Run) -> Trigger:
    size = 1 if run.trigger == "s3-batch" else run.batch_size
    return Trigger(size, _scaling(run), run.window_s if run.trigger == "sqs" else 0.0)


def _scaling(run: Run) -> Scaling:
    if run.trigger != "sqs":
        most = S3_BATCH_AT_A_TIME if run.trigger == "s3-batch" else 10_000
        return fixed(min(run.max_concurrency or most, most))
    if run.provisioned:
        return sqs_provisioned(2, run.provisioned)
    return SQS_STANDARD._replace(most=run.max_concurrency or SQS_STANDARD.most)


def _source(run: Run, chance: random.Random) -> Source:
    if run.trigger == "map":
        return Backlog(MAP_WAITS_S)
    if run.trigger == "s3-batch":
        return Backlog(S3_BATCH_WAITS_S)
    twice = run.duplicate_deliveries
    return Queue(QueueRules(run.hidden_s, run.max_receives, lambda: twice > 0 and chance.random() < twice))


def arrivals(run: Run, chance: random.Random) -> Iterator[Arrival]:
    """The messages: all at once, or ``rate`` a second at random times. Some come twice, some name no object."""
    things = list(range(run.objects))
    things += chance.sample(things, round(run.duplicate_events * run.objects)) + [NO_THING] * run.hopeless
    if len(things) > run.objects:
        chance.shuffle(things)
    if not run.rate:
        yield Arrival(0.0, tuple(things))
        return
    now = 0.0
    for thing in things:
        now += chance.expovariate(run.rate)
        yield Arrival(now, (thing,))


# Tables.


def summary(run: Run, measured: Measured, outcome: Outcome, prices: Prices) -> str:
    """One run in words."""
    cost = bill(simulated(outcome, measured, run.trigger, outcome.done), prices)
    rate = outcome.done / max(outcome.drained_s, 1e-9)
    lines = {
        "objects done": f"{outcome.done:,} of {run.objects:,}",
        "time until the last": f"{outcome.drained_s:,.1f} s, {rate:,.0f} objects a second over all",
        "dead letters": f"{outcome.dead:,}; nothing left after {outcome.ended_s:,.1f} s",
        "invocations": f"{outcome.invocations:,}, {outcome.received / max(outcome.invocations, 1):.1f} messages each; "
        f"{outcome.failed_invocations:,} crashed, {outcome.throttles:,} throttled",
        "cold starts": f"{outcome.cold_starts:,}; {outcome.most_busy:,} sandboxes busy at most",
        "messages": f"{outcome.received:,} handed over, {outcome.retries:,} of them not for the first time; "
        f"{outcome.duplicates:,} told of an object that was done",
        "billed": f"{outcome.billed_ms:,} ms, of which INIT {outcome.init_ms:,}",
        "cost": f"${cost.total:,.2f}: compute {cost.compute:,.2f}, invocations {cost.invocations:,.2f}, "
        f"S3 {cost.s3:,.2f}, trigger {cost.trigger:,.2f}",
    }
    text = "\n".join(f"{name:<20}{value}" for name, value in lines.items())
    return f"{measured.title}; {run.trigger}\n\n{text}\n\n{timeline(outcome.timeline)}"


def timeline(steps: Sequence[int], bucket_s: float = 10.0, rows: int = 12) -> str:
    """Objects a second over time, at most so many rows."""
    if not steps:
        return ""
    width = -(-len(steps) // rows)
    groups = [steps[start : start + width] for start in range(0, len(steps), width)]
    rates = [sum(group) / (len(group) * bucket_s) for group in groups]
    highest = max(max(rates), 1e-9)
    bars = (
        f"{number * width * bucket_s:>8,.0f} s {rate:>10,.1f}/s {'#' * round(40 * rate / highest)}"
        for number, rate in enumerate(rates)
    )
    return "\n".join(bars)


def costs_table(measured: Sequence[Measured], prices: Prices) -> str:
    """What a million objects cost, by model, memory, distance of S3, and batch size."""
    head = (
        "| model | MB | S3 at | batch | billed ms an image | compute | invocations | S3 | SQS | by SQS "
        "| by Map | express | by S3 Batch |\n|" + "---|" * 13
    )
    return "\n".join([head, *(row for each in measured for row in _cost_rows(each, prices))])


def _cost_rows(measured: Measured, prices: Prices) -> Iterator[str]:
    for size in sorted(measured.new):
        sqs = bill(per_million(measured, size, "sqs"), prices)
        by_map = (bill(per_million(measured, size, kind), prices).total for kind in ("map", "express"))
        by_batch = f"{bill(per_million(measured, size, 's3-batch'), prices).total:.2f}" if size == 1 else ""
        each = billed_ms(measured.new[size]) / size
        numbers = " | ".join(f"{value:.2f}" for value in (*sqs, sqs.total, *by_map))
        where = f"{measured.model} | {measured.memory_mb:,} | {measured.latency_ms:g} ms | {size}"
        yield f"| {where} | {each:.1f} | {numbers} | {by_batch} |"


class Scale(NamedTuple):
    """A way to work off objects, for the table of scales."""

    title: str
    run: Run


def ways(objects: int) -> Iterator[Scale]:
    """The ways to work off so many objects that lie there already."""
    yield Scale("SQS, batches of 10", Run(objects))
    yield Scale("SQS, provisioned pollers", Run(objects, provisioned=200))
    yield Scale("Distributed Map, batches of 50", Run(objects, trigger="map", batch_size=50, max_concurrency=1000))
    yield Scale("S3 Batch Operations", Run(objects, trigger="s3-batch"))


def scales_table(measured: Measured, prices: Prices, scales: Sequence[int] = SCALES) -> str:
    """Ten to a million objects by each trigger."""
    head = (
        "| objects | by | seconds | objects a second | invocations | cold starts | US$ | writes, reads: prefixes |\n|"
        + "---|" * 8
    )
    rows = [_scale_row(way, measured, prices) for objects in scales for way in ways(objects)]
    return "\n".join([head, *rows, "", billion_table(measured, prices)])


def billion_table(measured: Measured, prices: Prices, sandboxes: Sequence[int] = (1_000, 10_000)) -> str:
    """A billion objects, not simulated: so many sandboxes, always busy with the largest batches that were measured, nothing fails."""
    size = max(measured.new)
    each_s = billed_ms(measured.new[size]) / size / 1000
    cost = 1000 * bill(per_million(measured, size, "map"), prices).total
    lines = ["| sandboxes | objects a second | a billion in hours | US$ | writes, reads: prefixes |\n|" + "---|" * 5]
    for count in sandboxes:
        rate = count / each_s
        writes, reads = prefixes_needed(measured.requests_new, rate)
        lines.append(
            f"| {count:,} | {rate:,.0f} | {1e9 / rate / 3600:,.1f} | {cost:,.0f} | {writes:.1f}, {reads:.1f} |"
        )
    return "\n".join(lines)


def _scale_row(way: Scale, measured: Measured, prices: Prices) -> str:
    outcome = simulate(way.run, measured)
    cost = bill(simulated(outcome, measured, way.run.trigger, outcome.done), prices)
    writes, reads = prefixes_needed(measured.requests_new, max(outcome.timeline) / 10.0)
    rate = outcome.done / outcome.drained_s
    return (
        f"| {way.run.objects:,} | {way.title} | {outcome.drained_s:,.1f} | {rate:,.0f} | {outcome.invocations:,} | "
        f"{outcome.cold_starts:,} | {cost.total:,.2f} | {writes:.2f}, {reads:.2f} |"
    )


# What is measured.


def questions(names: Sequence[str]) -> list[Asked]:
    """The models that are measured, and their images."""
    workload, archives = ROOT / "build" / "bench" / "workload", ROOT / "build" / "archives"
    known = {
        "mobilenet": (workload / "mobilenet.model", workload / "picture.jpg", "image/jpeg"),
        "digits_lenet": (
            archives / "digits_lenet.model",
            ROOT / "archives" / "digits_lenet" / "sample.png",
            "image/png",
        ),
    }
    return [
        Asked(name, archive, image.read_bytes(), image.suffix, content_type)
        for name, (archive, image, content_type) in known.items()
        if name in names
    ]


def take_measurements(options: argparse.Namespace) -> None:
    """Measure every model at every memory size and distance of S3; each is stored when it is there."""
    (MEASURED.parent / "logs").mkdir(parents=True, exist_ok=True)
    before, measured = cpu_time(), []
    with ExitStack() as stack:
        group = group_or_none(stack)
        for asked in questions(options.models):
            for setting in settings(options, has_quota=group is not None):
                measured.append(measured_here(asked, setting, group))
                print(described(measured[-1]), flush=True)
                store(measured, foreign_share(before, cpu_time()))


def group_or_none(stack: ExitStack) -> QuotaGroup | None:
    """A group with a CPU quota; None, and why on stderr, where there can be none."""
    try:
        return quota_group(stack)
    except QuotaUnavailable as error:
        print(f"No CPU quota: {error}. Only what needs all CPUs is measured.", file=sys.stderr)
        return None


def measured_here(asked: Asked, setting: Setting, group: QuotaGroup | None) -> Measured:
    """One measurement, with this interpreter."""
    library_path = os.environ.get("LD_LIBRARY_PATH", str(ROOT / "build" / "lib"))
    logs, python = MEASURED.parent / "logs", Path(sys.executable)
    return measure(asked, setting, group=group, library_path=library_path, python=python, logs=logs)


def store(measured: Sequence[Measured], foreign: float) -> None:
    """Write what was measured, with the machine, and the share of its CPU time that others took meanwhile."""
    machine = machine_facts() | {"cpu_share_of_other_work": round(foreign, 3)}
    each = [one.to_json() for one in measured]
    content = {"machine": machine, "taken": time.strftime("%Y-%m-%d"), "measured": each}
    MEASURED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def settings(options: argparse.Namespace, *, has_quota: bool) -> Iterator[Setting]:
    """What is measured of each model; without a quota only sandboxes that have all CPUs of this machine."""
    for memory_mb in options.memories:
        if not has_quota and round(memory_mb / MB_A_CPU) != len(os.sched_getaffinity(0)):
            continue
        for latency_ms in options.latencies:
            plain = Setting(memory_mb, latency_ms)
            yield plain._replace(starts=2, rounds=6) if options.quick else plain


def described(measured: Measured) -> str:
    """What was measured, in a line."""
    times = ", ".join(f"{size}: {billed_ms(measured.new[size]) / size:.1f}" for size in sorted(measured.new))
    return f"{measured.title}: billed ms an image, by batch size: {times}"


def chosen(options: argparse.Namespace, measured: Sequence[Measured]) -> Measured:
    """The measurement that a run draws from.

    Raises:
        SystemExit: There is none.
    """
    for each in measured:
        if (each.model, each.memory_mb, each.latency_ms) == (options.model, options.memory, options.latency):
            return each
    titles = "\n".join(f"  {each.title}" for each in measured)
    raise SystemExit(
        f"{options.model} with {options.memory} MB, S3 at {options.latency:g} ms was not measured:\n{titles}"
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batch_simulation", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--measure", action="store_true", help="ask real sandboxes (minutes), and store how long they took"
    )
    parser.add_argument("--quick", action="store_true", help="with --measure: few repetitions")
    parser.add_argument("--models", nargs="+", default=["mobilenet", "digits_lenet"], help="with --measure")
    parser.add_argument("--memories", nargs="+", type=int, default=[1769, 3538], help="with --measure, MB")
    parser.add_argument("--latencies", nargs="+", type=float, default=[20.0, 100.0], help="with --measure: S3's, ms")
    parser.add_argument("--costs", action="store_true", help="what a million images cost")
    parser.add_argument("--scales", action="store_true", help="ten to a million objects, by each trigger")
    parser.add_argument("--price", action="append", default=[], metavar="NAME=DOLLARS", help="one of Prices' fields")
    parser.add_argument("--model", default="mobilenet", help="which was measured (mobilenet)")
    parser.add_argument("--memory", type=int, default=1769, help="MB (1769)")
    parser.add_argument("--latency", type=float, default=20.0, help="S3's, ms (20)")
    _add_run(parser)
    return parser.parse_args(arguments)


def _add_run(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group("the run that is simulated")
    run.add_argument("--objects", type=int, default=10_000)
    run.add_argument("--trigger", choices=TRIGGERS, default="sqs")
    run.add_argument("--rate", type=float, default=0.0, help="objects a second; 0: all lie there already")
    run.add_argument("--batch-size", type=int, default=10)
    run.add_argument("--window", dest="window_s", type=float, default=0.0, help="seconds, for SQS")
    run.add_argument("--max-concurrency", type=int, default=0, help="the mapping's, or the map's")
    run.add_argument("--provisioned", type=int, default=0, help="event pollers at most, instead of SQS's standard mode")
    run.add_argument("--concurrency", type=int, default=1000, help="sandboxes at most")
    run.add_argument("--timeout", dest="timeout_s", type=float, default=60.0, help="the function's, seconds")
    run.add_argument("--visibility", dest="visibility_s", type=float, default=0.0, help="0: six times the timeout")
    run.add_argument("--max-receives", type=int, default=5)
    run.add_argument("--crash", type=float, default=0.0, help="probability for an invocation")
    run.add_argument("--transient", type=float, default=0.0, help="probability for an object to come again")
    run.add_argument("--hopeless", type=int, default=0, help="messages that name no object")
    run.add_argument("--duplicate-events", type=float, default=0.0, help="share of objects that S3 tells of twice")
    run.add_argument(
        "--duplicate-deliveries", type=float, default=0.0, help="probability for a message to stay visible"
    )
    run.add_argument("--seed", type=int, default=1)


def run_of(options: argparse.Namespace) -> Run:
    """The run that the options say."""
    return Run(**{name: getattr(options, name) for name in Run.__dataclass_fields__})


def prices_of(pairs: Sequence[str]) -> Prices:
    """The prices, with some of them set.

    Raises:
        SystemExit: There is no such price.
    """
    changed = dict(pair.split("=", 1) for pair in pairs)
    if unknown := set(changed) - set(Prices._fields):
        raise SystemExit(f"no such price: {', '.join(sorted(unknown))}; there are {', '.join(Prices._fields)}")
    return Prices()._replace(**{name: float(value) for name, value in changed.items()})


def main(arguments: Sequence[str]) -> None:
    """Measure, or compute from what was measured."""
    options = parse(arguments)
    # So that sandboxes and their group go with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.measure:
        take_measurements(options)
    if not MEASURED.is_file():
        raise SystemExit(f"nothing has been measured: {MEASURED.relative_to(ROOT)} is made by --measure")
    measured, machine = load(MEASURED)
    prices = prices_of(options.price)
    busy = machine["cpu_share_of_other_work"]
    print(f"{machine['processor']}, {machine['cpus']} CPUs; other work took {busy:.0%} of them meanwhile\n")
    if options.costs:
        print(costs_table(measured, prices))
    elif options.scales:
        print(scales_table(chosen(options, measured), prices))
    elif not options.measure:
        run, drawn_from = run_of(options), chosen(options, measured)
        print(summary(run, drawn_from, simulate(run, drawn_from), prices))


if __name__ == "__main__":
    main(sys.argv[1:])
