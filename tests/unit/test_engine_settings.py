"""The engine's settings, from GLUON_… variables to the engine and to the nets that it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gluon_lambda.bootstrap import create_handler
from tests.conftest import FakeContext
from tests.service_archives import Code, manifest_1_x, signature, write_files

pytestmark = pytest.mark.usefixtures("restored_process")

CONVOLUTION = """
    import json
    import mxnet as mx
    from mxnet.gluon import nn

    class Handler:
        def initialize(self, context):
            mx.random.seed(7)
            self.net = nn.HybridSequential()
            self.net.add(nn.Conv2D(4, 3, in_channels=3), nn.BatchNorm(in_channels=4), nn.Activation("relu"))
            self.net.initialize(mx.init.Xavier())

        def handle(self, data, context):
            answer = self.net(mx.nd.ones((1, 3, 8, 8))).asnumpy()
            nodes = json.loads(self.net._cached_graph[1].tojson())["nodes"]
            return [{"operators": [each["op"] for each in nodes if each["op"] != "null"], "answer": answer.ravel().tolist()}]

    service = Handler()

    def handle(data, context):
        return service.handle(data, context) if data is not None else service.initialize(context)
"""


def answer_of(tmp_path: Path, archive: Path, inputs: Any = None, **settings: str) -> Any:
    """A fresh handler's answer to one direct invoke."""
    environ = {"GLUON_CACHE_DIR": str(tmp_path / "cache"), "GLUON_MODELS": f"m={archive}", **settings}
    return create_handler(environ)({"model": "m", "inputs": inputs or {}}, FakeContext())


@pytest.fixture
def convolution(tmp_path: Path) -> Path:
    """An archive whose own code builds a net that oneDNN can join into one operator."""
    files: Code = {
        "MAR-INF/MANIFEST.json": manifest_1_x("handler.py:handle"),
        "handler.py": CONVOLUTION,
        "signature.json": signature("application/json", {"data_name": "data", "data_shape": [0, 3, 8, 8]}),
    }
    return write_files(tmp_path / "convolution", files)


def test_nets_of_an_archives_own_code_are_fused_only_where_the_setting_says_all(
    tmp_path: Path, convolution: Path
) -> None:
    answers = {choice: answer_of(tmp_path, convolution, GLUON_FUSE=choice) for choice in ("all", "exported", "none")}
    assert answers["all"]["operators"] == ["_sg_mkldnn_conv"]
    assert answers["exported"]["operators"] == ["Convolution", "BatchNorm", "Activation"]
    assert answers["none"] == answers["exported"]
    np.testing.assert_allclose(answers["all"]["answer"], answers["none"]["answer"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"GLUON_FUSE": "none"},
        {"GLUON_STATIC_SHAPE": "false"},
        {"GLUON_STATIC_ALLOC": "false"},
        {"GLUON_STATIC_ALLOC": "false", "GLUON_FUSE": "none"},
    ],
    ids=str,
)
def test_an_exported_net_answers_the_same_however_it_is_made_ready(
    tmp_path: Path, tensor_archive: Path, settings: dict[str, str]
) -> None:
    inputs = {"data": np.linspace(0, 1, 64).reshape(1, 1, 8, 8).tolist()}
    expected = answer_of(tmp_path, tensor_archive, inputs)
    answer = answer_of(tmp_path, tensor_archive, inputs, **settings)
    assert answer.keys() == expected.keys()
    for name in answer:
        np.testing.assert_allclose(answer[name], expected[name], rtol=1e-5)


def test_what_the_engine_reads_is_what_the_settings_say(tmp_path: Path, convolution: Path) -> None:
    settings = {"GLUON_ENGINE_TYPE": "ThreadedEngine", "GLUON_THREADS": "2", "GLUON_BIND_THREADS": "false"}
    environ = {"GLUON_CACHE_DIR": str(tmp_path), "GLUON_MODELS": f"m={convolution}", **settings}
    create_handler(environ)
    read = {name: environ[name] for name in ("MXNET_ENGINE_TYPE", "OMP_NUM_THREADS", "OMP_PROC_BIND")}
    assert read == {"MXNET_ENGINE_TYPE": "ThreadedEngine", "OMP_NUM_THREADS": "2", "OMP_PROC_BIND": "false"}


def test_what_the_user_has_set_for_the_engine_itself_wins(tmp_path: Path, convolution: Path) -> None:
    own = {"MXNET_ENGINE_TYPE": "ThreadedEnginePerDevice", "GOMP_SPINCOUNT": "77", "OMP_PROC_BIND": "close"}
    environ = {"GLUON_CACHE_DIR": str(tmp_path), "GLUON_MODELS": f"m={convolution}", "GLUON_THREADS": "2", **own}
    create_handler(environ)
    assert {name: environ[name] for name in own} == own
