"""The measuring itself: all contenders take turns, so that whatever the machine does meanwhile hits them alike."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.agreement import require_agreement
from benchmarks.contenders import Contender
from benchmarks.sandbox import ColdStart, Sandbox

T = TypeVar("T")

SEED = 20
# Between two turns: OpenMP's threads spin for some milliseconds after their work, and would spin into another's turn.
PAUSE_S = 0.02
# Uncounted invocations of each warm process before the first that counts.
SETTLING = 5
# Where memory and threads come to lie makes a process fast or slow for as long as it lives: one of each would be one throw of the dice.
GENERATIONS = 5

# A measurement that is no handler's: taken once a round, in milliseconds.
Probe = Callable[[], float]


class Series(NamedTuple):
    """What was measured of one contender.

    Attributes:
        cold: One record a round.
        warm_ms: One duration a round.
        warm_peak_kib: Peak resident memory of its warm processes at their ends, the largest.
    """

    cold: list[ColdStart]
    warm_ms: list[float]
    warm_peak_kib: int


class Measured(NamedTuple):
    """One run.

    Attributes:
        series: By contender.
        probes: By name, one value a cold round.
    """

    series: dict[str, Series]
    probes: dict[str, list[float]]


class Lambda(NamedTuple):
    """What all processes are started with.

    Attributes:
        events: The event of each workload, as JSON.
        library_path: ``LD_LIBRARY_PATH``.
        logs: A folder for what the processes write.
    """

    events: Mapping[str, bytes]
    library_path: str
    logs: Path

    def start(self, contender: Contender) -> Sandbox:
        """Start one process of a contender."""
        return Sandbox(contender, library_path=self.library_path, log=self.logs / f"{contender.name}.log")


def turns(field: Sequence[T], rounds: int) -> Iterator[list[T]]:
    """The order of each round: everyone once, drawn anew, so that no one always follows the same.

    Memory that nobody has used for a while, the machine under this one takes away; who comes first after such a while gets it back page by
    page, and an archive of 244 MB then takes half a second longer to unpack.
    """
    chance = random.Random(SEED)
    for _ in range(rounds):
        yield chance.sample(field, len(field))


def measure_cold(
    setting: Lambda, field: Sequence[Contender], probes: Mapping[str, Probe], *, rounds: int
) -> tuple[dict[str, list[ColdStart]], dict[str, list[float]]]:
    """Start every contender once a round, each in a fresh process, and take every probe once.

    One uncounted start of each comes first: it brings files into the page cache and shows that the answers agree.

    Raises:
        Disagreement: The contenders answer differently.
        SandboxFailed: One does not answer.
    """
    require_workload_agreement(field, {contender.name: start_once(setting, contender).answer for contender in field})
    starts: dict[str, list[ColdStart]] = {contender.name: [] for contender in field}
    probed: dict[str, list[float]] = {name: [] for name in probes}
    for order in turns(field, rounds):
        for contender in order:
            starts[contender.name].append(start_once(setting, contender))
            time.sleep(PAUSE_S)
        for name, probe in probes.items():
            probed[name].append(probe())
        require_workload_agreement(field, {name: done[-1].answer for name, done in starts.items()})
    return starts, probed


def require_workload_agreement(field: Sequence[Contender], answers: Mapping[str, bytes]) -> None:
    """Compare the answers of those that were asked the same.

    Raises:
        Disagreement: Two differ.
    """
    for workload in dict.fromkeys(contender.workload for contender in field):
        require_agreement({each.name: answers[each.name] for each in field if each.workload == workload})


def start_once(setting: Lambda, contender: Contender) -> ColdStart:
    """One cold start, and the end of its process."""
    with setting.start(contender) as sandbox:
        return sandbox.first_answer(setting.events[contender.workload])


def measure_warm(setting: Lambda, field: Sequence[Contender], *, rounds: int) -> dict[str, tuple[list[float], int]]:
    """Invoke every contender once a round, all of them in fresh processes after each fifth of the rounds.

    Returns:
        Per contender: the durations in ms, and the peak memory in KiB.

    Raises:
        Disagreement: The contenders answer differently.
        SandboxFailed: One does not answer.
    """
    orders = list(turns(field, rounds))
    parts = [orders[first::GENERATIONS] for first in range(min(GENERATIONS, rounds))]
    generations = [measure_generation(setting, field, part) for part in parts]
    return {
        name: ([ms for each in generations for ms in each[name][0]], max(each[name][1] for each in generations))
        for name in generations[0]
    }


def measure_generation(
    setting: Lambda, field: Sequence[Contender], orders: Sequence[Sequence[Contender]]
) -> dict[str, tuple[list[float], int]]:
    """The same for one process of each."""
    with ExitStack() as stack:
        sandboxes = {contender.name: stack.enter_context(setting.start(contender)) for contender in field}
        for contender in field:
            settle(sandboxes[contender.name], setting.events[contender.workload])
        durations = take_turns(setting, orders, sandboxes)
        return {name: (durations[name], sandbox.peak_kib()) for name, sandbox in sandboxes.items()}


def settle(sandbox: Sandbox, event: bytes) -> None:
    """The first answer and a few uncounted ones."""
    sandbox.first_answer(event)
    for _ in range(SETTLING):
        sandbox.invoke(event)


def take_turns(
    setting: Lambda, orders: Sequence[Sequence[Contender]], sandboxes: Mapping[str, Sandbox]
) -> dict[str, list[float]]:
    """Invoke every sandbox once a round, in its order; durations in ms."""
    durations: dict[str, list[float]] = {name: [] for name in sandboxes}
    for order in orders:
        answers: dict[str, bytes] = {}
        for contender in order:
            name = contender.name
            duration, answers[name] = sandboxes[name].invoke(setting.events[contender.workload])
            durations[name].append(duration)
            time.sleep(PAUSE_S)
        require_workload_agreement(order, answers)
    return durations


def measure(
    setting: Lambda,
    field: Sequence[Contender],
    probes: Mapping[str, Probe],
    *,
    cold: int,
    warm: int,
    say: Callable[[str], None],
) -> Measured:
    """Measure everyone, cold and then warm; ``say`` is told what is going on."""
    say(f"cold: {cold} rounds of {len(field)} process starts")
    starts, probed = measure_cold(setting, field, probes, rounds=cold)
    say(f"warm: {warm} rounds of {len(field)} invocations")
    invocations = measure_warm(setting, field, rounds=warm)
    return Measured({name: Series(starts[name], *invocations[name]) for name in starts}, probed)
