"""When a batch stops, which model an object is for, and when a chain of continuations ends."""

from __future__ import annotations

import pytest

from gluon_lambda.batch.deadline import Deadline
from gluon_lambda.batch.handing_on import MOST_HAND_OVERS, goes_nowhere, stalled
from gluon_lambda.batch.routes import model_of
from gluon_lambda.batch_records import ObjectRef
from gluon_lambda.errors import ModelNotFound
from gluon_lambda.settings import Settings

PHOTO = ObjectRef("in", "cats/one photo.jpg")


def routes(text: str) -> tuple[object, ...]:
    return Settings.from_environ({"GLUON_MODELS": "a=a.model", "GLUON_ROUTES": text}).routes


class TestDeadline:
    def test_there_is_time_while_more_than_the_reserve_is_left(self) -> None:
        assert Deadline(lambda: 2001, reserve_ms=2000).has_time()
        assert not Deadline(lambda: 2000, reserve_ms=2000).has_time()

    def test_a_piece_may_take_three_times_what_pieces_have_taken(self) -> None:
        deadline = Deadline(lambda: 2900, reserve_ms=2000)
        deadline.note(299)
        assert deadline.has_time()
        deadline.note(301)
        assert not deadline.has_time()

    def test_a_slow_piece_counts_in_full_and_is_forgotten_slowly(self) -> None:
        deadline = Deadline(lambda: 5000, reserve_ms=2000)
        deadline.note(10)
        deadline.note(2000)
        assert not deadline.has_time()
        for _ in range(2):
            deadline.note(10)
        assert deadline.has_time()


class TestRoutes:
    @pytest.mark.parametrize(
        ("reference", "metadata", "expected"),
        [
            (PHOTO, {"gluon-model": "meta"}, "meta"),
            (PHOTO, {}, "cats"),
            (PHOTO._replace(bucket="other"), {}, "prefix"),
            (PHOTO._replace(key="cats", attributes=(("gluon-model", "attribute"),)), {}, "attribute"),
            (PHOTO._replace(key="x", attributes=(("model", "item"),)), {}, "item"),
            (PHOTO._replace(key="x"), {}, "only"),
        ],
    )
    def test_metadata_come_first_then_the_longest_prefix_then_the_message_then_the_only_model(
        self, reference: ObjectRef, metadata: dict[str, str], expected: str
    ) -> None:
        given = routes("cats/=prefix s3://in/cats/=cats c/=no")
        assert model_of(reference, metadata, given, ["only"]) == expected  # type: ignore[arg-type]

    def test_a_prefix_may_hold_a_space_and_an_equals_sign(self) -> None:
        (route,) = routes("day=1/one%20photo=cats")
        assert route == ("", "day=1/one photo", "cats")

    @pytest.mark.parametrize("has_store", [False, True])
    def test_which_of_several_is_an_error_that_names_the_ways_out(self, *, has_store: bool) -> None:
        models = ["a"] if has_store else ["a", "b"]
        with pytest.raises(
            ModelNotFound, match=r"s3://in/cats/one photo.jpg: which model\?.*GLUON_ROUTES.*gluon-model"
        ):
            model_of(PHOTO, {}, (), models, has_store=has_store)


class TestHandOvers:
    def test_progress_starts_the_count_anew(self) -> None:
        reference = PHOTO._replace(rows=10, stalled=1)
        assert (stalled(reference, 11), stalled(reference, 10)) == (0, 2)

    def test_two_without_progress_are_enough(self) -> None:
        assert not goes_nowhere(PHOTO, 1)
        assert goes_nowhere(PHOTO, 2)

    def test_an_endless_chain_ends(self) -> None:
        assert goes_nowhere(PHOTO._replace(hand_overs=MOST_HAND_OVERS), 0)
