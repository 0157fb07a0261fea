"""Train the character-level CNN: a fixed number of steps, seeded, about a minute on two CPUs."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon
from numpy.typing import NDArray

from archives.char_cnn.char_cnn_service import Crepe, quantize
from archives.char_cnn.corpus import Review
from archives.char_cnn.training_net import (
    TrainingNet,
    computed_positions,
    input_length,
    position_weights,
    positions_of,
    to_crepe,
)

STEPS = 400
BATCH = 32
LEARNING_RATE = 2e-3
WARM_UP = 0.1
SEED = 1
REPORT_EVERY = 50

# Reviews of about one length share a batch; each batch is computed up to the first of these positions that all fit in.
LENGTHS = (7, 8, 9, 10, 11, 12, 13, 15, 17, 20, 24, 29, 34)
# So many reviews give STEPS full batches, whatever remains in each of the lengths' unfinished ones.
REVIEWS = (STEPS + len(LENGTHS)) * BATCH


class Batch(NamedTuple):
    """Reviews of about one length.

    Attributes:
        positions: How many of the convolutions' output positions are computed.
        reviews: ``BATCH`` of them.
    """

    positions: int
    reviews: tuple[Review, ...]


def review_text(review: Review) -> str:
    """A review as the services read it."""
    return f"{review.title} | {review.text}"


def train(reviews: Sequence[Review]) -> Crepe:
    """Train on ``REVIEWS`` reviews.

    Returns:
        The net in its published form.
    """
    mx.random.seed(SEED)
    net = TrainingNet()
    net.initialize()
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "adam")
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    losses = []
    for step, batch in enumerate(batches(reviews, random.Random(SEED))):
        trainer.set_learning_rate(learning_rate(step))
        losses.append(train_step(net, trainer, loss, batch))
        if (step + 1) % REPORT_EVERY == 0:
            print(f"  step {step + 1} of {STEPS}: loss {np.mean(losses[-REPORT_EVERY:]):.3f}", flush=True)
    return to_crepe(net)


def batches(reviews: Sequence[Review], dice: random.Random) -> Iterator[Batch]:
    """``STEPS`` batches in random order."""
    full: list[Batch] = []
    open_batches: dict[int, list[Review]] = {length: [] for length in LENGTHS}
    for review in reviews:
        needed = positions_of(len(review_text(review)))
        length = next(length for length in LENGTHS if length >= needed)
        open_batches[length].append(review)
        if len(open_batches[length]) == BATCH:
            full.append(Batch(computed_positions(length), tuple(open_batches[length])))
            open_batches[length] = []
    yield from sorted(full, key=lambda _batch: dice.random())[:STEPS]


def train_step(net: TrainingNet, trainer: Any, loss: Any, batch: Batch) -> float:
    """One step of Adam; returns the batch's mean loss."""
    inputs = mx.nd.array(encode(batch.reviews, input_length(batch.positions)))
    weights = mx.nd.array(position_weights(batch.positions))
    labels = mx.nd.array([review.category for review in batch.reviews])
    with autograd.record():
        losses = loss(net(inputs, weights), labels)
    losses.backward()
    trainer.step(len(batch.reviews))
    return float(losses.mean().asscalar())


def learning_rate(step: int) -> float:
    """Rises in a line, then falls as half a cosine to nothing."""
    progress = (step + 1) / STEPS
    if progress < WARM_UP:
        return LEARNING_RATE * progress / WARM_UP
    return LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) + 1e-6


def encode(reviews: Sequence[Review], length: int) -> NDArray[np.float32]:
    """The reviews' first ``length`` columns: (reviews, 69, length)."""
    return np.stack([quantize(review_text(review))[:, :length] for review in reviews])


def answers(net: Crepe, reviews: Sequence[Review]) -> list[int]:
    """The category that the net gives each review, at full length."""
    return [
        int(category)
        for start in range(0, len(reviews), BATCH)
        for category in net(mx.nd.array(encode(reviews[start : start + BATCH], 1014))).asnumpy().argmax(axis=1)
    ]
