"""Nets that people have: the model zoo's, with seeded weights, and those of the example archives, each held against ``SymbolBlock``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archives.alexnet_hybrid.hybrid_alexnet import HybridAlexNet
from gluon_lambda.types import TensorSpec
from tests.examples.conftest import built
from tests.lone_engine import LoneEngine
from tests.net_samples import Sample, export, noise, require_same, spread_parameters, stock_block

# Names as the zoo has them: mobilenet_v2 is mobilenetv2_1.0 there, inception_v3 inceptionv3.
QUICK = ["squeezenet1.0"]
SLOW = [
    "alexnet",
    "mobilenet1.0",
    "resnet18_v1",
    "resnet50_v2",
    "mobilenetv2_1.0",
    "densenet121",
    "vgg11",
    "inceptionv3",
]


# In INIT a net's first run, with all that it prepares for later ones, has one thread, and later ones as many as there are.
THREADS = {"OMP_NUM_THREADS": "2"}


@pytest.fixture(params=[THREADS, THREADS | {"SHARES_CPUS": "1"}], ids=["warmed up alone", "warmed up beside imports"])
def alone(request: pytest.FixtureRequest) -> Iterator[LoneEngine]:
    engine = LoneEngine(seconds=300, environ=request.param)
    yield engine
    engine.close()


def pictures(count: int, size: int) -> Any:
    """Noise of large and of small grain, each picture with a contrast of its own: unlike one another after any pooling."""
    coarse = np.kron(noise(count, 3, 8, 8), np.ones((1, 1, size // 8 + 1, size // 8 + 1), "float32"))
    contrast = np.linspace(0.5, 2, count, dtype="float32").reshape(count, 1, 1, 1)
    return (coarse[:, :, :size, :size] + noise(count, 3, size, size) / 2) * contrast


def zoo_net(mx: Any, name: str) -> Sample:
    size = 299 if name == "inceptionv3" else 224
    block = mx.gluon.model_zoo.vision.get_model(name)
    block.initialize(mx.init.Zero())
    one = mx.nd.zeros((1, 3, size, size))
    block(one)
    spread_parameters(block)
    return Sample(*export(block, one), (TensorSpec("data", (0, 3, size, size)),), {"data": pictures(3, size)})


def require_telling(outputs: list[Any]) -> None:
    """Refuse a test that any constant would pass: classes and pictures must differ by far more than what is allowed."""
    (scores,) = outputs
    largest = np.abs(scores).max(axis=1)
    assert min(scores.std(axis=1) / largest) > 0.05
    assert len(scores) == 1 or min(np.abs(np.diff(scores, axis=0)).max(axis=1) / largest[1:]) > 0.05


def require_stock_answers(engine: LoneEngine, sample: Sample) -> None:
    """Batches of three and of one, in this order and again, with one copy of the parameters."""
    block = stock_block(sample)
    predictor = engine(name="net", symbol=sample.symbol, params=sample.params, inputs=sample.inputs)
    for rows in (3, 1, 3):
        arrays = {name: array[-rows:] for name, array in sample.arrays.items()}
        expected = block(arrays)
        require_telling(expected)
        require_same(predictor.predict(arrays), expected)
    predictor.close()


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_the_model_zoos_nets_answer_as_the_stock_package_does(name: str, mx: Any, alone: LoneEngine) -> None:
    require_stock_answers(alone, zoo_net(mx, name))


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("example", "file"), [("digits_lenet", "digits_lenet.model"), ("char_cnn", "char_cnn_native.mar")]
)
def test_the_examples_exported_nets_answer_as_the_stock_package_does(
    example: str, file: str, mx: Any, alone: LoneEngine
) -> None:
    content = members(built(example, file))
    (declared,) = json.loads(content["signature.json"])["inputs"]
    shape = tuple(declared["data_shape"])
    symbol, params = (
        next(text for name, text in content.items() if name.endswith(end)) for end in ("-symbol.json", ".params")
    )
    arrays = {
        "data": np.abs(noise(3, *shape[1:])) * np.array([1, 2, 0.5], "float32").reshape(3, *[1] * (len(shape) - 1))
    }
    require_stock_answers(alone, Sample(symbol, params, (TensorSpec("data", shape),), arrays))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["alexnet_hybrid.model", "alexnet_imperative.model"])
def test_the_examples_gluon_nets_answer_the_same_when_they_are_exported(
    file: str, mx: Any, alone: LoneEngine, tmp_path: Path
) -> None:
    """Both archives hold Gluon code and the same net's parameters; a plain Block's are loaded into the HybridBlock."""
    (tmp_path / "alexnet.params").write_bytes(members(built(file.partition(".")[0], file))["alexnet.params"])
    block = HybridAlexNet()
    block.load_parameters(str(tmp_path / "alexnet.params"))
    files = export(block, mx.nd.zeros((1, 3, 224, 224)))
    require_stock_answers(alone, Sample(*files, (TensorSpec("data", (0, 3, 224, 224)),), {"data": pictures(3, 224)}))


@pytest.mark.slow
def test_the_character_nets_two_archives_hold_the_same_net(mx: Any) -> None:
    """The other one's Gluon code is what the exported net was made from."""
    gluon, exported = (members(built("char_cnn", file)) for file in ("char_cnn.model", "char_cnn_native.mar"))
    arrays = {
        "gluon": mx.nd.load_frombuffer(gluon["char_cnn.params"]),
        "exported": mx.nd.load_frombuffer(exported["char_cnn-0000.params"]),
    }
    values = {
        kind: sorted((each.shape, float(each.sum().asscalar())) for each in held.values())
        for kind, held in arrays.items()
    }
    assert values["gluon"] == values["exported"]
