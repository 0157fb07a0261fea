"""Every HTTP event down both ways, our own route table and FastAPI behind Mangum: same status, headers and body.

Both sides are compared in the source's own normal form: what the client gets of the dict that goes back to AWS.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from gluon_lambda.archive_store.archive import open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.archive_store.manifest import Manifest
from gluon_lambda.archive_store.signature import Signature
from gluon_lambda.event_sources.selection import select
from gluon_lambda.event_sources.wire import Placement
from gluon_lambda.http_app.app import HttpApp
from gluon_lambda.http_app.descriptions import model_description, openapi_paths
from gluon_lambda.http_app.mangum_adapter import create_adapter
from gluon_lambda.http_app.responses import Cors
from gluon_lambda.runtime.engine import Engine
from gluon_lambda.services.load import load_service
from gluon_lambda.services.models import LoadedModel, Models
from gluon_lambda.types import Event, Request
from tests.conftest import FakeContext
from tests.events.gateways import GATEWAYS, Sent, golden

HTTP_EVENTS = [
    "alb",
    "alb_health_check",
    "alb_multi_value",
    "function_url",
    "http_api_1_0",
    "http_api_2_0",
    "rest_api",
    "rest_api_base64",
]


def png(size: tuple[int, int] = (8, 8)) -> bytes:
    file = BytesIO()
    Image.linear_gradient("L").resize(size).save(file, "PNG")
    return file.getvalue()


def multipart(name: str, content: bytes, content_type: str = "image/png") -> tuple[str, bytes]:
    head = (
        f'--frontier\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\nContent-Type: {content_type}'
    )
    return "multipart/form-data; boundary=frontier", head.encode() + b"\r\n\r\n" + content + b"\r\n--frontier--\r\n"


FORM_TYPE, FORM_BODY = multipart("data", png())
IMAGE = (("Content-Type", "image/png"),)
FORM = (("Content-Type", FORM_TYPE),)
JSON = (("Content-Type", "application/json"),)

REQUESTS: dict[str, Sent] = {
    "form": Sent(path="/small/predict", headers=FORM, body=FORM_BODY),
    "raw image": Sent(path="/predictions/small", body=png()),
    "put": Sent("PUT", "/predictions/small", body=png()),
    "version": Sent(path="/predictions/small/snapshot", body=png()),
    "wrong version": Sent(path="/predictions/small/2", body=png()),
    "invoke": Sent(path="/models/small/invoke", body=png()),
    "invocations": Sent(path="/invocations", body=png()),
    "invocations by name": Sent(path="/invocations", query=(("model_name", "small"),), body=png()),
    "invocations of another": Sent(path="/invocations", query=(("model_name", "large"),), body=png()),
    "tensor": Sent(path="/tensors/predict", headers=JSON, body=json.dumps({"data": [[[[0.5] * 8] * 8]]}).encode()),
    "tensor misshapen": Sent(path="/tensors/predict", headers=JSON, body=b'{"data": [[1, 2]]}'),
    "not json": Sent(path="/tensors/predict", headers=JSON, body=b"{"),
    "truncated image": Sent(path="/small/predict", body=png((64, 64))[:-60]),
    "empty body": Sent(path="/small/predict", body=None),
    "form without end": Sent(path="/small/predict", headers=FORM, body=FORM_BODY[:-20]),
    "cookies and repeats": Sent(
        path="/small/predict",
        headers=(*IMAGE, ("X-A", "1"), ("X-A", "2")),
        query=(("q", "1"), ("q", "2"), ("leer", ""), ("ü", "a b")),
        cookies=("a=1", "b=2"),
        body=png(),
    ),
    "get on 1.x": Sent("GET", "/predictions/small", body=None),
    "get on 0.4": Sent("GET", "/small/predict", body=None),
    "delete": Sent("DELETE", "/predictions/small", body=None),
    "options": Sent("OPTIONS", "/predictions/small", body=None),
    "options of a document": Sent("OPTIONS", "/models", body=None),
    "options of nothing": Sent("OPTIONS", "/a/b/c/d", body=None),
    "ping": Sent("GET", "/ping", headers=(), body=None),
    "post to ping": Sent("POST", "/ping", body=None),
    "post to a document": Sent("POST", "/models", body=None),
    "no such model": Sent(path="/large/predict", body=png()),
    "no such route": Sent("GET", "/a/b/c/d", body=None),
    "unicode path": Sent("GET", "/größe/x", body=None),
    "trailing slash": Sent(path="/small/predict/", body=png()),
    "compressed": Sent(path="/small/predict", headers=(*IMAGE, ("Content-Encoding", "gzip")), body=png()),
}


class CodeArchive(NamedTuple):
    """What descriptions look at of an archive that brings its own service."""

    manifest: Manifest
    signature: Signature | None


class BrokenModels(Models):
    """Models whose finding has a defect."""

    def get(self, name: str) -> LoadedModel:
        raise RuntimeError(f"secret of {name}")


class Ways(NamedTuple):
    http: HttpApp
    mangum: Callable[[Event, Any, str], Event]


@pytest.fixture(scope="module", params=["plain", "cors"])
def ways(
    request: pytest.FixtureRequest,
    engine: Engine,
    image_archive: Path,
    tensor_archive: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ways]:
    cache = open_cache(str(tmp_path_factory.mktemp("cache")))
    models = {}
    for name, path in (("small", image_archive), ("tensors", tensor_archive)):
        archive = open_archive(name, parse_location(str(path)), cache=cache)
        models[name] = LoadedModel(name, archive, load_service(archive, make_predictor=engine))
    cors = Cors("https://example.com", "GET, POST", "*") if request.param == "cors" else Cors()
    http = HttpApp(Models(models), cors)
    yield Ways(http, create_adapter(http))
    for model in models.values():
        model.close()


def directly(event: Event, ways: Ways) -> Event | None:
    source = select(event)
    request = source.to_request(event, FakeContext(), Placement())
    assert isinstance(request, Request)
    answer = ways.http.answer(request)
    return None if answer is None else dict(source.to_response(answer.response, event))


def through_mangum(event: Event, ways: Ways) -> Event:
    request = select(event).to_request(event, FakeContext(), Placement())
    assert isinstance(request, Request)
    return ways.mangum(event, FakeContext(), request.path)


def normal_form(answer: Event) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers (names in lower case, sorted) and body as the client gets them."""
    headers = {(name.lower(), value) for name, value in (answer.get("headers") or {}).items()}
    headers |= {
        (name.lower(), value) for name, values in (answer.get("multiValueHeaders") or {}).items() for value in values
    }
    headers |= {("set-cookie", cookie) for cookie in answer.get("cookies") or ()}
    body = answer.get("body") or ""
    return answer["statusCode"], sorted(headers), b64decode(body) if answer.get("isBase64Encoded") else body.encode()


@pytest.mark.parametrize("sent", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=GATEWAYS)
def test_both_ways_give_the_same_answer(ways: Ways, gateway: Callable[[Sent], Event], sent: Sent) -> None:
    event = gateway(sent)
    answer = directly(event, ways)
    assert answer is not None
    assert normal_form(answer) == normal_form(through_mangum(event, ways))


@pytest.mark.parametrize("name", HTTP_EVENTS)
def test_the_documented_events_get_the_same_answer_both_ways(ways: Ways, name: str) -> None:
    event = golden(name)
    answer = directly(event, ways)
    if answer is None:  # a document: FastAPI's alone
        assert through_mangum(event, ways)["statusCode"] == 200
    else:
        assert normal_form(answer) == normal_form(through_mangum(event, ways))


def test_the_requests_cover_every_outcome(ways: Ways) -> None:
    statuses = set()
    for sent in REQUESTS.values():
        answer = directly(GATEWAYS["http_api_2_0"](sent), ways)
        assert answer is not None
        statuses.add(answer["statusCode"])
    assert statuses >= {200, 400, 404, 405, 415}


DOCUMENTS = ["/", "/models", "/models/small", "/api-description", "/openapi.json", "/docs", "/redoc"]


@pytest.mark.parametrize("path", DOCUMENTS)
@pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=GATEWAYS)
def test_documents_are_fastapis(ways: Ways, gateway: Callable[[Sent], Event], path: str) -> None:
    event = gateway(Sent("GET", path, headers=(), body=None))
    assert directly(event, ways) is None
    assert through_mangum(event, ways)["statusCode"] == 200


def document(ways: Ways, path: str, **query: str) -> Any:
    event = GATEWAYS["http_api_2_0"](Sent("GET", path, headers=(), query=tuple(query.items()), body=None))
    status, _, body = normal_form(through_mangum(event, ways))
    return {"status": status, **json.loads(body)}


def test_models_are_listed_and_paged_as_mms_does(ways: Ways) -> None:
    first = document(ways, "/models", limit="1")
    assert [model["modelName"] for model in first["models"]] == ["small"]
    second = document(ways, "/models", limit="1", next_page_token=first["nextPageToken"])
    assert [model["modelName"] for model in second["models"]] == ["tensors"]
    assert "nextPageToken" not in second
    assert document(ways, "/models", limit="many")["code"] == 400


def test_a_model_is_described(ways: Ways) -> None:
    described = document(ways, "/models/small")
    assert described["modelVersion"] == "snapshot"
    assert described["signature"]["inputs"][0]["data_shape"] == [0, 1, 8, 8]
    assert described["labels"] == 4
    assert described["loadedAtStartup"] is True
    assert model_description(ways.http.models.get("small"), configured=())["loadedAtStartup"] is False
    missing = document(ways, "/models/large")
    assert (missing["status"], missing["type"]) == (404, "ModelNotFoundException")


def test_openapi_has_each_models_signature(ways: Ways) -> None:
    described = document(ways, "/openapi.json")
    assert described["info"]["version"] == "1"
    paths = described["paths"]
    image = paths["/small/predict"]["post"]
    assert image["requestBody"]["content"]["multipart/form-data"]["schema"]["required"] == ["data"]
    answer = image["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["properties"]["prediction"]["items"]["properties"]["class"] == {"type": "string"}
    tensor = paths["/predictions/tensors"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert tensor["properties"]["data"]["items"]["items"]["items"]["maxItems"] == 8


def test_openapi_promises_no_answer_that_nobody_gives(ways: Ways) -> None:
    described = document(ways, "/openapi.json")
    assert "ValidationError" not in json.dumps(described)
    assert "422" not in {
        status for item in described["paths"].values() for one in item.values() for status in one["responses"]
    }


def test_the_description_serves_clients_of_either_mms(ways: Ways) -> None:
    described = document(ways, "/api-description")
    assert described["openapi"].startswith("3.")
    operation = described["description"]["paths"]["/small/predict"]["post"]
    assert operation["parameters"] == [
        {"in": "formData", "name": "data", "type": "file", "required": True, "description": "[0, 1, 8, 8]"}
    ]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_documents_carry_the_headers_of_every_response(ways: Ways, path: str) -> None:
    """CORS's among them: without them no page of another origin may read /openapi.json."""
    ping = normal_form(through_mangum(GATEWAYS["http_api_2_0"](REQUESTS["ping"]), ways))[1]
    told = normal_form(through_mangum(GATEWAYS["http_api_2_0"](Sent("GET", path, headers=(), body=None)), ways))[1]
    assert {name for name, _ in ping} <= {name for name, _ in told}
    assert set(ping) - {("content-type", "application/json")} <= set(told)


def test_openapi_declares_nothing_of_what_a_service_s_own_code_takes(ways: Ways) -> None:
    model = ways.http.models.get("tensors")
    archive = model.archive
    served: Any = CodeArchive(archive.manifest._replace(service="service.py"), archive.signature)
    schema = openapi_paths(model._replace(archive=served))["/tensors/predict"]["post"]
    assert schema["requestBody"]["content"]["application/json"]["schema"]["properties"] == {"data": {}}


def test_a_defect_is_answered_in_the_one_shape_and_its_text_is_not_told(ways: Ways) -> None:
    adapter = create_adapter(HttpApp(BrokenModels({}), Cors()))
    event = GATEWAYS["http_api_2_0"](Sent("GET", "/models/small", headers=(), body=None))
    status, headers, body = normal_form(adapter(event, FakeContext("id-9"), "/models/small"))
    told = json.loads(body)
    assert (status, told["code"], told["requestId"]) == (500, 500, "id-9")
    assert ("x-request-id", "id-9") in headers
    assert "secret" not in told["message"]


@pytest.mark.parametrize("name", ["http_api_2_0_on_stage", "http_api_1_0_on_stage"])
def test_the_documentation_page_finds_its_document_under_a_stage(ways: Ways, name: str) -> None:
    event = GATEWAYS[name](Sent("GET", "/docs", headers=(), body=None))
    _, _, page = normal_form(through_mangum(event, ways))
    assert b"'/prod/openapi.json'" in page


def test_no_request_starts_or_stops_the_app(ways: Ways) -> None:
    """lifespan="off": otherwise Mangum would run start-up and shut-down around every single request."""
    before = ways.http.models.get("small")
    for _ in range(3):
        through_mangum(GATEWAYS["http_api_2_0"](REQUESTS["ping"]), ways)
    assert ways.http.models.get("small") is before
