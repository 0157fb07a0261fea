"""Function and layer as they are built, laid out as on Lambda, under AWS's own emulator: read-only, for nobody in particular, with an empty home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from local_emulator.local_aws import moto_server
from tests.aws_rie import fetch_rie
from tests.conftest import BUILT, ROOT
from tests.end_to_end.endpoint import Endpoint, form, serving
from tests.end_to_end.test_invoke_oracle import invoke
from tests.events.gateways import GATEWAYS, Sent, golden
from tests.examples.conftest import built
from tests.layer.conftest import Layer
from tests.layer.lambda_root import HOME, LambdaRoot, invocable, lambda_root

pytestmark = pytest.mark.slow

PICTURE = (ROOT / "archives" / "digits_lenet" / "sample.png").read_bytes()
REVIEW = json.loads((ROOT / "archives" / "char_cnn" / "sample.jsonl").read_text().splitlines()[1])
FORM, REVIEWED = form("data", json.dumps(REVIEW).encode())
BY_FORM = Sent(path="/char_cnn/predict", headers=tuple(FORM.items()), body=REVIEWED)
OUTPUTS = "outputs-as-built"
MODELS = {"digits": "digits_lenet.model", "char_cnn": "char_cnn.model"}
EVENTS: dict[str, Any] = {
    **{f"a picture by {name}": gateway(Sent(body=PICTURE)) for name, gateway in GATEWAYS.items()},
    "a review, for a service that imports mxnet": GATEWAYS["http_api_2_0"](BY_FORM),
    "a page of FastAPI's": GATEWAYS["rest_api"](Sent("GET", "/openapi.json", headers=(), body=None)),
    **{f"golden {name}": golden(name) for name in ("rest_api", "http_api_1_0", "http_api_2_0", "function_url", "alb")},
    **{f"golden {name}": golden(name) for name in ("alb_health_check", "direct", "s3_put", "sqs", "websocket_message")},
}
PREDICTED = [name for name in EVENTS if name.startswith("a picture")]

# What the file system lets its user do, and who that is.
PROBE = """
import json, os
def writable(folder):
    try:
        open(os.path.join(folder, ".probe"), "w").close()
    except OSError as error:
        return error.strerror
    return "yes"
folders = ("/", "/var/task", "/opt", "/opt/python", "/var/lang", "/var/runtime", "/var/models", os.environ["HOME"], "/tmp")
names = {name for folder in ("/lib64", "/usr", "/var/lang/lib") for _, _, found in os.walk(folder) for name in found}
print(json.dumps({
    "user": os.getresuid(),
    "groups": [*os.getresgid(), *os.getgroups()],
    "rights": [line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapEff", "CapPrm"))],
    "home": os.listdir(os.environ["HOME"]),
    "writable": {folder: writable(folder) for folder in folders},
    "lacks": [name for name in ("libgomp.so.1", "libquadmath.so.0", "libgfortran.so.3") if name not in names],
    "memory": os.path.exists("/dev/shm"),
}))
"""


@pytest.fixture(scope="session")
def rie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetch_rie(tmp_path_factory.mktemp("rie"))


@pytest.fixture(scope="module")
def root(layer: Layer, rie: Path, tmp_path_factory: pytest.TempPathFactory) -> LambdaRoot:
    for model, file in MODELS.items():
        built({"digits": "digits_lenet"}.get(model, model), file)
    return lambda_root(layer, BUILT, rie, tmp_path_factory.mktemp("lambda"))


@pytest.fixture(scope="module")
def as_built(root: LambdaRoot) -> Iterator[int]:
    """The port on which the built function is invoked."""
    models = " ".join(f"{name}=/var/models/{file}" for name, file in MODELS.items())
    with invocable(root, {"GLUON_MODELS": models}) as port:
        yield port


@pytest.fixture(scope="module")
def from_source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The handler as it stands in the repository, under this project's emulator, with the packages as they are installed."""
    models = [f"{name}={BUILT / file}" for name, file in MODELS.items()]
    with serving(tmp_path_factory.mktemp("source"), "--models", *models) as endpoint:
        yield endpoint


def test_it_runs_read_only_as_nobody_in_particular_and_without_the_libraries_that_lambda_lacks(
    root: LambdaRoot,
) -> None:
    found = json.loads(root.run(PROBE))
    assert set(found["user"]) == {993}
    assert set(found["groups"]) == {990}
    assert {int(rights, 16) for rights in found["rights"]} == {0}
    assert found["home"] == []
    writable = found["writable"]
    assert [folder for folder, answer in writable.items() if answer == "yes"] == ["/tmp"]
    assert writable["/opt"] == writable["/var/task"] == writable[f"/{HOME}"] == "Read-only file system"
    assert found["lacks"] == ["libgomp.so.1", "libquadmath.so.0", "libgfortran.so.3"]
    assert not found["memory"]


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_what_is_built_answers_as_the_source_does(as_built: int, from_source: Endpoint, event: Any) -> None:
    answer, expected = invoke(as_built, "function", event), invoke(from_source.port, "PredictFunction", event)
    # It names files by where they are.
    traces = [str(each.pop("stackTrace", "/var/task handler")) for each in (answer, expected)]
    assert answer == expected
    assert answer
    assert "/var/task" in traces[0]
    assert "handler" in traces[1]


def test_the_answers_are_predictions_pages_and_refusals(as_built: int) -> None:
    answers = {name: invoke(as_built, "function", event) for name, event in EVENTS.items()}
    first = [json.loads(answers[name]["body"])["prediction"][0] for name in PREDICTED]
    assert [each["class"] for each in first] == ["3"] * len(GATEWAYS)
    assert {answer.get("statusCode") for answer in answers.values()} == {200, 404, None}
    assert {answer.get("errorType") for answer in answers.values()} >= {"InputMismatch", "UnsupportedEvent"}


def test_objects_on_s3_are_answered(root: LambdaRoot) -> None:
    event = golden("keys")
    with moto_server() as url:
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", **{k.lower(): v for k, v in keys.items()}
        )
        for bucket in (event["bucket"], OUTPUTS):
            client.create_bucket(Bucket=bucket)
        for key in event["keys"]:
            client.put_object(Bucket=event["bucket"], Key=key, Body=PICTURE)
        variables = {"GLUON_MODELS": "digits=/var/models/digits_lenet.model", "GLUON_OUTPUT": f"s3://{OUTPUTS}/"}
        with invocable(root, variables | keys | {"AWS_ENDPOINT_URL": url}) as port:
            answer = invoke(port, "function", event)
        written = [
            client.get_object(Bucket=OUTPUTS, Key=each["outputs"]["results"].partition(f"{OUTPUTS}/")[2])["Body"]
            for each in answer["results"]
        ]
        predictions = [json.loads(each.read())["prediction"][0]["class"] for each in written]
    assert answer["failed"] == 0
    assert predictions == ["3", "3"]
