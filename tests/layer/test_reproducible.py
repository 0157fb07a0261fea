"""The same layer, byte by byte, whenever it is built."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from layers import build, bytecode, packing, sizes
from layers.build import Options
from tests.layer.conftest import Layer

pytestmark = pytest.mark.slow


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in packing.files(folder)
    }


def options(layer: Layer, folder: Path) -> Options:
    python = bytecode.python_for(layer.python, os.environ)
    return Options(layer.target, folder, python)


def test_building_again_elsewhere_gives_the_same_bytes(compiled_layer: Layer, tmp_path: Path) -> None:
    build.build(options(compiled_layer, tmp_path))
    built = compiled_layer.folder
    assert digests(tmp_path / "layer") == digests(built), "or `make layers` has not been run since a change"
    for name in ("layer.zip", "function.zip"):
        assert (tmp_path / name).read_bytes() == (built.parent / name).read_bytes()


def test_a_layer_over_its_budget_fails_the_build_with_the_five_largest(layer: Layer, tmp_path: Path) -> None:
    small = options(layer, tmp_path)._replace(budgets=sizes.Budgets(unzipped=200_000_000))
    with pytest.raises(
        SystemExit,
        match=r"over the budget of 200,000,000.*largest packages: mxnet \d+.*, numpy .*, pillow .*, pydantic",
    ):
        build.build(small)


def test_bytecode_alone_is_as_large_as_the_report_foretells_and_answers(layer: Layer, tmp_path: Path) -> None:
    build.build(options(layer, tmp_path)._replace(alone=True))
    alone = layer._replace(folder=tmp_path / "layer", function=tmp_path / "function")
    assert not list(alone.folder.rglob("*.py"))
    foretold = json.loads((layer.folder.parent / "report.json").read_text())["sizes"]["without_source"]
    assert sizes.total(alone.folder) + sizes.total(alone.function) == foretold <= 235_000_000
    code = (
        "from gluon_lambda.runtime import stock_mxnet; stock_mxnet.install(); import mxnet as mx, numpy as np, fastapi, mangum, PIL.Image\n"
        "print(float(mx.nd.ones((2, 3)).sum().asscalar()), np.linalg.det(np.eye(3)), mx.gluon.nn.Dense(2).__class__.__name__)"
    )
    assert alone.run(code) == "6.0 1.0 Dense\n"
