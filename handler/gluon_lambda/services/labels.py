"""From a net's outputs to the answer: softmax, the best labels, or the numbers themselves."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gluon_lambda.errors import SignatureInvalid

if TYPE_CHECKING:
    from gluon_lambda.archive_store.signature import OutputDeclaration
    from gluon_lambda.types import Array

STEPS = frozenset({"softmax", "top_k", "labels"})
SYNSET = "synset.txt"
# What MMS's vision services answer (mms/utils/mxnet/ndarray.py, top_probability).
DEFAULT_TOP_K = 5
# From so many classes for each answered one, to look for the greatest again and again is quicker than to sort all.
_MANY = 64


class AnswerSteps(NamedTuple):
    """What is done to one output, checked and with its defaults.

    Attributes:
        name: The output.
        softmax: Whether the last dimension is turned into probabilities.
        top_k: How many labels are answered; 0 for the numbers themselves.
        labels: One a class; empty where classes are called by their number.
    """

    name: str
    softmax: bool = False
    top_k: int = 0
    labels: tuple[str, ...] = ()


def parse_steps(
    declared: OutputDeclaration, read_labels: Callable[[str], tuple[str, ...]], *, where: str
) -> AnswerSteps:
    """Check an output's ``postprocess`` and read its labels.

    Args:
        declared: The output.
        read_labels: Reads the labels in a file of the archive.
        where: Archive and file, for errors.

    Raises:
        SignatureInvalid: A step is unknown or malformed.
    """
    where = f"{where}: output {declared.name!r}: postprocess"
    given = declared.postprocess
    if unknown := sorted(given.keys() - STEPS):
        raise SignatureInvalid(f"{where} has no {unknown[0]!r}. Known: {', '.join(sorted(STEPS))}.")
    softmax, file = given.get("softmax", False), given.get("labels", "")
    top_k = given.get("top_k", DEFAULT_TOP_K if file else 0)
    if not isinstance(softmax, bool):
        raise SignatureInvalid(f"{where}.softmax is {softmax!r}. Accepted: true, false.")
    if not isinstance(file, str):
        raise SignatureInvalid(f"{where}.labels is {file!r}. Accepted: a file of the archive, such as {SYNSET}.")
    if type(top_k) is not int or top_k < 0 or (file and not top_k):
        raise SignatureInvalid(f"{where}.top_k is {top_k!r}. Accepted: how many labels to answer, from 1 on.")
    return AnswerSteps(declared.name, softmax, top_k, read_labels(file) if file else ())


def check_labels(steps: AnswerSteps, classes: int, *, where: str) -> None:
    """Hold the number of labels against the number of values that one example gives.

    Raises:
        SignatureInvalid: There are fewer labels than values: some answer would have no name.
    """
    if steps.labels and len(steps.labels) < classes:
        raise SignatureInvalid(
            f"{where}: output {steps.name!r} has {classes} values an example, and its labels are only {len(steps.labels)}."
        )


def answer(outputs: list[Array], steps: tuple[AnswerSteps, ...], batch: int | None) -> Any:
    """The outputs as the client gets them.

    Args:
        outputs: What the net gave, each with the batch first.
        steps: One for each output, in order.
        batch: How many examples there were, where the request had the batch axis; None for a single example.

    Returns:
        For one output its answer, for several a dict by name. An answer is an array, or with ``top_k`` a list of
        ``{"class", "probability"}``, the most probable first; with a batch axis, a list of these.
    """
    answers = {each.name: _one(output, each, batch=batch) for output, each in zip(outputs, steps, strict=True)}
    return next(iter(answers.values())) if len(answers) == 1 else answers


def _one(output: Array, steps: AnswerSteps, *, batch: int | None) -> Any:
    values = softmax(output) if steps.softmax else output
    if steps.top_k:
        rows = [best(row.ravel(), steps) for row in values]
        return rows if batch is not None else rows[0]
    single = batch is None and values.ndim > 0 and values.shape[0] == 1
    return values[0] if single else values


def softmax(values: Array) -> Array:
    """Probabilities over the last dimension, safe for large values."""
    powers = np.exp(values - np.maximum.reduce(values, axis=-1, keepdims=True))
    return np.asarray(powers / np.add.reduce(powers, axis=-1, keepdims=True))


def best(values: Array, steps: AnswerSteps) -> list[dict[str, Any]]:
    """The ``top_k`` greatest of a vector with their labels (or numbers), greatest first, the earlier class first in a tie."""
    return [
        {"class": steps.labels[at] if steps.labels else at, "probability": float(value)}
        for at, value in _greatest(values, steps.top_k)
    ]


def _greatest(values: Array, count: int) -> list[tuple[int, float]]:
    """The ``count`` greatest values and where they stand, greatest first, the earlier first in a tie; what is no number comes last."""
    if values.size < _MANY * count or values.dtype.kind != "f":
        return _first_sorted(values, count)
    left, found = values.copy(), []
    for _ in range(count):
        at = int(left.argmax())
        value = left.item(at)
        if not value > -inf:  # a number that is none, or no more numbers
            return _first_sorted(values, count)
        found.append((at, value))
        left[at] = -inf
    return found


def _first_sorted(values: Array, count: int) -> list[tuple[int, float]]:
    falling = ~values if values.dtype.kind in "iub" else -values  # an unsigned 0 has no negative
    order = falling.argsort(kind="stable")[:count]
    return list(zip(order.tolist(), values[order].tolist(), strict=True))
