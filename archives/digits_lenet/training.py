"""Train LeNet on the digits: seeded, a few seconds."""

from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon
from numpy.typing import NDArray

from archives.digits_lenet.lenet import LeNet

Array = NDArray[np.float32]

EPOCHS = 15
BATCH = 32
LEARNING_RATE = 1e-3
SHIFT = 2  # pixels
SEED = 1


def train(pictures: Array, labels: Array) -> LeNet:
    """Train on pictures of shape (digits, 1, 28, 28), each batch moved by a few pixels."""
    mx.random.seed(SEED)
    dice = np.random.RandomState(SEED)  # the generator whose sequence NumPy keeps for good
    net = LeNet(prefix="lenet_")
    net.initialize(mx.init.Xavier())
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": LEARNING_RATE})
    for epoch in range(EPOCHS):
        # The last few epochs settle.
        trainer.set_learning_rate(LEARNING_RATE if epoch < 0.7 * EPOCHS else LEARNING_RATE / 5)
        train_epoch(net, trainer, pictures, labels, dice)
    return net


def train_epoch(
    net: LeNet, trainer: gluon.Trainer, pictures: Array, labels: Array, dice: np.random.RandomState
) -> None:
    """Go through all pictures once, in random order; the incomplete last batch is left out."""
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    order = dice.permutation(len(pictures))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        moved = shifted(pictures[chosen], dice.randint(-SHIFT, SHIFT + 1, size=2))
        with autograd.record():
            losses = loss(net(mx.nd.array(moved)), mx.nd.array(labels[chosen]))
        losses.backward()
        trainer.step(BATCH)


def shifted(pictures: Array, by: NDArray[np.int_]) -> Array:
    """The pictures moved by ``by`` (rows, columns), paper moving in."""
    padded = np.pad(pictures, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    top, left = SHIFT - by[0], SHIFT - by[1]
    return padded[:, :, top : top + pictures.shape[2], left : left + pictures.shape[3]]


def accuracy(net: LeNet, pictures: Array, labels: Array) -> float:
    """The share of pictures that the net names rightly."""
    answers = net(mx.nd.array(pictures)).asnumpy().argmax(axis=1)
    return float((answers == labels).mean())
