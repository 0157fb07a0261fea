"""Whether the contenders answer alike: a handler that is fast and wrong is not compared."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import NamedTuple

# Fused operators change the last bits (1e-6), another preprocessing order a little more; a wrong answer far more.
TOLERANCE = 1e-3


class Disagreement(Exception):
    """Raised when contenders answer differently, or not with a prediction; names them and what they said."""


class Likely(NamedTuple):
    """One class of a prediction."""

    label: str
    probability: float


def read_prediction(name: str, answer: bytes) -> list[Likely]:
    """The classes of an HTTP answer, best first.

    Args:
        name: The contender.
        answer: What it posted: an HTTP API response whose body is ``{"prediction": [{"class", "probability"}, …]}``.

    Raises:
        Disagreement: The answer is something else.
    """
    try:
        response = json.loads(answer)
        body = base64.b64decode(response["body"]) if response.get("isBase64Encoded") else response["body"]
        likely = [Likely(entry["class"], float(entry["probability"])) for entry in json.loads(body)["prediction"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Disagreement(f"{name} answered with no prediction: {answer[:500]!r}") from error
    if response.get("statusCode") != 200 or not likely:
        raise Disagreement(f"{name} answered with no prediction: {answer[:500]!r}")
    return likely


def require_agreement(answers: Mapping[str, bytes]) -> list[Likely]:
    """Compare the contenders' answers; return the first one's.

    Raises:
        Disagreement: Two name other classes, in another order, or with probabilities further apart than TOLERANCE.
    """
    predictions = {name: read_prediction(name, answer) for name, answer in answers.items()}
    (first, expected), *others = predictions.items()
    for name, prediction in others:
        if not alike(expected, prediction):
            raise Disagreement(f"{first} and {name} answer differently:\n  {expected}\n  {prediction}")
    return expected


def alike(one: list[Likely], other: list[Likely]) -> bool:
    """Whether two predictions name the same classes in the same order, equally likely within TOLERANCE."""
    same_labels = [likely.label for likely in one] == [likely.label for likely in other]
    return same_labels and all(
        math.isclose(a.probability, b.probability, rel_tol=TOLERANCE) for a, b in zip(one, other, strict=True)
    )
