"""A LeNet-style net, as a Gluon HybridBlock."""

from __future__ import annotations

from typing import Any

import mxnet as mx
from mxnet.gluon import nn


class LeNet(mx.gluon.HybridBlock):  # type: ignore[misc]  # MXNet is untyped
    """Two convolutions and two dense layers: (batch, 1, 28, 28) float32 to (batch, 10) scores before softmax."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential()
            self.features.add(
                nn.Conv2D(20, 5, in_channels=1, activation="relu"),
                nn.MaxPool2D(2),
                nn.Conv2D(50, 5, in_channels=20, activation="relu"),
                nn.MaxPool2D(2),
                nn.Dense(128, in_units=50 * 4 * 4, activation="relu"),
                nn.Dropout(0.5),
            )
            self.scores = nn.Dense(10, in_units=128)

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: ARG002, N803  # Gluon calls it so
        """Score the digits; ``F`` is ``mx.nd`` or ``mx.sym``."""
        return self.scores(self.features(x))
