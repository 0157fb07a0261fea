"""The simulation of batches: SQS's rules, Lambda's and its poller's, what is drawn from measurements, and what it costs."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from benchmarks.batch_costs import Parts, Prices, Usage, bill, per_million, prefixes_needed, requests_of_parts
from benchmarks.batch_durations import Durations, Line, Measured, from_json, line_through
from benchmarks.batch_simulation import (
    Run,
    arrivals,
    billion_table,
    costs_table,
    parse,
    prices_of,
    run_of,
    scales_table,
    simulate,
)
from benchmarks.simulated_batches import Arrival, Faults, Outcome, Plan, Simulation, Trigger
from benchmarks.simulated_fleet import SQS_STANDARD, Fleet, FleetRules, Scaling, State, fixed, sqs_provisioned
from benchmarks.simulated_queue import Backlog, Message, Queue, QueueRules, Source, fill
from gluon_lambda.batch.lines import Line as ResultLine
from gluon_lambda.batch.objects import Facts
from gluon_lambda.batch.outputs import Done, Work
from gluon_lambda.batch.places import parse_output, place
from gluon_lambda.batch.progress import Progress, open_progress
from gluon_lambda.batch_records import ObjectRef
from tests.memory_objects import MemoryObjects

# A function that takes 100 ms and 10 for each object; INIT takes a second, the first batch half a second more.
STEADY = Measured(
    model="net",
    memory_mb=1024,
    latency_ms=20,
    init=(1000.0,),
    first=(700.0,),
    first_size=10,
    new={1: (110.0,), 10: (200.0,)},
    done={1: (52.0,), 10: (70.0,)},
    requests_new={"GET": 3, "HEAD": 1, "PUT": 2},
    requests_done={"GET": 1, "HEAD": 1, "LIST": 1},
)


def run(
    plan: Plan, source: Source, arriving: Iterable[Arrival], measured: Measured = STEADY, *, seed: int = 1
) -> Outcome:
    chance = random.Random(seed)
    return Simulation(plan, source, Durations(measured, chance), chance).run(arriving)


def all_at_once(count: int, *others: int) -> list[Arrival]:
    return [Arrival(0.0, (*range(count), *others))]


def plan_of(things: int, **changed: object) -> Plan:
    return Plan(things, Trigger(10, fixed(2)))._replace(**changed)  # type: ignore[arg-type]


# SQS's rules.


def test_what_has_come_is_hidden_until_its_time_is_over() -> None:
    queue = Queue(QueueRules(visibility_s=30))
    fill(queue, range(2))
    assert [each.message.thing for each in queue.receive(10, 5)] == [0, 1]
    assert queue.receive(10, 34.9) == []
    assert [(each.message.thing, each.receipt) for each in queue.receive(10, 35)] == [(0, 2), (1, 2)]


def test_what_is_deleted_never_comes_again() -> None:
    queue = Queue(QueueRules(visibility_s=30))
    fill(queue, [0])
    (received,) = queue.receive(10, 0)
    assert queue.delete(received)
    assert queue.receive(10, 100) == []
    assert not queue.dead


def test_a_receipt_counts_no_more_once_the_message_has_come_again() -> None:
    queue = Queue(QueueRules(visibility_s=30))
    fill(queue, [0])
    (first,) = queue.receive(10, 0)
    (second,) = queue.receive(10, 30)
    assert not queue.delete(first)
    assert queue.delete(second)
    assert queue.receive(10, 100) == []


def test_a_message_is_a_dead_letter_when_it_would_come_once_too_often() -> None:
    queue = Queue(QueueRules(visibility_s=10, max_receives=2))
    fill(queue, [0])
    assert [len(queue.receive(10, now)) for now in (0, 10)] == [1, 1]
    assert queue.dead == []
    assert queue.receive(10, 20) == []
    assert [message.thing for message in queue.dead] == [0]


def test_a_message_that_stays_visible_comes_to_two_receivers() -> None:
    twice = iter([True, False, False])
    queue = Queue(QueueRules(visibility_s=30, comes_twice=lambda: next(twice)))
    fill(queue, [0])
    (first,), (second,) = queue.receive(10, 0), queue.receive(10, 1)
    assert first.message is second.message
    assert (first.receipt, second.receipt) == (1, 2)
    assert queue.delete(second)
    assert queue.receive(10, 100) == []


def test_a_backlog_tries_an_item_again_after_each_of_its_waits_and_then_gives_it_up() -> None:
    backlog = Backlog([10, 20])
    backlog.send(Message(0))
    times = [0.0]
    for _ in range(2):
        (received,) = backlog.receive(1, times[-1])
        (again,) = backlog.put_back([received], times[-1])
        assert backlog.receive(1, again - 0.1) == []
        times.append(again)
    assert times == [0, 10, 30]
    backlog.put_back(backlog.receive(1, 30), 30)
    assert [message.thing for message in backlog.dead] == [0]


# Lambda's rules.


def test_a_thousand_sandboxes_may_be_added_in_ten_seconds_and_what_is_not_used_is_not_saved_up() -> None:
    fleet = Fleet(FleetRules(limit=5000))
    assert [fleet.take(100.0) for _ in range(1001)].count(State.COLD) == 1000
    assert fleet.take(100.0) is None
    assert [fleet.take(100.5) for _ in range(100)].count(State.COLD) == 50
    assert [fleet.take(105.5) for _ in range(600)].count(State.COLD) == 500


def test_no_more_sandboxes_are_busy_than_the_function_may_have() -> None:
    fleet = Fleet(FleetRules(limit=2))
    assert [fleet.take(0), fleet.take(0), fleet.take(0)] == [State.COLD, State.COLD, None]
    fleet.give_back(1)
    assert fleet.take(1) is State.WARM
    assert (fleet.cold_starts, fleet.most_busy) == (2, 2)


def test_a_sandbox_that_nobody_asks_or_that_has_crashed_is_replaced_by_a_new_one() -> None:
    fleet = Fleet(FleetRules(idle_s=600))
    fleet.take(0)
    fleet.give_back(1)
    assert fleet.take(601) is State.WARM
    fleet.give_back(602)
    assert fleet.take(1203) is State.COLD
    fleet.give_back(1204, is_alive=False)
    assert fleet.take(1204) is State.COLD


def test_a_poller_begins_with_five_batches_and_adds_three_hundred_a_minute_while_messages_wait() -> None:
    steps = [5]
    for _ in range(6):
        steps.append(SQS_STANDARD.after(steps[-1], is_waiting=True))
    assert steps == [5, 305, 605, 905, 1205, 1250, 1250]
    assert SQS_STANDARD.after(905, is_waiting=False) == 5
    assert SQS_STANDARD._replace(most=2).after(2, is_waiting=True) == 2


def test_provisioned_pollers_have_ten_batches_each() -> None:
    assert sqs_provisioned(2, 200) == Scaling(20, 1000, 60.0, 2000)
    assert sqs_provisioned(2, 2000).most == 20_000 == sqs_provisioned(2, 3000).most


def test_the_poller_adds_batches_in_the_simulation_while_messages_wait() -> None:
    trigger = Trigger(10, Scaling(5, 300, 60.0, 1250))
    outcome = run(Plan(100_000, trigger), Queue(QueueRules(360)), all_at_once(100_000))
    # Until the first minute is over 5 sandboxes do 250 objects a second; after it there is more room than messages.
    assert outcome.timeline[3] == 5 * 10 * 50
    assert sum(outcome.timeline[:6]) < 15_000
    assert outcome.most_busy == 305
    assert outcome.done == 100_000


# Runs.


def test_as_many_objects_a_second_are_done_as_sandboxes_divided_by_the_time_for_each() -> None:
    outcome = run(plan_of(10_000), Queue(QueueRules(360)), all_at_once(10_000))
    assert (outcome.done, outcome.invocations, outcome.cold_starts) == (10_000, 1000, 2)
    # Each of two sandboxes: INIT, 500 ms more for the first batch, then 500 batches of 200 ms.
    assert outcome.drained_s == pytest.approx(1.0 + 0.5 + 500 * 0.2)
    assert outcome.billed_ms == 2 * (1000 + 500) + 1000 * 200
    assert outcome.init_ms == 2000


def test_a_batch_is_filled_until_its_window_is_over_or_it_is_full() -> None:
    arriving = [Arrival(float(at), (at,)) for at in range(14)]
    plan = plan_of(14, trigger=Trigger(10, fixed(1), window_s=5))
    outcome = run(plan, Queue(QueueRules(360)), arriving)
    # 0 to 5 s in one, 7 to 12 s in the next; INIT and the first batch take until 6.65 s, the last message waits for its own window.
    assert outcome.invocations == 3
    full = run(plan, Queue(QueueRules(360)), all_at_once(14))
    # Ten at once, until 1.7 s; the other four wait for their window from then on.
    assert full.invocations == 2
    assert full.drained_s == pytest.approx(1.7 + 5 + 0.14)


def test_without_a_window_a_batch_is_what_is_there() -> None:
    arriving = [Arrival(0.0, (0,)), Arrival(0.5, (1, 2, 3))]
    outcome = run(plan_of(4, trigger=Trigger(10, fixed(1))), Queue(QueueRules(360)), arriving)
    assert (outcome.invocations, outcome.received, outcome.receive_calls, outcome.delete_calls) == (2, 4, 2, 2)


def test_a_message_that_names_no_object_comes_until_it_is_a_dead_letter() -> None:
    outcome = run(plan_of(20), Queue(QueueRules(60, max_receives=3)), all_at_once(20, -1))
    assert (outcome.done, outcome.dead, outcome.duplicates) == (20, 1, 0)
    assert (outcome.received, outcome.retries, outcome.invocations) == (23, 2, 5)
    assert outcome.ended_s == pytest.approx(180, abs=3)


def test_a_duplicate_is_done_once_and_answered_twice() -> None:
    outcome = run(plan_of(30), Queue(QueueRules(60)), all_at_once(30, 0))
    assert (outcome.done, outcome.duplicates, outcome.received, outcome.new, outcome.looked_up) == (30, 1, 31, 30, 1)


def test_duplicates_that_meet_are_both_computed_and_one_counts() -> None:
    outcome = run(plan_of(10), Queue(QueueRules(60)), [Arrival(0.0, tuple(range(10)) * 2)])
    assert (outcome.done, outcome.duplicates, outcome.new) == (10, 10, 20)


def test_what_fails_for_a_while_comes_again_and_is_done() -> None:
    plan = plan_of(1000, faults=Faults(transient=0.2))
    outcome = run(plan, Queue(QueueRules(60)), all_at_once(1000))
    assert outcome.done == 1000
    assert 150 < outcome.retries < 350
    assert outcome.received == 1000 + outcome.retries
    assert outcome.dead == outcome.duplicates == 0


def test_after_a_crash_the_whole_batch_comes_again_to_a_new_sandbox_and_what_was_finished_stays_so() -> None:
    plan = plan_of(1000, faults=Faults(crash=0.1))
    outcome = run(plan, Queue(QueueRules(60)), all_at_once(1000))
    assert outcome.done == 1000
    assert outcome.failed_invocations > 0
    assert outcome.retries == 10 * outcome.failed_invocations
    assert 2 < outcome.cold_starts <= 2 + outcome.failed_invocations
    assert 0 < outcome.duplicates < outcome.retries
    assert outcome.looked_up == outcome.duplicates


def test_objects_that_the_time_is_too_short_for_come_again_untouched() -> None:
    # 12 seconds less the reserve of 2 are enough for 990 objects.
    plan = plan_of(2000, trigger=Trigger(2000, fixed(1), window_s=1), timeout_s=12.0)
    outcome = run(plan, Queue(QueueRules(72)), all_at_once(2000))
    assert outcome.done == 2000
    assert outcome.retries > 1000
    assert outcome.new == 2000


def test_a_throttled_batch_is_tried_again_and_dropped_when_its_messages_are_visible_again() -> None:
    plan = plan_of(40, trigger=Trigger(10, fixed(4)), fleet=FleetRules(limit=1))
    outcome = run(plan, Queue(QueueRules(60)), all_at_once(40))
    assert (outcome.done, outcome.most_busy, outcome.retries) == (40, 1, 0)
    assert outcome.throttles > 3
    nothing = run(plan._replace(fleet=FleetRules(limit=0)), Queue(QueueRules(60, max_receives=2)), all_at_once(40))
    assert (nothing.done, nothing.dead, nothing.invocations) == (0, 40, 0)


def test_a_sandbox_that_is_started_ahead_has_its_init_behind_it_and_not_its_first_batch() -> None:
    outcome = run(plan_of(10, started_ahead=1), Queue(QueueRules(60)), all_at_once(10))
    assert (outcome.cold_starts, outcome.init_ms) == (1, 1000)
    assert outcome.drained_s == pytest.approx(0.7)


@pytest.mark.parametrize("trigger", ["sqs", "map", "s3-batch"])
def test_nothing_is_lost_whatever_goes_wrong(trigger: str) -> None:
    troubled = Run(2000, trigger, crash=0.05, transient=0.02, duplicate_events=0.05, duplicate_deliveries=0.02)
    troubled = Run(**{**troubled.__dict__, "hopeless": 7, "rate": 200.0, "max_receives": 50})
    outcome = simulate(troubled, STEADY)
    if trigger == "sqs":
        assert (outcome.done, outcome.dead) == (2000, 7)
    else:
        # The same object may be given up once and done by its duplicate.
        assert outcome.done >= 2000 - (outcome.dead - 7)
        assert outcome.dead >= 7


def test_the_same_seed_gives_the_same_run_and_another_one_another() -> None:
    troubled = Run(1000, crash=0.05, transient=0.05)
    assert simulate(troubled, STEADY) == simulate(troubled, STEADY)
    assert simulate(troubled, STEADY) != simulate(Run(1000, crash=0.05, transient=0.05, seed=2), STEADY)


def test_a_stream_comes_at_its_rate() -> None:
    times = [each.at for each in arrivals(Run(10_000, rate=100.0), random.Random(1))]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(100, rel=0.05)


# What is drawn from measurements.


def test_a_line_goes_through_the_medians_of_the_sizes() -> None:
    assert line_through([(1, 110.0), (10, 200.0)]) == pytest.approx(Line(100, 10))
    assert line_through([(10, 200.0)]) == Line(0, 20)
    assert line_through([(1, 10.0), (10, 5.0)]).each == 0
    assert line_through([(1, 10.0), (2, 100.0)]).fixed == 0


def test_durations_lie_about_the_line_as_the_measured_ones_did() -> None:
    measured = STEADY._replace(new={1: (110.0,), 10: (180.0, 200.0, 400.0)})
    durations = Durations(measured, random.Random(1))
    assert durations.usual(10, 0) == pytest.approx(200)
    assert durations.usual(0, 10) == pytest.approx(70)
    assert {durations.factor() for _ in range(100)} == {0.9, 1.0, 2.0}
    assert durations.extra() == pytest.approx(500)


def test_what_was_measured_is_read_as_it_was_written() -> None:
    import json

    assert from_json(json.loads(json.dumps(STEADY.to_json()))) == STEADY


# What it costs.


def test_a_million_images_cost_their_seconds_their_invocations_and_their_requests() -> None:
    usage = per_million(STEADY, 10, "sqs")
    assert usage.gb_seconds == pytest.approx(100_000 * 0.2)
    cost = bill(usage, Prices())
    assert cost.compute == pytest.approx(20_000 * 0.0000166667)
    assert cost.invocations == pytest.approx(0.02)
    # Four GETs and HEADs at 0.0004 and two PUTs at 0.005 dollars for a thousand.
    assert cost.s3 == pytest.approx(1.6 + 10.0)
    # A message is sent alone, taken and deleted with nine others.
    assert cost.trigger == pytest.approx(1.2 * 0.40)
    assert cost.total == pytest.approx(sum(cost))


def test_other_triggers_cost_their_own() -> None:
    assert bill(per_million(STEADY, 10, "map"), Prices()).trigger == pytest.approx(100_000 * 4 * 0.025 / 1000)
    express = per_million(STEADY, 10, "express")
    assert (express.children, express.transitions, express.sqs_requests) == (100_000, 0, 0)
    assert bill(express, Prices()).trigger == pytest.approx(0.1 + 20_000 / 16 * 0.00001667)
    assert bill(per_million(STEADY, 1, "s3-batch"), Prices()).trigger == pytest.approx(1.25)
    assert bill(Usage(0, 0, {"DELETE": 5, "LIST": 1000}), Prices()).s3 == pytest.approx(0.005)


def test_prices_are_inputs() -> None:
    assert prices_of(["s3_put=0.5"]).s3_put == 0.5
    with pytest.raises(SystemExit, match="no such price: put"):
        prices_of(["put=1"])


def test_tables_have_a_row_for_each_size_and_each_way() -> None:
    assert costs_table([STEADY], Prices()).count("\n") == 1 + 2
    assert scales_table(STEADY, Prices(), (10, 100)).count("\n") == 1 + 2 * 4 + 2 + 1 + 2


def test_a_billion_take_a_billion_times_the_time_for_one_divided_by_the_sandboxes() -> None:
    # 20 ms each: 50 a second for a sandbox, and 1,000 of them take 20,000 seconds.
    (row,) = billion_table(STEADY, Prices(), (1000,)).splitlines()[2:]
    assert row.startswith("| 1,000 | 50,000 | 5.6 | ")


def test_the_options_say_the_run() -> None:
    assert run_of(parse(["--objects", "5", "--window", "2", "--trigger", "map"])) == Run(5, "map", window_s=2.0)


def test_a_prefix_takes_3500_writes_and_5500_reads_a_second() -> None:
    assert prefixes_needed({"PUT": 2, "GET": 3, "HEAD": 1}, 1750) == pytest.approx((1.0, 7000 / 5500))


# How often the handler asks S3 for an object that it stores in parts.


REQUESTS = {"open": "GET", "read": "GET", "read_small": "GET", "write_new": "PUT", "list": "LIST", "delete": "DELETE"}


def begun(store: MemoryObjects, facts: Facts) -> Progress:
    reference = ObjectRef("in", "rows.jsonl")
    target = place(parse_output("s3://out/p/"), reference, facts, model="net", digest="d" * 64)
    progress = open_progress(store, target, Work(reference, facts, "net", "d" * 64, 8, "function"))
    assert isinstance(progress, Progress)
    return progress


@pytest.mark.parametrize("failed", [0, 1])
@pytest.mark.parametrize("runs", [1, 3])
def test_an_object_in_parts_asks_s3_as_often_as_is_said(runs: int, failed: int) -> None:
    store, facts = MemoryObjects("in", "out"), Facts(10, "etag")
    for number in range(runs):
        progress = begun(store, facts)
        progress.add(ResultLine(b'{"index":%d}\n' % progress.next_row, bool(failed)), offset=0)
        assert progress.store_part()
        if number == runs - 1:
            assert isinstance(progress.finish(has_time=lambda: True, invocations=runs), Done)
    asked = {name: 0 for name in REQUESTS.values()}
    for call in store.calls:
        asked[REQUESTS[call.method]] += 1
    said = requests_of_parts(Parts(input_blocks=0, parts=runs, part_blocks=runs, runs=runs, failed=bool(failed)))
    assert {**asked, "GET": asked["GET"] + runs} == said  # the input's own, which comes before, each time
