"""Every route that clients of MMS 0.4, MMS 1.x and TorchServe use, over HTTP, on one archive with a ``modelVersion``."""

from __future__ import annotations

import io
import json
import zipfile
from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from PIL import Image

from tests.conftest import IMAGE_SIGNATURE, ExportedNet
from tests.end_to_end.endpoint import Answer, Endpoint, form, serving

VERSION = "1.2"
ORIGIN = "https://example.com"
LABELS = {"ant", "bee", "cat", "dog"}


def picture() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((8, 8)).save(file, "PNG")
    return file.getvalue()


PICTURE = picture()
PNG = {"Content-Type": "image/png"}


def write_mar(path: Path, net: ExportedNet, labels: Iterable[str] = sorted(LABELS)) -> Path:
    """A 1.x archive of the net with a version."""
    manifest = {"runtime": "python", "model": {"modelName": "small", "modelVersion": VERSION, "handler": ""}}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("signature.json", json.dumps(IMAGE_SIGNATURE))
        archive.writestr("synset.txt", "\n".join(labels))
        archive.writestr("small-symbol.json", net.symbol)
        archive.writestr("small-0000.params", net.params)
    return path


@pytest.fixture(scope="module")
def endpoint(small_net: ExportedNet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("routes")
    archive = write_mar(folder / "small.mar", small_net)
    cors = f"GLUON_CORS_ALLOW_ORIGIN={ORIGIN}"
    with serving(folder, "--models", f"small={archive}", "--env", cors) as serves:
        yield serves


@pytest.fixture(scope="module")
def prediction(endpoint: Endpoint) -> Any:
    """What the model says of the picture; every other way to ask has to give the same."""
    answer = endpoint.ask("POST", "/predictions/small", PICTURE, PNG)
    assert answer.status == 200
    assert len(answer.json) == 2
    assert {each["class"] for each in answer.json} <= LABELS
    return answer.json


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/small/predict"),
        ("POST", f"/predictions/small/{VERSION}"),
        ("PUT", "/predictions/small"),
        ("GET", "/predictions/small"),
        ("PUT", f"/predictions/small/{VERSION}"),
        ("POST", "/models/small/invoke"),
        ("PUT", "/models/small/invoke"),
        ("POST", "/invocations"),
        ("PUT", "/invocations"),
        ("GET", "/invocations"),
        ("POST", "/invocations?model_name=small"),
        ("POST", "/predictions/small/"),
        ("POST", "/predictions/sm%61ll"),
    ],
)
def test_every_prediction_route_gives_the_same(endpoint: Endpoint, prediction: Any, method: str, path: str) -> None:
    answer = endpoint.ask(method, path, PICTURE, PNG)
    assert (answer.status, answer.json) == (200, prediction)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == ORIGIN


FORM, FORM_BODY = form("data", PICTURE, filename="digit.png", content_type="image/png")
FIELD, FIELD_BODY = form("data", b64encode(PICTURE))
BASE64 = b64encode(PICTURE).decode()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (PNG, PICTURE),
        ({"Content-Type": "application/octet-stream"}, PICTURE),
        ({}, PICTURE),
        (FORM, FORM_BODY),
        (FIELD, FIELD_BODY),
        ({"Content-Type": "application/x-www-form-urlencoded"}, urlencode({"data": BASE64}).encode()),
        ({"Content-Type": "application/json"}, json.dumps({"data": BASE64}).encode()),
        ({"Content-Type": "application/json"}, json.dumps({"data": {"b64": BASE64}}).encode()),
    ],
    ids=["image", "octets", "no type", "file", "field", "urlencoded", "JSON", "JSON b64"],
)
def test_every_form_of_body_gives_the_same(
    endpoint: Endpoint, prediction: Any, headers: dict[str, str], body: bytes
) -> None:
    answer = endpoint.ask("POST", "/small/predict", body, headers)
    assert (answer.status, answer.json) == (200, prediction)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/predictions/small/1.3", 404, "ModelNotFoundException"),
        ("POST", "/predictions/small/1", 404, "ModelNotFoundException"),
        ("POST", "/predictions/large", 404, "ModelNotFoundException"),
        ("POST", "/large/predict", 404, "ModelNotFoundException"),
        ("POST", "/models/large/invoke", 404, "ModelNotFoundException"),
        ("POST", "/invocations?model_name=large", 404, "ModelNotFoundException"),
        ("GET", "/models/large", 404, "ModelNotFoundException"),
        ("POST", "/no/such/route", 404, "ResourceNotFoundException"),
        ("GET", "/favicon.ico", 404, "ResourceNotFoundException"),
        ("GET", "/small/predict", 405, "MethodNotAllowedException"),
        ("DELETE", "/predictions/small", 405, "MethodNotAllowedException"),
        ("POST", "/ping", 405, "MethodNotAllowedException"),
        ("POST", "/models", 405, "MethodNotAllowedException"),
        ("DELETE", "/models/small", 405, "MethodNotAllowedException"),
    ],
)
def test_what_is_not_there_is_refused_in_one_shape(
    endpoint: Endpoint, method: str, path: str, status: int, kind: str
) -> None:
    answer = endpoint.ask(method, path, PICTURE, PNG)
    error = answer.json
    assert (answer.status, error["code"], error["type"]) == (status, status, kind)
    assert error["message"]
    assert error["requestId"] == answer.headers["x-request-id"]
    assert ("allow" in answer.headers) == (status == 405)
    assert f'"requestId":"{error["requestId"]}"' in endpoint.log.read_text()


@pytest.mark.parametrize(
    "path", ["/predictions/small", "/small/predict", "/models/small/invoke", "/invocations", "/ping", "/", "/models"]
)
def test_options_are_what_the_route_takes_and_what_cors_allows(endpoint: Endpoint, path: str) -> None:
    answer = endpoint.ask("OPTIONS", path, headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"})
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "OPTIONS" in answer.headers["allow"]


def test_health_is_told_in_the_words_of_both_generations(endpoint: Endpoint) -> None:
    for path in ("/ping", "/"):
        answer = endpoint.ask("GET", path)
        assert (answer.status, answer.json) == (200, {"status": "Healthy", "health": "healthy!"})


def test_the_models_are_listed_and_described(endpoint: Endpoint) -> None:
    (listed,) = endpoint.ask("GET", "/models").json["models"]
    described = endpoint.ask("GET", "/models/small").json
    assert listed["modelName"] == described["modelName"] == "small"
    assert listed["modelUrl"] == described["modelUrl"]
    assert described["modelUrl"].endswith("small.mar")
    assert (described["modelVersion"], described["service"], described["labels"]) == (VERSION, "built-in", 4)
    assert described["signature"] == IMAGE_SIGNATURE


def test_the_openapi_document_names_the_models_own_paths_and_inputs(endpoint: Endpoint) -> None:
    document = endpoint.ask("GET", "/openapi.json").json
    assert document["openapi"].startswith("3.")
    assert {"/small/predict", "/predictions/small", "/ping", "/models"} <= set(document["paths"])
    content = document["paths"]["/predictions/small"]["post"]["requestBody"]["content"]
    assert content["multipart/form-data"]["schema"]["required"] == ["data"]


def test_the_api_description_serves_clients_of_both_generations(endpoint: Endpoint) -> None:
    document = endpoint.ask("GET", "/api-description").json
    assert document["openapi"].startswith("3.")
    assert document["description"]["swagger"] == "2.0"
    assert document["description"]["host"] == f"127.0.0.1:{endpoint.port}"
    assert "/small/predict" in document["description"]["paths"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_is_a_page_that_loads_the_openapi_document(endpoint: Endpoint, path: str) -> None:
    answer = endpoint.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert b"/openapi.json" in answer.body


def test_head_and_garbage_do_not_end_the_process(endpoint: Endpoint, prediction: Any) -> None:
    starts = endpoint.log.read_text().count("INIT_START")
    for sent in (b"", b"\xff" * 1000, b'{"data": NaN}', b"--x\r\n\r\n"):
        for kind in ("application/json", "multipart/form-data; boundary=x", "multipart/form-data", "image/png", "x"):
            refused = endpoint.ask("POST", "/small/predict", sent, {"Content-Type": kind})
            assert 400 <= refused.status < 500, (sent, kind, refused)
    assert endpoint.ask("HEAD", "/ping").status == 405
    again: Answer = endpoint.ask("POST", "/small/predict", PICTURE, PNG)
    assert (again.status, again.json) == (200, prediction)
    assert endpoint.log.read_text().count("INIT_START") == starts == 1
