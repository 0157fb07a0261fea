"""A reader's working folder, and what the documentation has running while its commands are typed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.archive_tool import onnx_models
from tests.conftest import IMAGE_SIGNATURE, ExportedNet, write_archive
from tests.docs.pages import ROOT
from tests.end_to_end.endpoint import Endpoint, served_by, shell_variables
from tests.examples.conftest import built
from tests.service_archives import manifest_0_4, signature, write_files

# What of the repository a reader's commands use; linked, so that what they write is written beside it.
LINKED = ("Makefile", "archives", "benchmarks", "handler", "layers", "local_emulator", "template.yaml")

BLOCK = '''
"""A block for `python -m archives pack net.py:build`."""
from mxnet.gluon import nn


def build():
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Conv2D(4, 3), nn.Dense(10))
    return net
'''
SUM_SERVICE = """
from mms.model_service.model_service import SingleNodeService


class Sum(SingleNodeService):
    def _postprocess(self, data):
        return sum(data[0])
"""


def link_repository(folder: Path) -> Path:
    """A working copy of the repository in ``folder``, ready as ``make setup`` leaves it."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "build").mkdir()
    for built_part in ("archives", "data", "lib"):
        (folder / "build" / built_part).symlink_to(ROOT / "build" / built_part)
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return link_repository(folder)


@pytest.fixture
def kitten_folder(checkout: Path, small_net: ExportedNet) -> Path:
    """A checkout with the ``gluon.model`` and ``kitten.jpg`` that the pages speak of."""
    write_archive(checkout / "gluon.model", small_net, IMAGE_SIGNATURE)
    Image.radial_gradient("L").convert("RGB").save(checkout / "kitten.jpg")
    return checkout


@pytest.fixture
def numbers_folder(checkout: Path) -> Path:
    """A checkout whose ``gluon.model`` adds numbers up, with the ``event.json`` that the pages speak of."""
    files = {
        "MANIFEST.json": manifest_0_4("s.py"),
        "signature.json": signature("application/json"),
        "s.py": SUM_SERVICE,
    }
    folder = write_files(checkout / "sum", dict(files))
    with zipfile.ZipFile(checkout / "gluon.model", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    (checkout / "event.json").write_text(json.dumps({"model": "gluon", "inputs": [3, 4]}))
    return checkout


@pytest.fixture
def packing_folder(checkout: Path, mx: Any) -> Path:
    """A checkout with everything that the archive tool's examples pack."""
    with zipfile.ZipFile(built("digits_lenet", "digits_lenet.model")) as archive:
        archive.extractall(checkout / "digits")
    (checkout / "digits" / "service.py").write_text("def handle(data, context):\n    return [len(data or [])]\n")
    shutil.copy(ROOT / "archives" / "digits_lenet" / "sample.png", checkout)
    shutil.copy(checkout / "digits" / "synset.txt", checkout)
    onnx_models.convolutional(checkout / "squeezenet.onnx")
    (checkout / "net.py").write_text(BLOCK)
    namespace: dict[str, Any] = {}
    exec(BLOCK, namespace)
    net = namespace["build"]()
    net.initialize()
    net(mx.nd.ones((1, 1, 8, 8)))
    net.save_parameters(str(checkout / "net.params"))
    return checkout


def make(*target: str) -> list[str]:
    """The command that makes ``target``, its set-up taken as done."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    for archive in ("digits_lenet", "char_cnn"):
        built(archive, f"{archive}.model")
    done = ["setup", "build/archives/digits_lenet.model", "build/archives/char_cnn.model"]
    return ["make", "--no-print-directory", *target, *(word for each in done for word in ("-o", each))]


# What a make that runs these tests has told its children is not for theirs.
NO_MAKE = {"MAKEFLAGS": "", "MAKELEVEL": ""}


@pytest.fixture(scope="module")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """``make run`` on a free port, in a checkout."""
    folder = link_repository(tmp_path_factory.mktemp("make_run"))
    with served_by(make("run", "PORT=0"), folder / "log", cwd=folder, variables=NO_MAKE) as endpoint:
        yield endpoint


@pytest.fixture
def demo_batch(checkout: Path) -> str:
    """What ``make demo-batch`` prints, in a checkout."""
    done = subprocess.run(
        make("demo-batch"),
        cwd=checkout,
        env=shell_variables(**NO_MAKE),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
