"""Build two exported nets that multiply matrices with OpenBLAS: ``python -m benchmarks.kernel_nets FOLDER``.

Seeded initial weights: their cost is that of trained nets, their answers mean nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.batch_nets import manifest, write_json
from benchmarks.knob_nets import SEED
from gluon_lambda.runtime import stock_mxnet

ENCODER, RETRIEVAL = "encoder", "retrieval"
TOKENS, VOCABULARY = 128, 2000
UNITS, HIDDEN, HEADS, LAYERS, CLASSES = 768, 3072, 12, 2, 8
BASKET, ITEMS, FACTORS, BEST = 20, 50_000, 128, 10


def build(folder: Path) -> None:
    """Write each net's files into a folder of its name in ``folder``."""
    stock_mxnet.install()
    import mxnet as mx

    mx.random.seed(SEED)
    encoder, retrieval = encoder_of(mx), retrieval_of(mx)
    export(mx, encoder, folder / ENCODER, asked_with=TOKENS, answers=CLASSES)
    export(mx, retrieval, folder / RETRIEVAL, asked_with=BASKET, answers=BEST)


def encoder_of(mx: Any) -> Any:
    """A classifier of texts: two of the twelve layers of BERT base, their attention as GluonNLP's BERT has it."""
    nn = mx.gluon.nn

    class Layer(mx.gluon.HybridBlock):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.projections = nn.Dense(3 * UNITS, flatten=False, in_units=UNITS)
            self.together = nn.Dense(UNITS, flatten=False, in_units=UNITS)
            self.wide = nn.Dense(HIDDEN, flatten=False, in_units=UNITS, activation="relu")
            self.narrow = nn.Dense(UNITS, flatten=False, in_units=HIDDEN)
            self.first, self.second = nn.LayerNorm(in_channels=UNITS), nn.LayerNorm(in_channels=UNITS)

        def hybrid_forward(self, space: Any, texts: Any) -> Any:
            attended = self.projections(texts)
            weights = space.softmax(space.contrib.interleaved_matmul_selfatt_qk(attended, heads=HEADS))
            seen = space.contrib.interleaved_matmul_selfatt_valatt(attended, weights, heads=HEADS)
            texts = self.first(texts + self.together(seen))
            return self.second(texts + self.narrow(self.wide(texts)))

    net = nn.HybridSequential()
    net.add(nn.Embedding(VOCABULARY, UNITS), nn.HybridLambda(lambda space, data: space.transpose(data, (1, 0, 2))))
    net.add(*(Layer() for _ in range(LAYERS)))
    net.add(nn.HybridLambda(lambda space, data: space.squeeze(space.slice_axis(data, axis=0, begin=0, end=1), axis=0)))
    net.add(nn.Dense(CLASSES, in_units=UNITS))
    return net


def retrieval_of(mx: Any) -> Any:
    """How well the best of many items go with those of a basket: each of these times all of them."""

    class Retrieval(mx.gluon.HybridBlock):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.basket = mx.gluon.nn.Embedding(ITEMS, FACTORS)
            self.items = self.params.get("items", shape=(ITEMS, FACTORS))

        def hybrid_forward(self, space: Any, data: Any, items: Any) -> Any:
            scores = space.dot(space.reshape(self.basket(data), (-1, FACTORS)), items, transpose_b=True)
            return space.topk(space.max(space.reshape(scores, (-1, BASKET, ITEMS)), axis=1), k=BEST, ret_typ="value")

    return Retrieval()


def export(mx: Any, net: Any, folder: Path, *, asked_with: int, answers: int) -> None:
    """Write symbol, parameters, manifest and signature into ``folder``; the net takes rows of so many numbers, and answers so many."""
    folder.mkdir(parents=True, exist_ok=True)
    net.initialize(mx.init.Normal(0.1))
    net.hybridize()
    net(mx.nd.zeros((1, asked_with)))
    mx.nd.waitall()
    about = manifest()
    net.export(str(folder / about["Model"]["Model-Name"]), epoch=0)
    write_json(folder / "MANIFEST.json", about)
    signature = {
        "input_type": "application/json",
        "inputs": [{"data_name": "data", "data_shape": [0, asked_with]}],
        "output_type": "application/json",
        "outputs": [{"data_name": "scores", "data_shape": [0, answers]}],
    }
    write_json(folder / "signature.json", signature)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
