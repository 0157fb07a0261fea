"""Function and layer, loaded and called as Lambda has them, with nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from layers import packing
from layers.other_versions import find_python
from tests.conftest import BUILT, ROOT
from tests.events.gateways import Event, Sent, alb, http_api_2_0, rest_api
from tests.layer.conftest import Layer

pytestmark = pytest.mark.slow

_LOAD = """
import sys
import numpy, numpy.linalg, numpy.fft, numpy.random, PIL.Image, fastapi, mangum, pydantic, requests
from gluon_lambda.runtime import stock_mxnet
stock_mxnet.install()
import mxnet
mxnet.nd.ones((2, 2)).asnumpy()
for name in ("numpy", "PIL", "fastapi", "mangum", "pydantic", "requests", "mxnet", "gluon_lambda"):
    print(sys.modules[name].__file__)
print("libraries")
print("\\n".join(sorted({line.split()[-1] for line in open("/proc/self/maps") if ".so" in line})))
"""

_ANSWER = """
import json, sys
import lambda_function
class Context:
    aws_request_id = "8f507cfc-example"
    def get_remaining_time_in_millis(self): return 30000
print(json.dumps(lambda_function.lambda_handler(json.load(open(sys.argv[1])), Context())))
"""


def test_everything_loads_from_function_and_layer_and_only_the_images_libraries_besides(layer: Layer) -> None:
    loaded, _, libraries = layer.run(_LOAD).partition("libraries\n")
    assert all(path.startswith((str(layer.folder), str(layer.function))) for path in loaded.split())
    python = str(Path(find_python(layer.python, os.environ) or "").resolve().parent.parent)
    outside = {Path(path).name for path in libraries.split() if not path.startswith((str(layer.folder), python))}
    # Libraries of this machine's Python, for its ssl, ctypes, lzma, bz2 and uuid, have no say here.
    pythons_own = ("libssl", "libcrypto", "libffi", "liblzma", "libbz2", "libuuid", "libpython")
    assert {name for name in outside if not name.startswith((*pythons_own, *layer.image.libraries))} == set()


def test_every_symbol_is_found_when_the_loader_looks_for_all_of_them_at_once(layer: Layer) -> None:
    layer.run(_LOAD, environ={"LD_BIND_NOW": "1"})


def answer(layer: Layer, event: Event, folder: Path) -> dict[str, object]:
    """What the function answers, in a process of its own, with the example model."""
    written = folder / "event.json"
    written.write_text(json.dumps(event))
    environ = {
        "GLUON_MODELS": f"digits_lenet={BUILT / 'digits_lenet.model'}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
    }
    answered: dict[str, object] = json.loads(layer.run(_ANSWER, str(written), environ=environ).splitlines()[-1])
    return answered


def picture(gateway: Callable[[Sent], Event]) -> Event:
    """A handwritten digit, sent through the gateway."""
    return gateway(
        Sent(path="/digits_lenet/predict", body=(ROOT / "archives" / "digits_lenet" / "sample.png").read_bytes())
    )


@pytest.mark.parametrize("gateway", [http_api_2_0, rest_api, alb], ids=lambda gateway: gateway.__name__)
def test_a_picture_is_answered_by_a_real_net(layer: Layer, tmp_path: Path, gateway: Callable[[Sent], Event]) -> None:
    answered = answer(layer, picture(gateway), tmp_path)
    assert answered["statusCode"] == 200
    assert "probability" in str(answered["body"])


def test_fastapis_pages_are_served(layer: Layer, tmp_path: Path) -> None:
    answered = answer(layer, http_api_2_0(Sent(method="GET", path="/openapi.json", headers=())), tmp_path)
    assert answered["statusCode"] == 200
    assert json.loads(str(answered["body"]))["openapi"]


def test_nothing_is_compiled_at_a_cold_start(layer: Layer, tmp_path: Path) -> None:
    before = [packing.files(folder) for folder in (layer.folder, layer.function)]
    answer(layer, picture(http_api_2_0), tmp_path)
    answer(layer, http_api_2_0(Sent(method="GET", path="/openapi.json", headers=())), tmp_path)
    assert [packing.files(folder) for folder in (layer.folder, layer.function)] == before
