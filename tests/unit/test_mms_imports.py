"""What importing ``mms``, and serving an archive, loads: seen in a fresh process each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service_archives import manifest_1_x, signature, write_files

ROOT = Path(__file__).parents[2]

SERVE = """
import json, sys
from gluon_lambda.archive_store.archive import open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.runtime.fake import FakePredictor
from gluon_lambda.services.load import load_service
from gluon_lambda.types import Part, Payload

def make(*, name, symbol, params, inputs):
    return FakePredictor(inputs, lambda arrays: list(arrays.values()))

archive = open_archive("model", parse_location(sys.argv[1]), cache=open_cache(sys.argv[1] + "-cache"))
service = load_service(archive, make_predictor=make)
service.predict(Payload((Part("data", b"1"),)))
"""
NATIVE = """
import numpy as np
from gluon_lambda.services.native import NativeService
class Own(NativeService):
    def preprocess(self, inputs):
        return {"data": np.ones((1, 1), "float32")}
"""


def loaded(code: str, *args: str) -> set[str]:
    """The modules in a process of its own after ``code``."""
    script = code + "\nprint(json.dumps(sorted(sys.modules)))" if "import json" in code else code
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        cwd=ROOT / "handler", capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "module",
    [
        "mms", "mms.context", "mms.service", "mms.log", "mms.metric", "mms.metrics_manager", "mms.metrics.metrics_store",
        "mms.metrics.metric_encoder", "mms.model_service.model_service", "mms.storage", "mms.utils.timeit_decorator",
    ],
)  # fmt: skip
def test_what_needs_no_arrays_imports_neither_mxnet_nor_psutil_nor_the_handlers_own(module: str) -> None:
    modules = loaded(f"import json, sys, {module}")
    assert module in modules
    assert not {"mxnet", "numpy", "psutil", "gluon_lambda"} & modules


def test_importing_mms_itself_loads_nothing_else() -> None:
    bare = loaded("import json, sys")
    assert loaded("import json, sys, mms") - bare == {"mms", "mms.version"}


def test_a_native_service_is_served_without_mxnet_and_without_mms(tmp_path: Path) -> None:
    files = {
        "MAR-INF/MANIFEST.json": manifest_1_x("service.py"),
        "service.py": NATIVE,
        "net-symbol.json": "{}",
        "net-0000.params": "x",
        "signature.json": signature("application/json", {"data_name": "data", "data_shape": [0, 1]}),
    }
    modules = loaded(SERVE, str(write_files(tmp_path / "native", dict(files))))
    assert {"gluon_lambda.services.native", "gluon_archive_model.service"} <= modules
    assert not {"mxnet", "mms", "fastapi", "boto3", "asyncio", "PIL"} & modules


def test_a_1_x_handler_is_served_without_mxnet(tmp_path: Path) -> None:
    handler = "def handle(data, context):\n    return None if data is None else [1]"
    files = {"MAR-INF/MANIFEST.json": manifest_1_x("service.py"), "service.py": handler}
    modules = loaded(SERVE, str(write_files(tmp_path / "handler", dict(files))))
    assert "mms.service" in modules
    assert not {"mxnet", "psutil", "asyncio", "PIL"} & modules


def test_the_guard_sees_an_import_that_should_not_be(tmp_path: Path) -> None:
    handler = "import asyncio\ndef handle(data, context):\n    return None if data is None else [1]"
    files = {"MAR-INF/MANIFEST.json": manifest_1_x("service.py"), "service.py": handler}
    assert "asyncio" in loaded(SERVE, str(write_files(tmp_path / "handler", dict(files))))
