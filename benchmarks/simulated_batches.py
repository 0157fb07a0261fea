"""A discrete-event simulation of batches: messages, the poller that takes them, sandboxes that answer them, and what goes wrong.

One heap of events; time is in seconds. Everything that is left to chance comes from one seeded source, so that a run can be repeated. What is
simulated is in ``docs/batch-at-scale.md``, and so is what is not.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from benchmarks.batch_durations import Durations
from benchmarks.simulated_fleet import Fleet, FleetRules, Scaling, State
from benchmarks.simulated_queue import Message, Received, Source

# ReceiveMessage and DeleteMessageBatch take so many messages at most.
AT_ONCE = 10
# How long the poller waits after it was throttled: at first, and at most; AWS only says that it backs off.
BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 30.0
# The handler keeps so much of its time for storing what is finished (gluon_lambda.batch.deadline.RESERVE_MS).
RESERVE_S = 2.0
NO_THING = -1


class Trigger(NamedTuple):
    """How batches are made.

    Attributes:
        batch_size: The most messages that an invocation gets.
        scaling: How many batches are under way.
        window_s: How long to wait for a batch to fill.
    """

    batch_size: int
    scaling: Scaling
    window_s: float = 0.0


class Faults(NamedTuple):
    """What goes wrong; the attributes are probabilities.

    Attributes:
        crash: That a sandbox ends in the middle of an invocation: its messages come again, what it had finished stays finished.
        transient: That an object fails and its message comes again (S3 fails, say).
    """

    crash: float = 0.0
    transient: float = 0.0


class Plan(NamedTuple):
    """What is simulated.

    Attributes:
        things: How many objects there are.
        trigger: How batches are made.
        fleet: The function's sandboxes.
        timeout_s: The function's.
        faults: What goes wrong.
        started_ahead: How many sandboxes run their INIT before the first message is taken.
        bucket_s: The width of a step of the timeline.
    """

    things: int
    trigger: Trigger
    fleet: FleetRules = FleetRules()
    timeout_s: float = 60.0
    faults: Faults = Faults()
    started_ahead: int = 0
    bucket_s: float = 10.0


class Outcome(NamedTuple):
    """What came of it.

    Attributes:
        done: How many objects have their summary.
        dead: How many messages are dead letters.
        invocations: How many there were, throttled ones not counted.
        failed_invocations: How many of them ended with their sandbox.
        cold_starts: How many INITs.
        throttles: How often an invocation was refused.
        received: How many messages were handed to the function.
        retries: How many of them had come before.
        duplicates: How many told of an object that was done already.
        drained_s: When the last object was done.
        ended_s: When nothing was left, dead letters included.
        billed_ms: Of all invocations, INIT included.
        init_ms: Of it INIT.
        new: How many objects were computed; more than ``done`` where some were computed twice.
        looked_up: How many were found done.
        most_busy: The most sandboxes that were busy at a time.
        receive_calls: How often a queue was asked and gave something.
        delete_calls: How often messages were deleted, ten at a time.
        timeline: Objects done in each step.
    """

    done: int
    dead: int
    invocations: int
    failed_invocations: int
    cold_starts: int
    throttles: int
    received: int
    retries: int
    duplicates: int
    drained_s: float
    ended_s: float
    billed_ms: int
    init_ms: int
    new: int
    looked_up: int
    most_busy: int
    receive_calls: int
    delete_calls: int
    timeline: tuple[int, ...]


class Arrival(NamedTuple):
    """Messages that appear at a time; -1 stands for one that names no object."""

    at: float
    things: tuple[int, ...]


class _Gathering:
    """A batch that is being filled."""

    __slots__ = ("batch", "is_open")

    def __init__(self, batch: list[Received]) -> None:
        self.batch = batch
        self.is_open = True


class Simulation:
    """One run. ``run`` is for once."""

    def __init__(self, plan: Plan, source: Source, durations: Durations, chance: random.Random) -> None:
        self._plan = plan
        self._source = source
        self._durations = durations
        self._chance = chance
        self._fleet = Fleet(plan.fleet)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._entered = 0
        self._now = 0.0
        self._allowed = min(plan.trigger.scaling.first, plan.trigger.scaling.most)
        self._under_way = 0
        self._gatherings: list[_Gathering] = []
        self._counts: Counter[str] = Counter()
        self._is_done = bytearray(plan.things)
        self._timeline: Counter[int] = Counter()
        self._drained_s = self._ended_s = 0.0
        self._scales_at = math.inf

    def run(self, arrivals: Iterable[Arrival]) -> Outcome:
        """Let ``arrivals``, ordered by time, come, and go on until nothing is left to do."""
        self._fleet.start_ahead(self._plan.started_ahead, 0.0)
        for _ in range(self._plan.started_ahead):
            self._bill_init(self._durations.init())
        coming = iter(arrivals)
        self._next_arrival(coming)
        while self._agenda:
            self._now, _, act = heapq.heappop(self._agenda)
            act()
            self._pull()
        return self._outcome()

    # Messages.

    def _next_arrival(self, coming: Iterable[Arrival]) -> None:
        arrival = next(iter(coming), None)
        if arrival is not None:
            self._at(arrival.at, lambda: self._arrive(arrival, coming))

    def _arrive(self, arrival: Arrival, coming: Iterable[Arrival]) -> None:
        for thing in arrival.things:
            self._source.send(Message(thing))
        self._next_arrival(coming)

    def _at(self, when: float, act: Callable[[], None]) -> None:
        self._entered += 1
        heapq.heappush(self._agenda, (when, self._entered, act))

    # The poller.

    def _pull(self) -> None:
        """Fill open batches, then begin as many new ones as are allowed."""
        trigger = self._plan.trigger
        for gathering in list(self._gatherings):
            self._fill(gathering)
        while self._under_way < self._allowed and (batch := self._receive(trigger.batch_size)):
            self._under_way += 1
            if len(batch) == trigger.batch_size or not trigger.window_s:
                self._start(batch, self._now)
            else:
                self._gather(batch)
        if self._scales_at == math.inf and self._source.is_waiting(self._now):
            self._scales_at = self._now + trigger.scaling.every_s
            self._at(self._scales_at, self._scale)

    def _receive(self, most: int) -> list[Received]:
        dead = len(self._source.dead)
        received = self._source.receive(most, self._now)
        self._counts["receive_calls"] += math.ceil(len(received) / AT_ONCE)
        if len(self._source.dead) > dead:
            self._ended_s = self._now
        return received

    def _gather(self, batch: list[Received]) -> None:
        gathering = _Gathering(batch)
        self._gatherings.append(gathering)
        self._at(self._now + self._plan.trigger.window_s, lambda: self._close(gathering))

    def _fill(self, gathering: _Gathering) -> None:
        missing = self._plan.trigger.batch_size - len(gathering.batch)
        gathering.batch += self._receive(missing)
        if len(gathering.batch) == self._plan.trigger.batch_size:
            self._close(gathering)

    def _close(self, gathering: _Gathering) -> None:
        if gathering.is_open:
            gathering.is_open = False
            self._gatherings.remove(gathering)
            self._start(gathering.batch, self._now)

    def _scale(self) -> None:
        """Every so often, for as long as messages wait; at the beginning again, once none does."""
        is_waiting = self._source.is_waiting(self._now)
        self._allowed = self._plan.trigger.scaling.after(self._allowed, is_waiting=is_waiting)
        self._scales_at = math.inf
        if is_waiting or self._under_way:
            self._scales_at = self._now + self._plan.trigger.scaling.every_s
            self._at(self._scales_at, self._scale)

    # Invocations.

    def _start(self, batch: list[Received], since: float, backoff_s: float = BACKOFF_S) -> None:
        """Invoke the function; where it is throttled, try again until the messages are visible again, and drop them then."""
        state = self._fleet.take(self._now)
        if state is None:
            self._counts["throttles"] += 1
            again = self._now + backoff_s
            if again < min(each.until for each in batch):
                self._at(again, lambda: self._start(batch, since, min(2 * backoff_s, LONGEST_BACKOFF_S)))
            else:
                self._give_up(batch)
            return
        self._count_batch(batch)
        self._invoke(batch, state)

    def _give_up(self, batch: list[Received]) -> None:
        self._under_way -= 1
        self._put_back(batch)

    def _count_batch(self, batch: list[Received]) -> None:
        self._counts["invocations"] += 1
        self._counts["received"] += len(batch)
        self._counts["retries"] += sum(each.receipt > 1 for each in batch)

    def _invoke(self, batch: list[Received], state: State) -> None:
        """Decide how the invocation goes, and when it ends."""
        init_ms = self._durations.init() if state is State.COLD else 0.0
        extra_ms = self._durations.extra() if state is not State.WARM else 0.0
        factor = self._durations.factor()
        mine = [each for each in batch if each.message.thing != NO_THING]
        new = sum(not self._is_done[each.message.thing] for each in mine)
        left_ms = 1000 * (self._plan.timeout_s - RESERVE_S) - extra_ms
        share = min(1.0, left_ms / max(factor * self._durations.usual(new, len(mine) - new), 1e-9))
        finished = self._drawn(mine[: int(share * len(mine))])
        crashed = self._chance.random() < self._plan.faults.crash
        if crashed:
            part = self._chance.random()
            finished = finished[: int(part * len(finished))]
            share *= part
        new_done = sum(not self._is_done[each.message.thing] for each in finished)
        self._counts["new"] += new_done
        self._counts["looked_up"] += len(finished) - new_done
        work_ms = extra_ms + factor * share * self._durations.usual(new, len(mine) - new)
        self._bill(init_ms, work_ms)
        self._at(self._now + (init_ms + work_ms) / 1000, lambda: self._end(batch, finished, crashed=crashed))

    def _drawn(self, batch: list[Received]) -> list[Received]:
        """Those that nothing happens to."""
        chance = self._plan.faults.transient
        return [each for each in batch if self._chance.random() >= chance] if chance else batch

    def _end(self, batch: list[Received], finished: list[Received], *, crashed: bool) -> None:
        self._ended_s = self._now
        self._fleet.give_back(self._now, is_alive=not crashed)
        self._under_way -= 1
        self._counts["failed_invocations"] += crashed
        for each in finished:
            self._note_done(each.message.thing)
        if crashed:
            self._put_back(batch)
            return
        for each in finished:
            self._source.delete(each)
        self._counts["delete_calls"] += math.ceil(len(finished) / AT_ONCE)
        kept = {id(each) for each in finished}
        self._put_back([each for each in batch if id(each) not in kept])

    def _put_back(self, batch: list[Received]) -> None:
        for again in self._source.put_back(batch, self._now) if batch else ():
            self._at(again, lambda: None)  # whatever happens, the queue is asked

    def _note_done(self, thing: int) -> None:
        if self._is_done[thing]:
            self._counts["duplicates"] += 1
            return
        self._is_done[thing] = 1
        self._timeline[int(self._now // self._plan.bucket_s)] += 1
        self._drained_s = self._now

    # The account.

    def _bill_init(self, init_ms: float) -> None:
        self._counts["init_ms"] += math.ceil(init_ms)

    def _bill(self, init_ms: float, work_ms: float) -> None:
        self._bill_init(init_ms)
        self._counts["work_ms"] += math.ceil(work_ms)

    def _outcome(self) -> Outcome:
        counts = self._counts
        steps = range(max(self._timeline, default=-1) + 1)
        return Outcome(
            done=sum(self._is_done),
            dead=len(self._source.dead),
            invocations=counts["invocations"],
            failed_invocations=counts["failed_invocations"],
            cold_starts=self._fleet.cold_starts,
            throttles=counts["throttles"],
            received=counts["received"],
            retries=counts["retries"],
            duplicates=counts["duplicates"],
            drained_s=self._drained_s,
            ended_s=self._ended_s,
            billed_ms=counts["work_ms"] + counts["init_ms"],
            init_ms=counts["init_ms"],
            new=counts["new"],
            looked_up=counts["looked_up"],
            most_busy=self._fleet.most_busy,
            receive_calls=counts["receive_calls"],
            delete_calls=counts["delete_calls"],
            timeline=tuple(self._timeline[step] for step in steps),
        )
