"""Whether the contenders answer alike: a handler that is fast and wrong is not compared."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

# Fused operators change the last bits (1e-6), another preprocessing order a little more; a wrong answer far more.
TOLERANCE = 1e-3


class Disagreement(Exception):
    """Raised when contenders answer differently, or not with a prediction; names them and what they said."""


def read_prediction(name: str, answer: bytes) -> list[Any]:
    """The prediction of an HTTP answer: what each model makes of it, but never nothing and never without a number.

    Args:
        name: The contender.
        answer: What it posted: an HTTP API response whose body is ``{"prediction": […]}``.

    Raises:
        Disagreement: The answer is something else.
    """
    try:
        response = json.loads(answer)
        body = base64.b64decode(response["body"]) if response.get("isBase64Encoded") else response["body"]
        prediction = json.loads(body)["prediction"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Disagreement(f"{name} answered with no prediction: {answer[:500]!r}") from error
    if response.get("statusCode") != 200 or not isinstance(prediction, list) or not any(numbers_of(prediction)):
        raise Disagreement(f"{name} answered with no prediction: {answer[:500]!r}")
    return prediction


def numbers_of(value: Any) -> Iterator[float]:
    """Every number in a JSON value."""
    if isinstance(value, (int, float)):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers_of(part)


def require_agreement(answers: Mapping[str, bytes]) -> list[Any]:
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


def alike(one: Any, other: Any) -> bool:
    """Whether two JSON values have the same form and texts, and numbers that differ by less than TOLERANCE."""
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=TOLERANCE)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(alike(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    return bool(one == other)
