"""Events of one object, twice or in any order: the newest counts, and nothing is compared that cannot be."""

from __future__ import annotations

from itertools import permutations

import pytest

from gluon_lambda.batch.event_order import is_older, latest
from gluon_lambda.batch_records import ObjectRef


def event(key: str = "a", sequencer: str = "", etag: str = "", version: str = "", hand_overs: int = 0) -> ObjectRef:
    return ObjectRef("b", key, version=version, etag=etag, sequencer=sequencer, hand_overs=hand_overs)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("0055AED6DCD90281E5", "0055AED6DCD90281E6"),
        ("0055", "00551"),  # filled up on the right: 00550 before 00551
        ("0054FF", "0055"),  # as numbers, or filled up on the left, these would be the other way round
        ("0055aed6dcd90281e5", "0055AED6DCD90281E6"),
    ],
)
def test_sequencers_compare_as_text_of_one_length(earlier: str, later: str) -> None:
    assert is_older(earlier, than=later)
    assert not is_older(later, than=earlier)


def test_zeros_at_the_end_and_case_make_no_difference() -> None:
    assert not is_older("0055ab", than="0055AB00")
    assert not is_older("0055AB00", than="0055ab")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_newest_event_of_a_key_counts_in_whatever_order_they_come(order: tuple[int, ...]) -> None:
    events = [event(sequencer=sequencer, etag=sequencer) for sequencer in ("0055", "00551", "0056")]

    found = latest([events[number] for number in order])

    assert found.newest == (order.index(2),)
    assert found.outdated == tuple(sorted(set(range(3)) - {order.index(2)}))


def test_keys_and_buckets_are_never_compared_with_one_another() -> None:
    events = [event("a", "02"), event("b", "01"), event("a", "03")._replace(bucket="c")]

    assert latest(events) == ((0, 1, 2), ())


def test_versions_are_objects_of_their_own() -> None:
    events = [event(sequencer="01", version="1"), event(sequencer="02", version="2")]

    assert latest(events) == ((0, 1), ())


def test_without_sequencers_other_etags_are_left_for_the_read_to_tell() -> None:
    assert latest([event(etag="x"), event(etag="y")]) == ((0, 1), ())
    assert latest([event(etag="x"), event(etag="y", sequencer="01")]) == ((0, 1), ())


@pytest.mark.parametrize("same", [event(sequencer="01", etag="x"), event(etag="x"), event(), event(version="1")])
def test_of_duplicates_the_first_counts(same: ObjectRef) -> None:
    assert latest([same, event("other"), same]) == ((0, 1), (2,))


@pytest.mark.parametrize("same", [event(sequencer="01", etag="x"), event(etag="x"), event(version="1", sequencer="1")])
def test_of_an_event_and_its_continuation_the_continuation_counts(same: ObjectRef) -> None:
    continued = same._replace(hand_overs=2)

    assert latest([same, continued]) == ((1,), (0,))
    assert latest([continued, same]) == ((0,), (1,))


def test_a_newer_event_outranks_a_continuation_of_the_older_object() -> None:
    events = [event(sequencer="01", etag="x", hand_overs=5), event(sequencer="02", etag="y")]

    assert latest(events) == latest(events[::-1])._replace(newest=(1,), outdated=(0,)) == ((1,), (0,))


def test_nothing_is_nothing() -> None:
    assert latest([]) == ((), ())
