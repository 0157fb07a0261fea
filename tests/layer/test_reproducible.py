"""The same layer, byte by byte, whenever it is built."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from layers import build, bytecode, packing, sizes
from layers.build import Options
from tests.layer.conftest import Layer
from tests.layer.test_removals import PROGRAMS, importable

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
    if compiled_layer.target.name == f"{sys.version_info.major}.{sys.version_info.minor}":
        pytest.skip("test_image.py builds this one again, with nothing but Python and pip, and compares it")
    build.build(options(compiled_layer, tmp_path))
    built = compiled_layer.folder
    assert digests(tmp_path / "layer") == digests(built), "or `make layers` has not been run since a change"
    for name in ("layer.zip", "function.zip"):
        assert (tmp_path / name).read_bytes() == (built.parent / name).read_bytes()


class Refused(NamedTuple):
    """A layer of bytecode alone that was too large for its budget."""

    layer: Layer
    said: str


@pytest.fixture(scope="module")
def alone(layer: Layer, tmp_path_factory: pytest.TempPathFactory) -> Refused:
    folder = tmp_path_factory.mktemp("alone")
    asked = options(layer, folder)._replace(alone=True, budgets=sizes.Budgets(unzipped=200_000_000))
    with pytest.raises(SystemExit) as refused:
        build.build(asked)
    return Refused(layer._replace(folder=asked.layer, function=asked.function), str(refused.value))


def test_a_layer_over_its_budget_fails_the_build_with_the_five_largest_and_cannot_be_uploaded(alone: Refused) -> None:
    largest = r"over the budget of 200,000,000.*largest packages: mxnet \d+.*, numpy .*, pillow .*, pydantic"
    assert re.search(largest, alone.said)
    assert not list(alone.layer.folder.parent.glob("*.zip"))


def test_bytecode_alone_is_within_its_budget_and_no_larger_than_the_report_foretells(
    layer: Layer, alone: Refused
) -> None:
    assert not list(alone.layer.folder.rglob("*.py"))
    foretold = json.loads((layer.folder.parent / "report.json").read_text())["sizes"]["without_source"]
    together = sizes.total(alone.layer.folder) + sizes.total(alone.layer.function)
    assert together <= foretold <= 235_000_000
    # NumPy 2 and Python 3.13 take more.
    assert together <= (227_000_000 if layer.python == "3.13" else 225_000_000)


def test_bytecode_alone_computes(alone: Refused) -> None:
    code = (
        "from gluon_lambda.runtime import stock_mxnet; stock_mxnet.install(); import mxnet as mx, numpy as np, fastapi, mangum, PIL.Image\n"
        "print(float(mx.nd.ones((2, 3)).sum().asscalar()), np.linalg.det(np.eye(3)), mx.gluon.nn.Dense(2).__class__.__name__)"
    )
    assert alone.layer.run(code) == "6.0 1.0 Dense\n"


@pytest.mark.parametrize("rule", PROGRAMS)
def test_bytecode_alone_does_what_the_rules_of_removal_leave(alone: Refused, rule: str) -> None:
    alone.layer.run(PROGRAMS[rule])


def test_every_module_of_the_layer_can_be_imported_from_bytecode_without_docstrings(
    layer: Layer, alone: Refused
) -> None:
    expected, found = importable(layer), importable(alone.layer)
    assert len(found) > 700
    # numpy.doc looks for its own source.
    assert {name for name in expected - found if not name.startswith("numpy.doc")} == set()
