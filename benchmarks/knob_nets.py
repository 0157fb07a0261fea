"""Build the nets that the engine's knobs are measured with: ``python -m benchmarks.knob_nets FOLDER``.

Seeded initial weights: their cost is that of trained nets, their answers mean nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from gluon_lambda.runtime import stock_mxnet

SEED = 20
# Each net by name with the shape of its input: a light one, a wide one, and one where the engine's own overhead is most of the time.
SHAPES = {
    "mobilenet1.0": (1, 3, 224, 224),
    "resnet18_v1": (1, 3, 224, 224),
    "lenet": (1, 1, 28, 28),
}


def build(folder: Path) -> None:
    """Export every net of SHAPES into ``folder``."""
    stock_mxnet.install()
    import mxnet as mx

    folder.mkdir(parents=True, exist_ok=True)
    for name, shape in SHAPES.items():
        mx.random.seed(SEED)
        net = _lenet(mx) if name == "lenet" else mx.gluon.model_zoo.vision.get_model(name)
        net.initialize(mx.init.Xavier())
        net.hybridize()
        net(mx.nd.random.uniform(shape=shape)).wait_to_read()
        net.export(str(folder / name), epoch=0)


def _lenet(mx: Any) -> Any:
    """Two convolutions and two dense layers, as in the example model digits_lenet."""
    nn = mx.gluon.nn
    net = nn.HybridSequential()
    for channels in (16, 32):
        net.add(nn.Conv2D(channels, kernel_size=5, padding=2, activation="relu"), nn.MaxPool2D(2, 2))
    net.add(nn.Dense(64, activation="relu"), nn.Dense(10))
    return net


if __name__ == "__main__":
    build(Path(sys.argv[1]))
