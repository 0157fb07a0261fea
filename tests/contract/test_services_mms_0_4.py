"""MMS 0.4 services: how they are found and constructed, what they are given, whose fault it is. Without MXNet, which these need not."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from gluon_lambda.errors import (
    GluonLambdaError,
    InferenceError,
    InputMismatch,
    MalformedBody,
    OutOfMemory,
    PayloadTooLarge,
    ServiceLoadError,
    SignatureInvalid,
)
from gluon_lambda.services.load import load_service
from gluon_lambda.services.mms_0_4_inputs import parse_list
from gluon_lambda.types import Part, Service
from tests.service_archives import (
    Code,
    field,
    manifest_0_4,
    manifest_1_x,
    opened,
    payload,
    refuse_to_predict,
    served_0_4,
    signature,
    write_files,
)

BASE = "from mms.model_service.model_service import SingleNodeService\n"
ECHO = BASE + "class Echo(SingleNodeService):\n    def _inference(self, data):\n        return repr(data)\n"
JPEG = Part("data", b"\xff\xd8 jpeg", "image/jpeg", "kitten.jpg")


def echo(folder: Path, input_type: str) -> Service:
    return served_0_4(folder, ECHO, input_type=input_type)


def answer(service: Service, *parts: Part) -> object:
    return service.predict(payload(*parts)).value["prediction"]


def test_a_service_is_constructed_by_position_with_the_manifests_own_name(tmp_path: Path) -> None:
    code = BASE + (
        "class Odd(SingleNodeService):\n"
        "    def __init__(self, a, b, c, d):\n        self.given = [a, b, c['Model']['Service'], d]\n"
        "    def _postprocess(self, data):\n        return self.given\n"
    )
    service = served_0_4(tmp_path, code, name="served-as")
    assert answer(service, field("[]")) == ["manifest-name", str(tmp_path), "service.py", None]


def test_the_three_phases_run_in_order_and_are_timed(tmp_path: Path) -> None:
    code = BASE + (
        "class Three(SingleNodeService):\n"
        "    def _preprocess(self, data):\n        return data + ['pre']\n"
        "    def _inference(self, data):\n        return data + ['inf']\n"
        "    def _postprocess(self, data):\n        return data + ['post']\n"
    )
    prediction = served_0_4(tmp_path, code).predict(payload(field("[1]")))
    assert prediction.value == {"prediction": [[1], "pre", "inf", "post"]}
    assert [phase for phase, _ in prediction.phases] == ["preprocess", "inference", "postprocess"]
    assert all(milliseconds >= 0 for _, milliseconds in prediction.phases)


def test_a_service_that_overrides_inference_is_called_as_it_wants_to_be(tmp_path: Path) -> None:
    code = BASE + (
        "from mms.metrics_manager import MetricsManager\n"
        "class Own(SingleNodeService):\n"
        "    def inference(self, data):\n"
        "        assert 'x_LatencyInference' not in MetricsManager.metrics\n"
        "        return {'result': self._preprocess(data)}\n"
        "    def _preprocess(self, data):\n        return 1 // len(data[0])\n"
    )
    service = served_0_4(tmp_path, code)
    prediction = service.predict(payload(field("[1]")))
    assert prediction.value == {"prediction": {"result": 1}}
    assert [phase for phase, _ in prediction.phases] == ["preprocess"]
    with pytest.raises(InputMismatch):
        service.predict(payload(field("[]")))


@pytest.mark.parametrize("file", ["service.py", "my-model.service.py"])
def test_a_service_file_of_any_name_and_its_siblings_are_imported(tmp_path: Path, file: str) -> None:
    files: Code = {
        "MANIFEST.json": manifest_0_4(file),
        "signature.json": signature("application/json"),
        "base.py": ECHO,
        file: "from base import Echo\nclass Real(Echo):\n    pass\n",
    }
    service = load_service(opened(write_files(tmp_path / "a", files)), make_predictor=refuse_to_predict)
    assert answer(service, field("[1]")) == "[[1]]"


def test_the_envelope_of_a_1_x_archive_is_none_even_for_a_0_4_service(tmp_path: Path) -> None:
    files: Code = {
        "MAR-INF/MANIFEST.json": manifest_1_x("service.py"),
        "signature.json": signature("application/json"),
        "service.py": ECHO,
    }
    service = load_service(opened(write_files(tmp_path / "a", files)), make_predictor=refuse_to_predict)
    assert service.predict(payload(field("[1]"))).value == "[[1]]"


def test_several_services_are_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceLoadError, match=r"service.py holds several services \(Echo, Other\)"):
        served_0_4(tmp_path, ECHO + "class Other(SingleNodeService):\n    pass\n")


def test_what_the_constructor_raises_fails_the_load_with_file_and_line(tmp_path: Path) -> None:
    code = BASE + "class Bad(SingleNodeService):\n    def __init__(self, *args):\n        open('nothing.bin')\n"
    with pytest.raises(
        ServiceLoadError, match=r"constructing Bad failed at service.py:4: FileNotFoundError: .*nothing.bin"
    ):
        served_0_4(tmp_path, code)


def test_a_constructor_that_runs_out_of_memory_says_so(tmp_path: Path) -> None:
    code = BASE + "class Big(SingleNodeService):\n    def __init__(self, *args):\n        raise MemoryError()\n"
    with pytest.raises(OutOfMemory, match="Archive model: constructing Big ran out of memory"):
        served_0_4(tmp_path, code)


def test_an_input_type_that_mms_0_4_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SignatureInvalid, match="input_type is 'text/csv'"):
        served_0_4(tmp_path, ECHO, input_type="text/csv")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[{'review': 'good'}]", [{"review": "good"}]),
        ('[{"review": "good", "seen": true, "by": null}]', [{"review": "good", "seen": True, "by": None}]),
        ("[(1, 2), 'x']", [(1, 2), "x"]),
        (" []", []),
    ],
)
def test_a_json_field_is_a_python_literal_or_json(tmp_path: Path, text: str, value: object) -> None:
    assert answer(echo(tmp_path, "application/json"), field(text)) == repr([value])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'a': 1}", "Input data is of type dict; a list is expected"),
        ("not a literal", "neither a Python literal nor JSON"),
        ("__import__('os').getcwd()", "neither a Python literal nor JSON"),
        ("[" * 100_000, "neither a Python literal nor JSON"),
        ("[" + "-" * 50_000 + "1]", "neither a Python literal nor JSON"),
        (b"\xff\xfe", "not UTF-8"),
        ("", "neither a Python literal nor JSON"),
    ],
)
def test_a_json_field_that_is_no_list_is_the_clients_fault(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputMismatch, match=message):
        answer(echo(tmp_path, "application/json"), field(text))


def test_json_bodies_and_direct_invokes_bring_inputs_by_name_or_the_only_one(tmp_path: Path) -> None:
    service = echo(tmp_path, "application/json")
    for value in ({"data": [1]}, [1]):
        for body in (value, json.dumps(value).encode()):
            assert answer(service, Part("body", body, "application/json")) == "[[1]]"


def test_a_body_that_is_not_json_as_it_says_is_malformed(tmp_path: Path) -> None:
    with pytest.raises(MalformedBody, match="body is not JSON"):
        answer(echo(tmp_path, "application/json"), Part("body", b"[1", "application/json"))


@pytest.mark.parametrize(
    "part",
    [
        JPEG,
        Part("data", base64.b64encode(JPEG.value)),
        Part("data", base64.encodebytes(JPEG.value)),
        Part("body", JPEG.value, "image/jpeg"),
        Part("body", JPEG.value, "application/octet-stream"),
        Part("body", JPEG.value),
        Part("body", {"data": base64.b64encode(JPEG.value).decode()}, "application/json"),
        Part("body", {"data": {"b64": base64.b64encode(JPEG.value).decode()}}, "application/json"),
        Part("body", json.dumps(base64.b64encode(JPEG.value).decode()).encode(), "application/json"),
    ],
)
def test_an_image_comes_as_a_file_in_base64_or_as_the_body(tmp_path: Path, part: Part) -> None:
    assert answer(echo(tmp_path, "image/jpeg"), part) == repr([JPEG.value])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (JPEG._replace(content_type="image/png"), "image/jpeg is expected but image/png is given"),
        (JPEG._replace(content_type=""), "image/jpeg is expected but no content type is given"),
        (Part("body", b"png", "image/png"), "image/jpeg is expected but image/png is given"),
        (Part("data", b"abcd!!!!"), "Input data is not base64"),
        (Part("body", {"data": 7}, "application/json"), "an image in base64 is expected"),
        (JPEG._replace(name="image"), r"expects an input called data \(image/jpeg\).*; image came"),
        (Part("body", b"", ""), "expects an input called data .*; nothing came"),
        (Part("body", {"image": "x"}, "application/json"), "expects an input called data .*; image came"),
    ],
)
def test_what_is_no_jpeg_for_the_input_is_the_clients_fault(tmp_path: Path, part: Part, message: str) -> None:
    with pytest.raises(InputMismatch, match=message):
        answer(echo(tmp_path, "image/jpeg"), part)


def test_the_data_list_has_the_signatures_order_and_of_repeated_names_the_first(tmp_path: Path) -> None:
    files: Code = {
        "signature.json": signature("application/json", *({"data_name": n, "data_shape": [0]} for n in "ab"))
    }
    service = served_0_4(tmp_path, ECHO, files)
    assert answer(service, field("[2]", "b"), field("[1]", "a"), field("[3]", "b")) == "[[1], [2]]"
    with pytest.raises(InputMismatch, match=r"expects an input called a .*; b came"):
        answer(service, field("[2]", "b"))
    with pytest.raises(InputMismatch, match=r"expects an input called a .*; body came"):
        answer(service, Part("body", b"[1]", "text/plain"))


@pytest.mark.parametrize(
    ("method", "raised", "kind", "phase"),
    [
        ("_preprocess", "ValueError('secret')", InputMismatch, "preprocess"),
        ("_preprocess", "MemoryError()", OutOfMemory, "preprocess"),
        ("_inference", "ValueError('secret')", InferenceError, "inference"),
        ("_inference", "MemoryError()", OutOfMemory, "inference"),
        ("_postprocess", "IndexError('secret')", InferenceError, "postprocess"),
        ("_postprocess", "SystemExit(3)", InferenceError, "postprocess"),
    ],
)
def test_whose_fault_it_is_follows_from_the_phase(
    tmp_path: Path, method: str, raised: str, kind: type[GluonLambdaError], phase: str
) -> None:
    code = BASE + f"class Bad(SingleNodeService):\n    def {method}(self, data):\n        raise {raised}\n"
    with pytest.raises(GluonLambdaError) as caught:
        answer(served_0_4(tmp_path, code), field("[1]"))
    assert type(caught.value) is kind
    assert getattr(caught.value, "phase", None) == phase
    assert raised.partition("(")[0] in str(caught.value)
    assert "secret" not in str(caught.value)
    assert type(caught.value.__cause__).__name__ == raised.partition("(")[0]


def test_the_map_that_mms_s_own_default_service_returns_becomes_a_list(tmp_path: Path) -> None:
    code = BASE + (
        "class Default(SingleNodeService):\n"
        "    def _preprocess(self, data):\n        return map(len, data)\n"
        "    def _inference(self, data):\n        assert isinstance(data, list)\n        return data\n"
    )
    assert answer(served_0_4(tmp_path, code), field("[1, 2]")) == [2]


def test_a_service_answers_again_after_it_failed(tmp_path: Path) -> None:
    code = BASE + "class Picky(SingleNodeService):\n    def _preprocess(self, data):\n        return data[0][0]\n"
    service = served_0_4(tmp_path, code)
    with pytest.raises(InputMismatch):
        answer(service, field("[]"))
    prediction = service.predict(payload(field("[5]")))
    assert prediction.value == {"prediction": 5}
    assert len(prediction.phases) == 3


def test_a_literal_that_would_take_seconds_to_parse_is_refused_and_json_of_that_length_is_not() -> None:
    with pytest.raises(PayloadTooLarge, match="send JSON"):
        parse_list("[" + "1, " * 250_000 + "'one']", name="data")
    assert len(parse_list("[" + "1, " * 250_000 + "1]", name="data")) == 250_001
