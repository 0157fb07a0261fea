"""What every test may use: a ready engine, seeded nets exported by the real MXNet, archives made of them, and Lambda's context."""

from __future__ import annotations

import json
import os
import signal
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from archives.native_libraries import load_native_libraries
from gluon_lambda.runtime import stock_mxnet
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.runtime.engine_environment import engine_environment, missing_from
from tests.run_facts import pytest_collection_finish, pytest_xdist_node_collection_finished

# Hooks, which pytest finds by their names.
__all__ = ["pytest_collection_finish", "pytest_xdist_node_collection_finished"]

ROOT = Path(__file__).resolve().parent.parent
EVENTS = Path(__file__).parent / "events"
BUILT = ROOT / "build" / "archives"

# Before anything opens libmxnet: its environment, and the two libraries that its wheel lacks (make sets LD_LIBRARY_PATH; a bare pytest does not).
# OMP_PROC_BIND would bind this process to one CPU, and with it every process that a test starts.
os.environ.setdefault("OMP_PROC_BIND", "false")
os.environ.update(missing_from(os.environ, engine_environment(2, str(ROOT / "build" / "test-cache"))))
load_native_libraries()
stock_mxnet.install()

# nohup, and shells that start a job in the background, let processes be born deaf to these; the emulators that tests end with them would be too.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number is signal.SIGINT else signal.SIG_DFL)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes that are no short text go by their parameter's name: zips and gzips hold the time at which they were made, and the processes that share
    the tests have to come to the same names."""
    is_text = isinstance(val, bytes) and len(val) <= 20 and val.isascii() and val.decode().isprintable()
    return argname if isinstance(val, bytes) and not is_text else None


class FakeContext:
    """Lambda's context object, as far as it is used."""

    def __init__(self, request_id: str = "8f507cfc-example", remaining_ms: int = 30_000) -> None:
        self.aws_request_id = request_id
        self._remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._remaining_ms


class ExportedNet(NamedTuple):
    """An exported net's two files."""

    symbol: bytes
    params: bytes


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine.open()


@pytest.fixture
def context() -> FakeContext:
    return FakeContext()


@pytest.fixture(scope="session")
def mx() -> Any:
    """The real MXNet, stock wheel."""
    import mxnet

    return mxnet


@pytest.fixture(scope="session")
def export(mx: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ExportedNet]:
    """Export an initialised, hybridized Gluon block after one forward pass on the given arrays."""

    def exported(block: Any, *arrays: Any) -> ExportedNet:
        folder = tmp_path_factory.mktemp("exported")
        block.hybridize()
        block(*arrays)
        mx.nd.waitall()
        block.export(str(folder / "net"), 0)
        return ExportedNet((folder / "net-symbol.json").read_bytes(), (folder / "net-0000.params").read_bytes())

    return exported


@pytest.fixture(scope="session")
def small_block(mx: Any) -> Any:
    """A seeded convolutional net for 8×8 grey images and four classes, initialised."""
    mx.random.seed(7)
    block = mx.gluon.nn.HybridSequential(prefix="small_")
    with block.name_scope():
        block.add(mx.gluon.nn.Conv2D(4, 3), mx.gluon.nn.BatchNorm(), mx.gluon.nn.Activation("relu"))
        block.add(mx.gluon.nn.Dense(4))
    block.initialize(mx.init.Xavier())
    return block


@pytest.fixture(scope="session")
def small_net(mx: Any, small_block: Any, export: Callable[..., ExportedNet]) -> ExportedNet:
    return export(small_block, mx.nd.ones((1, 1, 8, 8)))


IMAGE_SIGNATURE: dict[str, Any] = {
    "input_type": "image/jpeg",
    "output_type": "application/json",
    "inputs": [
        {
            "data_name": "data",
            "data_shape": [0, 1, 8, 8],
            "preprocess": {"color": "L", "resize": [8, 8], "scale": 1 / 255, "layout": "NCHW"},
        }
    ],
    "outputs": [
        {
            "data_name": "scores",
            "data_shape": [0, 4],
            "postprocess": {"softmax": True, "top_k": 2, "labels": "synset.txt"},
        }
    ],
}
TENSOR_SIGNATURE: dict[str, Any] = {
    "input_type": "application/json",
    "output_type": "application/json",
    "inputs": [{"data_name": "data", "data_shape": [0, 1, 8, 8]}],
    "outputs": [{"data_name": "scores", "data_shape": [0, 4]}],
}


def write_archive(path: Path, net: ExportedNet, signature: dict[str, Any], *, code: str = "") -> Path:
    """A 0.4-form archive of an exported net, as plain ``zip`` makes it; without code the built-in services answer."""
    model = {
        "Model-Name": "small",
        "Model-Format": "MXNet-Symbolic",
        "Signature": "signature.json",
        "Service": "service.py" if code else "",
        "Symbol": "small-symbol.json",
        "Parameters": "small-0000.params",
    }
    manifest = {"Model-Archive-Version": 0.2, "Model-Server": 0.4, "Engine": {"MXNet": "1.9.1"}, "Model": model}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MANIFEST.json", json.dumps(manifest))
        archive.writestr("signature.json", json.dumps(signature))
        if code:
            archive.writestr("service.py", code)
        archive.writestr("synset.txt", "ant\nbee\ncat\ndog\n")
        archive.writestr("small-symbol.json", net.symbol)
        archive.writestr("small-0000.params", net.params)
    return path


@pytest.fixture(scope="session")
def image_archive(small_net: ExportedNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archives") / "small.model", small_net, IMAGE_SIGNATURE)


@pytest.fixture(scope="session")
def tensor_archive(small_net: ExportedNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archives") / "tensors.model", small_net, TENSOR_SIGNATURE)


@pytest.fixture
def restored_process() -> Iterator[None]:
    """For tests that run INIT in this process: give logging, the import path and the loaded modules back as they were."""
    import logging

    root = logging.getLogger()
    handlers, level, path, modules = list(root.handlers), root.level, list(sys.path), set(sys.modules)
    yield
    root.handlers, sys.path[:] = handlers, path
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    for name in set(sys.modules) - modules:
        if name.startswith("gluon_archive"):
            del sys.modules[name]
