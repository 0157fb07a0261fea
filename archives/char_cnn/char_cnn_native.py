"""The same net, exported, with a native service: NumPy only, no ``import mxnet``, hence a far quicker cold start.

The file stands alone, like the MMS 0.4 service beside it; a test holds the two ways to read a review against each other.
"""

from __future__ import annotations

import ast
import json
import string
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gluon_lambda.errors import InputMismatch
from gluon_lambda.services.native import NativeService
from gluon_lambda.types import Part

ALPHABET = string.ascii_lowercase + string.digits + string.punctuation + "\n"
LENGTH = 1014
# Literals take a hundred times as long to read as JSON; ten reviews would fit.
LONGEST_LITERAL = 100_000
WANTED = "Send [{'review_title': …, 'review': …}], one review, as form field 'data' or as JSON body."

_ROW = {character: row for row, character in enumerate(ALPHABET)}
# What ast.literal_eval raises for text that is no literal, or one that is nested absurdly deep.
_NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


class NativeCharacterCnn(NativeService):
    """Names the product category of a review."""

    def preprocess(self, inputs: dict[str, Part]) -> dict[str, NDArray[Any]]:
        """One-hot encode the request's review: ``data``, shape (1, 69, 1014)."""
        return {"data": quantize(review_text(review_in(inputs)))[np.newaxis]}

    def postprocess(self, outputs: list[NDArray[Any]]) -> list[dict[str, Any]]:
        """The likeliest category with its probability."""
        scores = outputs[0][0]
        weights = np.exp(scores - scores.max())
        best = int(weights.argmax())
        return [{"category": self.model.labels[best], "probability": float(weights[best] / weights.sum())}]


def quantize(text: str) -> NDArray[np.float32]:
    """One-hot encode the first 1014 characters, the last of them first: shape (69, 1014); unknown characters are zero."""
    encoded = np.zeros((len(ALPHABET), LENGTH), dtype=np.float32)
    for position, character in enumerate(reversed(text.lower()[:LENGTH])):
        if character in _ROW:
            encoded[_ROW[character], position] = 1.0
    return encoded


def review_text(review: dict[str, Any]) -> str:
    """Title and review as one text.

    Raises:
        InputMismatch: One of them is missing or no text.
    """
    for key in ("review_title", "review"):
        if not isinstance(review.get(key), str):
            raise InputMismatch(f"The review has no text under {key!r}. {WANTED}", phase="preprocess")
    return f"{review['review_title']} | {review['review']}"


def review_in(inputs: dict[str, Part]) -> dict[str, Any]:
    """The one review of a request.

    Raises:
        InputMismatch: There is none, or there are several.
    """
    part = inputs.get("data") or inputs.get("body")
    if part is None:
        came = ", ".join(map(repr, inputs)) or "nothing"
        raise InputMismatch(f"There is no input 'data'; what came: {came}. {WANTED}", phase="preprocess")
    value = parse(part.value)
    if isinstance(value, dict) and "data" in value:
        value = value["data"]
    reviews = value if isinstance(value, list) else [value]
    if len(reviews) != 1 or not isinstance(reviews[0], dict):
        raise InputMismatch(f"Input {part.name!r} does not hold one review. {WANTED}", phase="preprocess")
    return reviews[0]


def parse(value: Any) -> Any:
    """A JSON value as it is; bytes as JSON or, as MMS 0.4's clients write it, as a Python literal.

    Raises:
        InputMismatch: They are neither.
    """
    if not isinstance(value, (bytes, bytearray)):
        return value
    try:
        text = value.decode("utf-8")
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise InputMismatch(f"The input is not UTF-8: {error}. {WANTED}", phase="preprocess") from error
    except (ValueError, RecursionError):
        return parse_literal(text)


def parse_literal(text: str) -> Any:
    """The value of a Python literal.

    Raises:
        InputMismatch: It is none, or is too long to be read as one.
    """
    if len(text) > LONGEST_LITERAL:
        raise InputMismatch(f"The input is no JSON, and too long for a Python literal. {WANTED}", phase="preprocess")
    try:
        return ast.literal_eval(text.strip())
    except _NO_LITERAL as error:
        raise InputMismatch(f"The input is neither JSON nor a Python literal. {WANTED}", phase="preprocess") from error
