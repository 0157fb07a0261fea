"""The form in which Crepe is trained within a minute, and how it turns back into Crepe, exactly.

Three things differ while training; none of them is left in the result:

* Batch normalisation follows every layer but the last. Without it the net stays at chance for as long as we can wait. In
  inference it is one factor and one offset for each channel, which go into the layer's weight and bias.
* The first hidden layer has one weight for each feature, used at all 34 positions, instead of one for each feature and
  position. A word then counts the same wherever it stands, also where few training reviews reach. Crepe gets it repeated.
* The blank end of the input is not computed: past the text every position has the same features, so one of them, counted as
  often as there are blank positions, stands for all.

Convolutions are two-dimensional with a height of one: with batch normalisation, MXNet 1.9.1's oneDNN path fails on one-dimensional ones.
"""

from __future__ import annotations

import math
from typing import Any

import mxnet as mx
import numpy as np
from mxnet.gluon import nn
from numpy.typing import NDArray

from archives.char_cnn.char_cnn_service import (
    ALPHABET,
    CATEGORIES,
    CONVOLUTIONS,
    FEATURE_LENGTH,
    FEATURES,
    UNITS,
    Crepe,
)

Array = NDArray[np.float32]

# How many characters one output position of the convolutions sees, and how far the next one's begin: 123 + 33 * 27 = 1014.
RECEPTIVE_FIELD = 123
STRIDE = 27

# Ten positions' worth of features add up to values of order one in a review of the usual length.
POSITION_WEIGHT = 0.1
DROPOUT = 0.5


class TrainingNet(mx.gluon.HybridBlock):  # type: ignore[misc]  # MXNet is untyped
    """Crepe as it is trained: (batch, 69, characters) and one weight a position to (batch, 7)."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.features = nn.HybridSequential()
            self.classifier = nn.HybridSequential()
        self._add_convolutions()
        self._add_hidden_layers()

    def _add_convolutions(self) -> None:
        # At every position one character of 69 is set, so the first layer's sums have as many terms as its kernel is wide.
        terms, channels = 1, len(ALPHABET)
        for kernel, pooling in CONVOLUTIONS:
            start = mx.init.Normal(math.sqrt(2 / (terms * kernel)))
            self.features.add(
                nn.Conv2D(FEATURES, (1, kernel), in_channels=channels, use_bias=False, weight_initializer=start),
                nn.BatchNorm(in_channels=FEATURES),
                nn.Activation("relu"),
            )
            if pooling:
                self.features.add(nn.MaxPool2D((1, pooling)))
            terms = channels = FEATURES

    def _add_hidden_layers(self) -> None:
        for inputs in (FEATURES, UNITS):
            start = mx.init.Normal(math.sqrt(2 / inputs))
            self.classifier.add(
                nn.Dense(UNITS, in_units=inputs, use_bias=False, weight_initializer=start),
                nn.BatchNorm(in_channels=UNITS),
                nn.Activation("relu"),
                nn.Dropout(DROPOUT),
            )
        self.classifier.add(nn.Dense(CATEGORIES, in_units=UNITS, weight_initializer=mx.init.Normal(0.01)))

    def hybrid_forward(self, F: Any, x: Any, position_weights: Any) -> Any:  # noqa: N803  # Gluon calls it so
        """Score the categories; ``F`` is ``mx.nd`` or ``mx.sym``."""
        features = self.features(F.expand_dims(x, axis=2)).reshape((0, 0, -1))
        return self.classifier(F.dot(features, position_weights))


def positions_of(characters: int) -> int:
    """At how many positions the convolutions see any of so many characters."""
    return min(math.ceil(characters / STRIDE), FEATURE_LENGTH)


def computed_positions(positions: int) -> int:
    """The positions to compute for a text that reaches so many: one blank one more, where there is one."""
    return min(positions + 1, FEATURE_LENGTH)


def input_length(positions: int) -> int:
    """How many characters give so many output positions."""
    return RECEPTIVE_FIELD + STRIDE * (positions - 1)


def position_weights(positions: int) -> Array:
    """One weight for each of the computed positions, the last of which stands for every one that is not computed."""
    weights = np.full(positions, POSITION_WEIGHT, dtype=np.float32)
    weights[-1] *= FEATURE_LENGTH - positions + 1
    return weights


def to_crepe(trained: TrainingNet) -> Crepe:
    """The net in its published form, with the same answers as the trained one gives outside training."""
    crepe = Crepe(prefix="crepe_")
    crepe.initialize()
    weights = [*folded_layers(trained.features), *folded_layers(trained.classifier)]
    weights[len(CONVOLUTIONS)] = spread_over_positions(*weights[len(CONVOLUTIONS)])
    layers = [layer for layer in (*crepe.features, *crepe.classifier) if hasattr(layer, "weight")]
    for layer, (weight, bias) in zip(layers, weights, strict=True):
        layer.weight.set_data(mx.nd.array(weight.reshape(layer.weight.shape)))
        layer.bias.set_data(mx.nd.array(bias))
    return crepe


def folded_layers(layers: Any) -> list[tuple[Array, Array]]:
    """Weight and bias of each convolution or dense layer, with the normalisation that follows it worked in."""
    sequence = list(layers)
    return [
        folded(layer.weight.data().asnumpy(), following) if following else plain(layer)
        for layer, following in zip(sequence, [*sequence[1:], None], strict=True)
        if isinstance(layer, nn.Conv2D | nn.Dense)
    ]


def plain(layer: Any) -> tuple[Array, Array]:
    """Weight and bias of a layer that no normalisation follows."""
    return layer.weight.data().asnumpy(), layer.bias.data().asnumpy()


def folded(weight: Array, normalisation: Any, *, epsilon: float = 1e-5) -> tuple[Array, Array]:
    """Weight and bias that do what the weight followed by the batch normalisation does in inference."""
    gamma, beta, mean, variance = (
        getattr(normalisation, name).data().asnumpy() for name in ("gamma", "beta", "running_mean", "running_var")
    )
    factor = gamma / np.sqrt(variance + epsilon)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), beta - mean * factor


def spread_over_positions(weight: Array, bias: Array) -> tuple[Array, Array]:
    """The first hidden layer's weights, (units, features), as Crepe has them: (units, features * positions)."""
    spread = np.repeat(weight * POSITION_WEIGHT, FEATURE_LENGTH, axis=1)
    return spread, bias
