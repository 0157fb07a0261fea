"""AlexNet as a plain Block, served as an MMS 0.4 service: Python runs it layer by layer at every request.

The file stands alone, as MMS 0.4 wants it: that server puts nothing of the archive on the import path.
"""

from __future__ import annotations

from typing import Any

from mxnet.gluon import Block, nn

from mms.model_service.gluon_vision_service import GluonVisionService
from mms.utils.mxnet import ndarray

# Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (2014): channels, kernel, stride, padding, pooled.
CONVOLUTIONS = (
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)


class ImperativeAlexNet(Block):  # type: ignore[misc]  # MXNet is untyped
    """(batch, 3, 224, 224) float32 to (batch, classes) scores. Its parameters have the names that the model zoo's AlexNet gives them.

    Args:
        classes: How many scores.
        units: Width of the two hidden layers.
    """

    def __init__(self, classes: int = 1000, units: int = 4096, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.Sequential(prefix="")
            for channels, kernel, stride, padding, pooled in CONVOLUTIONS:
                self.features.add(nn.Conv2D(channels, kernel, stride, padding, activation="relu"))
                if pooled:
                    self.features.add(nn.MaxPool2D(3, 2))
            self.features.add(nn.Flatten())
            for _ in range(2):
                self.features.add(nn.Dense(units, activation="relu"), nn.Dropout(0.5))
            self.output = nn.Dense(classes)

    def forward(self, x: Any) -> Any:
        """Score the classes. Being plain Python, it may look at its numbers, as a graph cannot."""
        for layer in self.features:
            x = layer(x)
        return self.output(x)


class ImperativeAlexNetService(GluonVisionService):
    """Names what is in a picture: ``data`` is a JPEG; the answer is the five likeliest classes."""

    def __init__(self, model_name: str, model_dir: str, manifest: dict[str, Any], gpu: int | None = None) -> None:
        super().__init__(model_name, model_dir, manifest, self.make_net(), gpu)

    def make_net(self) -> Any:
        """The net, without values; a derived service may make it smaller."""
        return ImperativeAlexNet()

    def _postprocess(self, data: Any) -> Any:
        return ndarray.top_probability(data, self.labels, top=5)
