"""The same handler and the same events under AWS's own emulator and under ours: the answers have to be the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local_emulator.records import FunctionConfiguration
from local_emulator.sandbox.environment import Machine, environment_variables
from tests.aws_rie import fetch_rie, free_port, wait_for
from tests.end_to_end.endpoint import ROOT, Endpoint, serving, shell_variables
from tests.end_to_end.test_invoke import IMAGE, POST
from tests.events.gateways import GATEWAYS, Sent, golden

pytestmark = pytest.mark.slow

EVENTS: dict[str, Any] = {
    **{f"prediction by {name}": gateway(POST) for name, gateway in GATEWAYS.items()},
    **{f"golden {name}": golden(name) for name in ("rest_api", "http_api_2_0", "function_url", "alb", "s3_put", "sqs")},
    "no such model": GATEWAYS["http_api_2_0"](Sent(path="/large/predict", body=b"x")),
    "a document": GATEWAYS["http_api_2_0"](Sent("GET", "/models/small", body=None)),
    "direct": IMAGE,
    "direct, bare": IMAGE["inputs"],
    "direct, refused": {"model": "small", "inputs": {"data": 1}},
    "direct, no such model": {"model": "large", "inputs": 1},
    "a number": 5,
    "a text": "päckchen",
    "null": None,
}


@pytest.fixture(scope="module")
def ours(image_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with serving(tmp_path_factory.mktemp("ours"), "--models", f"small={image_archive}") as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def theirs(image_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port on which RIE takes invocations of the same handler, in the environment that our sandbox gives it."""
    folder = tmp_path_factory.mktemp("theirs")
    binary, caller, runtime = fetch_rie(folder), free_port(), free_port()
    models = {"GLUON_MODELS": f"small={image_archive}", "GLUON_CACHE_DIR": str(folder / "cache")}
    code = str(ROOT / "handler")
    function = FunctionConfiguration("PredictFunction", "lambda_function.lambda_handler", code, 1769, 30, models)
    machine = Machine((str(ROOT / "build" / "lib"),), shell_variables())
    environment = environment_variables(function, runtime_api=f"127.0.0.1:{runtime}", machine=machine)
    with _rie(binary, caller, runtime, environment):
        yield caller


@contextmanager
def _rie(binary: Path, caller: int, runtime: int, environment: dict[str, str]) -> Iterator[None]:
    addresses = ["--runtime-interface-emulator-address", f"127.0.0.1:{caller}"]
    addresses += ["--runtime-api-address", f"127.0.0.1:{runtime}"]
    command = [str(binary), *addresses, sys.executable, "-m", "awslambdaric", "lambda_function.lambda_handler"]
    process = subprocess.Popen(
        command, cwd=ROOT / "handler", env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(caller)
        yield
    finally:
        process.terminate()
        process.wait()


def invoke(port: int, name: str, event: Any) -> Any:
    """What Lambda's Invoke API answers on this port, without what differs from one invocation to the next."""
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/{name}/invocations"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(event).encode())) as response:
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "{id}", response.read().decode())
    return json.loads(text)


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_the_handler_answers_the_same_under_aws_emulator_and_ours(ours: Endpoint, theirs: int, event: Any) -> None:
    answer = invoke(ours.port, "PredictFunction", event)
    assert answer == invoke(theirs, "function", event)
    assert answer


def test_the_answers_that_are_compared_are_of_every_kind(ours: Endpoint) -> None:
    answers = [invoke(ours.port, "PredictFunction", event) for event in EVENTS.values()]
    assert {answer.get("statusCode") for answer in answers} == {200, 404, None}
    assert {answer.get("errorType") for answer in answers} >= {
        None,
        "InputMismatch",
        "ModelNotFound",
        "UnsupportedEvent",
    }
