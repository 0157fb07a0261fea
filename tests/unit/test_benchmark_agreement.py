"""A handler that is fast and wrong is not compared."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from benchmarks.agreement import Disagreement, read_prediction, require_agreement

PREDICTION = [{"class": "seven", "probability": 0.75}, {"class": "one", "probability": 0.25}]


def answer(prediction: Any, *, status: int = 200) -> bytes:
    """An HTTP API response with a prediction."""
    return json.dumps({"statusCode": status, "body": json.dumps({"prediction": prediction})}).encode()


def test_a_base64_body_is_read_as_a_plain_one() -> None:
    body = base64.b64encode(json.dumps({"prediction": PREDICTION}).encode()).decode()
    coded = json.dumps({"statusCode": 200, "isBase64Encoded": True, "body": body}).encode()
    assert read_prediction("ours", coded) == read_prediction("ours", answer(PREDICTION))


def test_any_form_of_prediction_is_compared_to_its_innermost_number() -> None:
    inner = [[{"category": "Books", "probability": 0.5}], [1, 2.0]]
    other = [[{"category": "Books", "probability": 0.5000001}], [1.0, 2]]
    assert require_agreement({"ours": answer(inner), "stock": answer(other)}) == inner
    with pytest.raises(Disagreement, match="ours and stock"):
        require_agreement({"ours": answer(inner), "stock": answer([inner[0], [1, 2.1]])})


def test_answers_that_differ_in_the_last_bits_agree() -> None:
    other = [{"class": "seven", "probability": 0.7500001}, {"class": "one", "probability": 0.2499999}]
    agreed = require_agreement({"ours": answer(PREDICTION), "naive": answer(other)})
    assert agreed == PREDICTION


@pytest.mark.parametrize(
    "other",
    [
        PREDICTION[::-1],
        PREDICTION[:1],
        [{"class": "seven", "probability": 0.74}, {"class": "one", "probability": 0.26}],
        [{"class": "seven", "probability": float("nan")}, {"class": "one", "probability": 0.25}],
        [{"class": "nine", "probability": 0.75}, {"class": "one", "probability": 0.25}],
        [{"class": "seven", "chance": 0.75}, {"class": "one", "chance": 0.25}],
    ],
    ids=["another order", "fewer classes", "another probability", "not a number", "another class", "another key"],
)
def test_another_answer_stops_the_benchmark_and_both_are_named(other: list[dict[str, Any]]) -> None:
    answers = {"ours": answer(PREDICTION), "floor": answer(PREDICTION), "naive": answer(other)}
    with pytest.raises(Disagreement, match="ours and naive"):
        require_agreement(answers)


@pytest.mark.parametrize(
    "posted",
    [
        b"",
        b"null",
        b'{"errorType": "RuntimeError"}',
        answer([]),
        answer({"class": "seven", "probability": 0.75}),
        answer([{"label": "seven"}]),
        answer(PREDICTION, status=500),
        json.dumps({"statusCode": 200, "body": json.dumps(PREDICTION)}).encode(),
    ],
    ids=["nothing", "null", "an error", "no classes", "no list", "no number", "a bad status", "no envelope"],
)
def test_what_is_no_prediction_stops_the_benchmark_even_if_all_answer_so(posted: bytes) -> None:
    with pytest.raises(Disagreement, match="naive answered with no prediction"):
        require_agreement({"naive": posted, "floor": posted})
