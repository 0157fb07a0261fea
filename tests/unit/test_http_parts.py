"""The parts of http_app, one by one: routes, bodies, JSON, errors, headers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from gluon_lambda import errors
from gluon_lambda.errors import (
    GluonLambdaError,
    InferenceError,
    MalformedBody,
    MethodNotAllowed,
    PayloadTooLarge,
    RouteNotFound,
    UnsupportedMediaType,
)
from gluon_lambda.http_app.bodies import read_payload
from gluon_lambda.http_app.error_table import STATUS, error_response, mapped
from gluon_lambda.http_app.multipart import parse_multipart
from gluon_lambda.http_app.responses import Cors, finished, options_response, prediction_response
from gluon_lambda.http_app.routes import DESCRIBE, OPTIONS, PING, PREDICT, Route, find_route
from gluon_lambda.services.json_text import json_bytes
from gluon_lambda.types import Pairs, Part, Prediction, Request, Response


class TestRoutes:
    @pytest.mark.parametrize(
        ("method", "path", "expected"),
        [
            ("POST", "/m/predict", ("m", "")),
            ("POST", "/m/predict/", ("m", "")),
            ("POST", "/predictions/m", ("m", "")),
            ("PUT", "/predictions/m", ("m", "")),
            ("GET", "/predictions/m/1.0", ("m", "1.0")),
            ("POST", "/models/m/invoke", ("m", "")),
            ("PUT", "/invocations", ("", "")),
            ("GET", "/invocations", ("", "")),
            ("POST", "/predict/predict", ("predict", "")),
        ],
    )
    def test_predictions(self, method: str, path: str, expected: tuple[str, str]) -> None:
        route = find_route(method, path)
        assert (route.kind, (route.model, route.version)) == (PREDICT, expected)

    @pytest.mark.parametrize(
        "path", ["/", "/models", "/models/m", "/api-description", "/docs", "/openapi.json", "/redoc"]
    )
    def test_documents(self, path: str) -> None:
        assert find_route("GET", path).kind == DESCRIBE

    def test_ping(self) -> None:
        assert find_route("GET", "/ping").kind == PING

    @pytest.mark.parametrize(
        "path", ["/x", "//", "/m/predict/1", "/predictions", "/predictions/", "/predictions//1", "/models/m/x", ""]
    )
    def test_other_paths_are_not_found(self, path: str) -> None:
        with pytest.raises(RouteNotFound, match=r"POST /\{model\}/predict"):
            find_route("POST", path)

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", "/m/predict", ("POST", "OPTIONS")),
            ("DELETE", "/predictions/m", ("GET", "POST", "PUT", "OPTIONS")),
            ("POST", "/ping", ("GET", "OPTIONS")),
            ("HEAD", "/models", ("GET", "OPTIONS")),
        ],
    )
    def test_a_wrong_method_is_told_the_right_ones(self, method: str, path: str, allowed: tuple[str, ...]) -> None:
        with pytest.raises(MethodNotAllowed) as refused:
            find_route(method, path)
        assert refused.value.allowed == allowed

    def test_options_of_any_route(self) -> None:
        assert find_route("OPTIONS", "/m/predict") == Route(OPTIONS, ("POST",), "m", query_is_input=True)


def request(body: bytes = b"", content_type: str = "", query: Pairs = (), **headers: str) -> Request:
    named = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Request("POST", "/m/predict", query, tuple(named.items()), body, "id", lambda: 1000)


def multipart(*sections: bytes, boundary: bytes = b"b") -> bytes:
    return (
        b"".join(b"--" + boundary + b"\r\n" + section + b"\r\n" for section in sections) + b"--" + boundary + b"--\r\n"
    )


FIELD = b'Content-Disposition: form-data; name="a"\r\n\r\n1'


class TestBodies:
    def test_a_raw_body_is_one_part(self) -> None:
        payload = read_payload(request(b"\x89PNG", "Image/PNG; q=1"), query_is_input=True)
        assert payload.parts == (Part("body", b"\x89PNG", "image/png"),)

    def test_query_parameters_come_first_where_they_are_inputs(self) -> None:
        asked = request(b"{}", "application/json", (("a", "1"), ("model_name", "m")))
        assert [part.name for part in read_payload(asked, query_is_input=True).parts] == ["a", "body"]
        assert [part.name for part in read_payload(asked, query_is_input=False).parts] == ["body"]

    def test_an_empty_body_counts_only_where_nothing_else_is_there(self) -> None:
        assert read_payload(request(), query_is_input=True).parts == (Part("body", b""),)
        assert [part.name for part in read_payload(request(query=(("a", "1"),)), query_is_input=True).parts] == ["a"]

    def test_form_fields_keep_their_order_repeats_and_blanks(self) -> None:
        body = b"a=1&b=%C3%BC+x&a=&c=%5B1%5D"
        payload = read_payload(request(body, "application/x-www-form-urlencoded"), query_is_input=False)
        assert [(part.name, part.value) for part in payload.parts] == [
            ("a", b"1"),
            ("b", "ü x".encode()),
            ("a", b""),
            ("c", b"[1]"),
        ]

    @pytest.mark.parametrize("body", [b'{"data": 1}', b"\xff\xd8\xff", b"&&"])
    def test_what_is_no_form_says_how_to_send_it(self, body: bytes) -> None:
        with pytest.raises(MalformedBody, match="Content-Type: application/json"):
            read_payload(request(body, "application/x-www-form-urlencoded"), query_is_input=False)

    def test_a_compressed_body_is_refused(self) -> None:
        with pytest.raises(UnsupportedMediaType, match="gzip"):
            read_payload(request(b"x", content_encoding="gzip"), query_is_input=False)


class TestMultipart:
    def parse(self, body: bytes, content_type: str = "multipart/form-data; boundary=b") -> tuple[Part, ...]:
        return parse_multipart(body, content_type)

    def test_files_and_fields(self) -> None:
        file = b'Content-Disposition: form-data; name="data"; filename="k.jpg"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\r\n--bc\x00'
        assert self.parse(multipart(FIELD, file)) == (
            Part("a", b"1"),
            Part("data", b"\xff\xd8\r\n--bc\x00", "image/jpeg", "k.jpg"),
        )

    def test_content_is_kept_byte_for_byte(self) -> None:
        content = bytes(range(256)) + b"\r\n\r\n--\r\n"
        body = multipart(b'Content-Disposition: form-data; name="x"\r\n\r\n' + content, boundary=b"----long")
        assert self.parse(body, 'multipart/form-data; boundary="----long"')[0].value == content

    def test_preamble_and_epilogue_are_passed_over(self) -> None:
        assert self.parse(b"hello\r\n" + multipart(FIELD) + b"bye") == (Part("a", b"1"),)

    def test_headers_of_parts_in_any_case_and_unquoted(self) -> None:
        section = (
            b"CONTENT-DISPOSITION:form-data;NAME=a;filename=x.txt\r\ncontent-TYPE:Text/Plain;charset=utf-8\r\n\r\nhi"
        )
        assert self.parse(multipart(section)) == (Part("a", b"hi", "text/plain", "x.txt"),)

    def test_quoted_names_with_escapes_and_utf_8(self) -> None:
        section = 'Content-Disposition: form-data; name="d\\"ü"; filename="C:\\dir\\a;b.png"\r\n\r\n1'.encode()
        (part,) = self.parse(multipart(section))
        assert (part.name, part.filename) == ('d"ü', "C:\\dir\\a;b.png")

    def test_base64_parts_are_decoded(self) -> None:
        section = b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\naGk='
        assert self.parse(multipart(section))[0].value == b"hi"

    def test_a_form_of_no_parts_is_empty(self) -> None:
        assert self.parse(b"--b--\r\n") == ()

    @pytest.mark.parametrize(
        ("body", "content_type", "says"),
        [
            (multipart(FIELD), "multipart/form-data", "without a boundary"),
            (multipart(FIELD)[:-6], "multipart/form-data; boundary=b", "closing boundary"),
            (b"", "multipart/form-data; boundary=b", "closing boundary"),
            (b"just text", "multipart/form-data; boundary=b", "closing boundary"),
            (multipart(b"no blank line"), "multipart/form-data; boundary=b", "no blank line"),
            (multipart(b"X: y\r\n\r\n1"), "multipart/form-data; boundary=b", "Content-Disposition"),
            (multipart(b"Content-Disposition: form-data\r\n\r\n1"), "multipart/form-data; boundary=b", 'name="'),
        ],
    )
    def test_what_does_not_parse_is_named(self, body: bytes, content_type: str, says: str) -> None:
        with pytest.raises(MalformedBody, match=says):
            self.parse(body, content_type)

    def test_a_thousand_parts_are_too_many(self) -> None:
        with pytest.raises(PayloadTooLarge, match="1001 parts"):
            self.parse(multipart(*[FIELD] * 1001))


class TestJson:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (np.float32(0.5), "0.5"),
            (np.arange(4).reshape(2, 2), "[[0,1],[2,3]]"),
            ({"a": np.int64(3), "b": (1, 2)}, '{"a":3,"b":[1,2]}'),
            (float("nan"), "null"),
            ([float("inf"), -float("inf"), 1.5], "[null,null,1.5]"),
            (np.array([1.0, np.nan], "float32"), "[1.0,null]"),
            ({"deep": [{"x": np.float64("nan")}]}, '{"deep":[{"x":null}]}'),
            ({np.int64(1): "a", 2: "b", None: "c", False: "d"}, '{"1":"a","2":"b","null":"c","false":"d"}'),
            ({3: "b"}, '{"3":"b"}'),
            (np.bool_(True), "true"),
            (np.str_("x"), '"x"'),
            ("größe", '"größe"'),
            (map(str, [1]), '["1"]'),
            (np.float16(1.5), "1.5"),
            (10**30, "1" + "0" * 30),
        ],
    )
    def test_everything_that_a_net_answers_becomes_valid_json(self, value: Any, text: str) -> None:
        written = json_bytes(value)
        assert written.decode() == text
        json.loads(written, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    def test_half_a_surrogate_pair_stays_valid_utf_8(self) -> None:
        assert json.loads(json_bytes("ü\ud800").decode()) == "ü\ud800"

    @pytest.mark.parametrize("value", [object(), {"a": object()}, b"bytes", 1j, {(1, object()): 1}])
    def test_what_json_cannot_hold_is_named(self, value: Any) -> None:
        with pytest.raises(InferenceError, match="which JSON cannot hold") as refused:
            json_bytes(value)
        assert refused.value.phase == "postprocess"

    def test_a_value_that_contains_itself_is_refused(self) -> None:
        loop: list[Any] = []
        loop.append(loop)
        with pytest.raises(InferenceError, match="containing itself"):
            json_bytes(loop)


def every_error() -> list[type[GluonLambdaError]]:
    found, todo = [], [GluonLambdaError]
    while todo:
        cls = todo.pop()
        found.append(cls)
        todo += cls.__subclasses__()
    return [cls for cls in found if cls.__module__ == errors.__name__]


class TestErrors:
    def test_every_leaf_is_mapped_by_its_own_family(self) -> None:
        unmapped = [
            cls.__name__
            for cls in every_error()
            if _entry(cls) in (Exception, GluonLambdaError) and cls is not GluonLambdaError
        ]
        assert unmapped == []

    def test_the_tree_drawn_in_the_docstring_is_the_tree(self) -> None:
        drawn = {
            word for word in (errors.__doc__ or "").replace("│", " ").replace("├──", " ").replace("└──", " ").split()
        }
        assert {cls.__name__ for cls in every_error()} <= drawn

    def test_what_the_client_did_is_4xx_and_what_is_internal_5xx(self) -> None:
        for cls in every_error():
            status = mapped(cls("x")).status
            if issubclass(cls, errors.RequestError):
                assert 400 <= status < 500, cls
            if issubclass(cls, (errors.InferenceError, errors.StoreUnavailable, errors.ArchiveCorrupt)):
                assert status >= 500, cls

    def test_the_body_is_mms_s_with_the_request_id(self) -> None:
        response = error_response(errors.ModelNotFound("Model not found: x"), "id-1")
        assert json.loads(response.body) == {
            "code": 404,
            "type": "ModelNotFoundException",
            "message": "Model not found: x",
            "requestId": "id-1",
        }

    def test_the_phase_is_told(self) -> None:
        body = json.loads(error_response(errors.InputMismatch("x", phase="preprocess"), "i").body)
        assert (body["code"], body["phase"]) == (400, "preprocess")

    def test_a_prediction_exception_keeps_code_and_text(self) -> None:
        response = error_response(InferenceError("too dark", status=422, phase="handle"), "i")
        assert (response.status, json.loads(response.body)["message"]) == (422, "too dark")

    @pytest.mark.parametrize(
        "error",
        [
            InferenceError("secret path /x"),
            errors.ArchiveCorrupt("secret"),
            ValueError("secret"),
            errors.OutOfMemory("secret"),
        ],
    )
    def test_what_is_internal_is_not_told(self, error: Exception) -> None:
        body = error_response(error, "i").body
        assert b"secret" not in body
        assert b"log names the cause under the request id" in body

    def test_a_model_that_cannot_be_loaded_says_when_to_come_again(self) -> None:
        response = error_response(errors.StoreUnavailable("x"), "i")
        assert (response.status, dict(response.headers)["retry-after"]) == (503, "30")

    def test_a_wrong_method_names_the_right_ones(self) -> None:
        response = error_response(MethodNotAllowed("x", allowed=("GET", "OPTIONS")), "i")
        assert (response.status, dict(response.headers)["allow"]) == (405, "GET, OPTIONS")


def _entry(cls: type[BaseException]) -> type[BaseException]:
    return next(base for base in cls.__mro__ if base in STATUS)


class TestResponses:
    def test_text_and_bytes_go_out_as_they_are(self) -> None:
        text = prediction_response(Prediction("größe", raw=True))
        assert (text.body, dict(text.headers)["content-type"]) == ("größe".encode(), "text/plain; charset=utf-8")
        raw = prediction_response(Prediction(bytearray(b"\x00\xff"), raw=True))
        assert (raw.body, dict(raw.headers)["content-type"]) == (b"\x00\xff", "application/octet-stream")

    def test_a_service_sets_status_type_and_headers(self) -> None:
        prediction = Prediction(
            b"x", raw=True, content_type="image/png", status=201, headers=(("X-A", "1"), ("Content-Length", "9"))
        )
        assert prediction_response(prediction) == Response(201, (("content-type", "image/png"), ("x-a", "1")), b"x")

    def test_every_response_carries_request_id_and_is_not_cached(self) -> None:
        headers = dict(finished(Response(200, (), b""), Cors(), "id-1").headers)
        assert headers["x-request-id"] == "id-1"
        assert "no-store" in headers["cache-control"]
        assert "access-control-allow-origin" not in headers

    def test_a_service_s_own_header_is_kept(self) -> None:
        headers = finished(Response(200, (("cache-control", "max-age=60"),), b""), Cors(), "i").headers
        assert [value for name, value in headers if name == "cache-control"] == ["max-age=60"]

    def test_cors_is_as_configured(self) -> None:
        cors = Cors("https://a.example", "POST", "content-type")
        headers = dict(finished(options_response(("POST",), cors), cors, "i").headers)
        assert headers["access-control-allow-origin"] == "https://a.example"
        assert headers["access-control-allow-methods"] == "POST"
        assert headers["access-control-allow-headers"] == "content-type"
        assert headers["vary"] == "Origin"
        assert "vary" not in dict(finished(Response(200, (), b""), Cors("*"), "i").headers)
