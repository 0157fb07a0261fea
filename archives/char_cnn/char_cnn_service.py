"""Zhang's character-level CNN ("Crepe") as an MMS 0.4 service: a Gluon block in the service file, its parameters beside it.

The file stands alone, as MMS 0.4 wants it: that server puts nothing of the archive on the import path.
"""

from __future__ import annotations

import string
from typing import Any

import mxnet as mx
import numpy as np
from mxnet.gluon import nn
from numpy.typing import NDArray

from mms.model_service.mxnet_model_service import GluonImperativeBaseService

# Zhang, Zhao, LeCun: Character-level Convolutional Networks for Text Classification (2015), section 2: 69 characters, 1014 of them.
ALPHABET = string.ascii_lowercase + string.digits + string.punctuation + "\n"
LENGTH = 1014
CATEGORIES = 7

# The paper's table 1, small model: kernel and pooling width of each convolution; 0 is no pooling.
CONVOLUTIONS = ((7, 3), (7, 3), (3, 0), (3, 0), (3, 0), (3, 3))
FEATURES = 256
FEATURE_LENGTH = 34
UNITS = 1024

_ROW = {character: row for row, character in enumerate(ALPHABET)}


def quantize(text: str) -> NDArray[np.float32]:
    """One-hot encode the first 1014 characters, the last of them first, as the paper does: shape (69, 1014).

    Columns of characters that the alphabet lacks, and those after the text, are zero.
    """
    encoded = np.zeros((len(ALPHABET), LENGTH), dtype=np.float32)
    for position, character in enumerate(reversed(text.lower()[:LENGTH])):
        if character in _ROW:
            encoded[_ROW[character], position] = 1.0
    return encoded


class Crepe(mx.gluon.HybridBlock):  # type: ignore[misc]  # MXNet is untyped
    """The net: six convolutions, two hidden layers; (batch, 69, 1014) float32 to (batch, 7) scores before softmax."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential()
            channels = len(ALPHABET)
            for kernel, pooling in CONVOLUTIONS:
                self.features.add(nn.Conv1D(FEATURES, kernel, in_channels=channels, activation="relu"))
                channels = FEATURES
                if pooling:
                    self.features.add(nn.MaxPool1D(pooling))
            self.classifier = nn.HybridSequential()
            for inputs in (FEATURES * FEATURE_LENGTH, UNITS):
                self.classifier.add(nn.Dense(UNITS, in_units=inputs, activation="relu"), nn.Dropout(0.5))
            self.classifier.add(nn.Dense(CATEGORIES, in_units=UNITS))

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: ARG002, N803  # Gluon calls it so
        """Score the categories; ``F`` is ``mx.nd`` or ``mx.sym``."""
        return self.classifier(self.features(x))


class CharacterCnnService(GluonImperativeBaseService):
    """Names the product category of a review: ``data`` is ``[{"review_title": …, "review": …}]``."""

    def __init__(self, model_name: str, model_dir: str, manifest: dict[str, Any], gpu: int | None = None) -> None:
        super().__init__(model_name, model_dir, manifest, Crepe(), gpu)

    def _preprocess(self, data: Any) -> Any:
        (review,) = data[0]
        encoded = quantize(f"{review['review_title']} | {review['review']}")
        return [mx.nd.array(encoded[np.newaxis], ctx=self.ctx)]

    def _inference(self, data: Any) -> Any:
        super()._inference(data)  # holds the input's shape against the signature
        return self.net(data[0]).softmax()

    def _postprocess(self, data: Any) -> Any:
        probabilities = data[0].asnumpy()
        best = int(probabilities.argmax())
        return [{"category": self.labels[best], "probability": float(probabilities[best])}]
