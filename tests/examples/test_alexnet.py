"""The three AlexNet examples, their services unchanged; with smaller nets, except where the test is marked slow."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon.model_zoo import vision
from PIL import Image

from archives.alexnet_build import SIGNATURE, Options, class_names, require_zoo_file, save_weights
from archives.alexnet_hybrid.hybrid_alexnet import HybridAlexNet
from archives.alexnet_imperative.imperative_alexnet import ImperativeAlexNet
from archives.alexnet_pretrained import build as pretrained_build
from gluon_lambda.archive_store.archive import open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.errors import ServiceLoadError
from gluon_lambda.services.load import load_service
from gluon_lambda.types import Part, Payload, Service
from tests.service_archives import Code, manifest_0_4, payload, refuse_to_predict, write_files

ROOT = Path(__file__).parents[2]
ARCHIVES = ROOT / "archives"
HYBRID = ARCHIVES / "alexnet_hybrid" / "hybrid_alexnet.py"
IMPERATIVE = ARCHIVES / "alexnet_imperative" / "imperative_alexnet.py"
PRETRAINED = ARCHIVES / "alexnet_pretrained" / "pretrained_alexnet.py"
SMALL: dict[str, Any] = {"classes": 5, "units": 8}
SMALL_ZOO_NET = "squeezenet1.1"

# What derives a service with a smaller net from an example's own.
SMALLER = """
from {module} import {net}, {net}Service
class Small({net}Service):
    def make_net(self):
        return {net}(**{arguments})
"""
SMALLER_ZOO = """
from mxnet.gluon.model_zoo import model_store
from pretrained_alexnet import PretrainedAlexNetService
model_store._model_sha1["{name}"] = "{sha1}"
class Small(PretrainedAlexNetService):
    zoo_name = "{name}"
"""


def served(location: Path) -> Service:
    cache = open_cache(str(location.parent / "cache"))
    archive = open_archive("alexnet", parse_location(str(location)), cache=cache)
    return load_service(archive, make_predictor=refuse_to_predict)


def picture() -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype="uint8")
    encoded = io.BytesIO()
    Image.fromarray(pixels).resize((300, 260)).save(encoded, "jpeg")
    return encoded.getvalue()


def request() -> Payload:
    return payload(Part("data", picture(), "image/jpeg", "picture.jpg"))


def direct(net: Any) -> dict[str, float]:
    """The net's own five best answers to the picture, without anything of this project in between."""
    mean, std = mx.nd.array([0.485, 0.456, 0.406]), mx.nd.array([0.229, 0.224, 0.225])
    pixels = mx.image.imresize(mx.image.imdecode(picture()), 224, 224).astype("float32") / 255
    scores = net(((pixels - mean) / std).transpose((2, 0, 1)).expand_dims(0)).softmax().asnumpy()[0]
    return {str(index): float(scores[index]) for index in np.argsort(-scores)[:5]}


def assert_same(answer: list[dict[str, Any]], expected: dict[str, float]) -> None:
    assert len(set(expected.values())) == len(expected), "a net that scores all alike proves nothing"
    assert [each["class"].split()[1] for each in answer] == list(expected)
    np.testing.assert_allclose([each["probability"] for each in answer], list(expected.values()), rtol=1e-4)


def small_files(service: Path, net: type, weights: Path) -> Code:
    code = SMALLER.format(module=service.stem, net=net.__name__, arguments=SMALL)
    return {
        "MANIFEST.json": manifest_0_4("service.py", Parameters="alexnet.params"),
        "signature.json": json.dumps(SIGNATURE),
        "synset.txt": "\n".join(class_names(None, trained=False, count=SMALL["classes"])),
        service.name: service.read_bytes(),
        "service.py": code,
        "alexnet.params": weights.read_bytes(),
    }


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("weights") / "small.params"
    save_weights(lambda: HybridAlexNet(**SMALL), None, target)
    return target


@pytest.mark.parametrize(("service", "net"), [(HYBRID, HybridAlexNet), (IMPERATIVE, ImperativeAlexNet)])
def test_the_served_prediction_is_that_of_the_block_itself(
    tmp_path: Path, weights: Path, service: Path, net: type
) -> None:
    answer = served(write_files(tmp_path / "a", small_files(service, net, weights))).predict(request()).value
    block = ImperativeAlexNet(**SMALL)
    block.load_parameters(str(weights))
    assert_same(answer["prediction"], direct(block))


def test_every_class_name_says_that_the_weights_are_untrained(tmp_path: Path, weights: Path) -> None:
    answer = served(write_files(tmp_path / "a", small_files(HYBRID, HybridAlexNet, weights))).predict(request()).value
    assert len(answer["prediction"]) == 5
    assert all(each["class"].endswith("(untrained weights)") for each in answer["prediction"])
    assert not any("untrained" in name for name in class_names(None, trained=True))


def test_the_initial_values_are_the_same_each_time(tmp_path: Path, weights: Path) -> None:
    save_weights(lambda: HybridAlexNet(**SMALL), None, tmp_path / "again.params")
    first, again = mx.nd.load(str(weights)), mx.nd.load(str(tmp_path / "again.params"))
    assert first.keys() == again.keys()
    assert all((first[name].asnumpy() == again[name].asnumpy()).all() for name in first)


def test_parameters_of_the_model_zoos_alexnet_fit_by_name_and_shape() -> None:
    def shapes(net: Any) -> dict[str, tuple[int, ...]]:
        return {name: each.shape for name, each in net._collect_params_with_prefix().items()}

    zoo = shapes(vision.alexnet())
    assert shapes(HybridAlexNet()) == zoo
    assert shapes(ImperativeAlexNet()) == zoo


def test_a_users_labels_are_counted(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    assert class_names(tmp_path / "labels.txt", trained=True, count=2) == ["cat", "dog"]
    assert class_names(tmp_path / "labels.txt", trained=False, count=2)[0] == "cat (untrained weights)"
    with pytest.raises(SystemExit, match="has 2 lines; 3 are needed"):
        class_names(tmp_path / "labels.txt", trained=True, count=3)


def test_a_file_that_is_not_the_model_zoos_is_refused_while_packing(tmp_path: Path) -> None:
    (tmp_path / "alexnet.params").write_bytes(b"something else")
    require_zoo_file(tmp_path / "alexnet.params", hashlib.sha1(b"something else").hexdigest())
    with pytest.raises(SystemExit, match=r"is not the model zoo's file: its SHA-1 is .*, the zoo's is 44335d1f"):
        require_zoo_file(tmp_path / "alexnet.params", "44335d1f0046b328243b32a26a4fbd62d9057b45")


def small_zoo_net(tmp_path: Path) -> tuple[Any, bytes]:
    net = vision.get_model(SMALL_ZOO_NET)
    mx.random.seed(1)
    # He's: with smaller initial values a net this deep scores every class alike.
    net.initialize(mx.init.MSRAPrelu(slope=0))
    net(mx.nd.zeros((1, 3, 224, 224)))
    net.save_parameters(str(tmp_path / "zoo.params"))
    return net, (tmp_path / "zoo.params").read_bytes()


def zoo_files(params: bytes, sha1: str) -> Code:
    return {
        "MANIFEST.json": manifest_0_4("service.py", Parameters=""),
        "signature.json": json.dumps(SIGNATURE),
        "synset.txt": "\n".join(class_names(None, trained=True)),
        PRETRAINED.name: PRETRAINED.read_bytes(),
        "service.py": SMALLER_ZOO.format(name=SMALL_ZOO_NET, sha1=sha1),
        f"{SMALL_ZOO_NET}-{sha1[:8]}.params": params,
    }


def test_the_pretrained_service_finds_the_zoos_file_in_the_archive(tmp_path: Path) -> None:
    net, params = small_zoo_net(tmp_path)
    files = zoo_files(params, hashlib.sha1(params).hexdigest())
    answer = served(write_files(tmp_path / "a", files)).predict(request()).value
    assert_same(answer["prediction"], direct(net))


@pytest.fixture
def no_model_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model zoo cannot be reached: nothing listens on this port."""
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9/")


@pytest.mark.usefixtures("no_model_zoo")
def test_without_file_and_network_the_pretrained_service_fails_init_and_says_what_to_do(tmp_path: Path) -> None:
    archive = pretrained_build.pack(Options(tmp_path, None, None), "alexnet-44335d1f.params")
    with pytest.raises(ServiceLoadError) as caught:
        served(archive)
    message = str(caught.value)
    assert "alexnet-44335d1f.params are missing in the archive, and cannot be downloaded" in message
    assert "python -m archives.alexnet_pretrained.build --params alexnet-44335d1f.params" in message


@pytest.mark.usefixtures("no_model_zoo")
def test_a_damaged_zoo_file_in_the_archive_fails_init(tmp_path: Path) -> None:
    files = zoo_files(b"damaged", "00" * 20)
    with pytest.raises(ServiceLoadError, match="are damaged in the archive, and cannot be downloaded"):
        served(write_files(tmp_path / "a", files))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "net"), [("alexnet_hybrid", HybridAlexNet), ("alexnet_imperative", ImperativeAlexNet)]
)
def test_the_built_archive_answers_as_the_block_does(tmp_path: Path, name: str, net: type) -> None:
    build = [sys.executable, "-m", f"archives.{name}.build", "--out", str(tmp_path)]
    done = subprocess.run(
        build, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT / 'handler'}:{ROOT}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "UNTRAINED" in done.stdout
    service = served(tmp_path / f"{name}.model")
    answer = service.predict(request()).value
    block = net()
    (folder,) = {path.parent for path in (tmp_path / "cache").rglob("alexnet.params")}
    block.load_parameters(str(folder / "alexnet.params"))
    assert_same(answer["prediction"], direct(block))
