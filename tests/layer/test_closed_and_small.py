"""What can be said of a layer without running it: its libraries, its size, its bytecode, what its report says."""

from __future__ import annotations

import json

import pytest

from layers import closure, fortran_runtime, packing, sizes
from layers.removals import rules_for
from tests.layer.conftest import Layer

pytestmark = pytest.mark.slow


def test_every_library_finds_what_it_needs_in_the_layer_or_in_lambdas_image(any_layer: Layer) -> None:
    place = closure.Place(any_layer.image, any_layer.folder / "lib")
    assert closure.open_ends([any_layer.folder, any_layer.function], place) == []
    assert closure.open_ends([any_layer.folder], place._replace(lib=any_layer.folder)) != []


def test_function_and_layer_are_within_their_budgets(any_layer: Layer) -> None:
    together = sizes.total(any_layer.folder) + sizes.total(any_layer.function)
    source = sizes.total_of(any_layer.folder, ".py") + sizes.total_of(any_layer.function, ".py")
    zipped = sum((any_layer.folder.parent / name).stat().st_size for name in ("layer.zip", "function.zip"))
    assert together <= (250_000_000 if any_layer.has_source else 225_000_000)
    assert together - source <= 235_000_000
    assert zipped <= 85_000_000


def test_every_python_file_has_bytecode_that_is_taken_without_a_look_at_the_source(any_layer: Layer) -> None:
    tag = "cpython-" + any_layer.python.replace(".", "")
    for folder in (any_layer.folder, any_layer.function):
        files = packing.files(folder)
        sources = [path for path in files if path.suffix == ".py"]
        compiled = [path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc" for path in sources]
        if not any_layer.has_source:
            compiled = [path for path in files if path.suffix == ".pyc"]
            assert sources == []
        assert len(compiled) > 50
        for path in compiled:
            assert path.read_bytes()[4:8] == (1).to_bytes(4, "little"), path


def test_what_lambda_brings_itself_is_not_in_the_layer(any_layer: Layer) -> None:
    names = {path.name for path in (any_layer.folder / "python").iterdir()}
    assert not names & {"boto3", "botocore", "s3transfer", "jmespath", "awslambdaric", "pip", "setuptools"}


def test_no_rule_is_in_vain_and_nothing_that_it_removes_is_there(any_layer: Layer) -> None:
    removed = json.loads((any_layer.folder.parent / "report.json").read_text())["removed"]
    rules = rules_for(any_layer.target.architecture)
    assert {each["rule"] for each in removed} == {rule.name for rule in rules}
    bridged = [f"numpy.libs/{path.name}" for path in (any_layer.folder / "python" / "numpy.libs").iterdir()]
    left = [each["path"] for each in removed if (any_layer.folder / "python" / each["path"]).exists()]
    compiled_anew = [*bridged, f"mxnet/{fortran_runtime.NAME}"]
    assert left == (compiled_anew if {"numpy-openblas", "mxnet-fortran"} <= {rule.name for rule in rules} else [])


def test_the_report_adds_up(any_layer: Layer) -> None:
    report = json.loads((any_layer.folder.parent / "report.json").read_text())
    assert sum(report["packages"].values()) == report["sizes"]["layer"] == sizes.total(any_layer.folder)
    assert report["sizes"]["function"] == sizes.total(any_layer.function)
    gone = sum(each["size"] for each in report["removed"])
    bridge = report["sizes"]["trimmed"] - (report["sizes"]["unpacked"] - gone)
    assert 0 < bridge < 100_000  # what trimming added: the OpenBLAS bridge and the Fortran runtime
