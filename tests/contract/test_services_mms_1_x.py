"""MMS 1.x handlers: what they are given, what their answers become, and what becomes of what they raise."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from archives.pack import pack_folder
from gluon_lambda.errors import GluonLambdaError, InferenceError, MalformedBody, OutOfMemory, ServiceLoadError
from gluon_lambda.services.load import load_service
from gluon_lambda.services.mms_1_x import Mms1xService
from gluon_lambda.services.model_thread import ModelThread, ServiceOnThread
from gluon_lambda.types import Part
from tests.service_archives import (
    Code,
    field,
    manifest_0_4,
    manifest_1_x,
    opened,
    payload,
    refuse_to_predict,
    served_1_x,
    signature,
    write_files,
)

ECHO = "def handle(data, context):\n    return None if data is None else [repr(data[0])]"


def test_a_handler_is_called_with_none_at_load_and_then_with_a_batch_of_one(tmp_path: Path) -> None:
    service = served_1_x(
        tmp_path, "calls = []\ndef handle(data, context):\n    calls.append(data)\n    return [list(calls)]"
    )
    assert service.predict(payload(Part("body", b"x"))).value == [None, [{"body": bytearray(b"x")}]]


def test_what_a_handler_raises_at_load_fails_the_load(tmp_path: Path) -> None:
    code = "def handle(data, context):\n    raise RuntimeError('no weights')"
    with pytest.raises(
        ServiceLoadError, match=r"handle\(None, context\) failed at handler.py:2: RuntimeError: no weights"
    ):
        served_1_x(tmp_path, code)


def test_an_exception_that_cannot_say_its_text_fails_the_load_by_its_type(tmp_path: Path) -> None:
    code = """
        class Mute(Exception):
            def __str__(self):
                raise KeyError("text")
        raise Mute
    """
    with pytest.raises(
        ServiceLoadError, match=r"importing handler.*failed at handler.py:4: Mute: its text cannot be shown"
    ):
        served_1_x(tmp_path, code)


def test_a_class_is_constructed_and_initialised_once(tmp_path: Path) -> None:
    code = """
        class Model:
            def __init__(self):
                self.initialised = 0
            def initialize(self, context):
                self.initialised += 1
                self.folder = context.system_properties["model_dir"]
            def handle(self, data, context):
                return [[self.initialised, self.folder]]
    """
    service = served_1_x(tmp_path, code, handler="handler.py")
    assert [service.predict(payload()).value for _ in range(2)] == [[1, str(tmp_path)]] * 2


def test_an_exception_in_initialize_which_mms_swallowed_fails_the_load(tmp_path: Path) -> None:
    code = """
        class Model:
            def initialize(self, context):
                raise OSError("weights.bin is missing")
            def handle(self, data, context):
                return ["untrained"]
    """
    with pytest.raises(
        ServiceLoadError, match=r"Model.initialize\(context\) failed at handler.py:3: OSError: weights.bin"
    ):
        served_1_x(tmp_path, code)


def test_a_class_that_the_module_only_imports_is_no_entry_point(tmp_path: Path) -> None:
    code = "from base import Base\nclass Model(Base):\n    def handle(self, data, context):\n        return ['own']"
    files: Code = {"base.py": "class Base:\n    def handle(self, data, context):\n        return ['imported']"}
    assert served_1_x(tmp_path, code, files).predict(payload()).value == "own"


@pytest.mark.parametrize(
    ("handler", "files"),
    [
        ("handler.py:handle", {}),
        ("handler:handle", {}),
        ("handler", {}),
        ("handler.py", {}),
        ("code/entry.py:handle", {"code/entry.py": "import beside\nfrom handler import handle", "code/beside.py": ""}),
        ("pack.entry:handle", {"pack/__init__.py": "", "pack/entry.py": "from handler import handle"}),
        ("pack:handle", {"pack/__init__.py": "from handler import handle"}),
        ("my-own.handler.py:handle", {"my-own.handler.py": "from handler import handle"}),
        ("entry.py:predict", {"entry.py": "from handler import handle as predict"}),
    ],
)
def test_every_way_to_name_a_handler_is_understood(tmp_path: Path, handler: str, files: Code) -> None:
    service = served_1_x(tmp_path, ECHO, files, handler=handler)
    assert service.predict(payload(Part("a", b"1"))).value == "{'a': bytearray(b'1')}"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1", "no function handle"),
        (
            "class A:\n    def handle(self, d, c): pass\nclass B:\n    def handle(self, d, c): pass",
            r"several classes .*A, B",
        ),
        ("from argparse import ArgumentParser as handle_me", "no function handle"),
    ],
)
def test_a_module_without_one_entry_point_is_refused(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(ServiceLoadError, match=message):
        served_1_x(tmp_path, code)


def test_a_handler_text_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServiceLoadError, match=r"'a:b:c' is not of the form"):
        served_1_x(tmp_path, ECHO, handler="a:b:c")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (Part("body", b'{"a": [1, null]}', "application/json"), {"a": [1, None]}),
        (Part("body", "grün".encode(), "text/plain"), "grün"),
        (Part("body", b"\xff\xd8", "image/jpeg"), bytearray(b"\xff\xd8")),
        (Part("data", b'{"a": 1}'), bytearray(b'{"a": 1}')),
        (Part("data", b"{}", "application/json-seq"), bytearray(b"{}")),
        (Part("body", {"direct": 1}, "application/json"), {"direct": 1}),
    ],
)
def test_a_part_is_decoded_by_its_content_type(tmp_path: Path, part: Part, value: object) -> None:
    assert served_1_x(tmp_path, ECHO).predict(payload(part)).value == repr({part.name: value})


def test_of_two_parts_of_one_name_the_last_one_counts(tmp_path: Path) -> None:
    answer = served_1_x(tmp_path, ECHO).predict(payload(Part("a", b"1"), Part("b", b"2"), Part("a", b"3"))).value
    assert answer == "{'a': bytearray(b'3'), 'b': bytearray(b'2')}"


def test_json_that_does_not_parse_is_the_clients_fault(tmp_path: Path) -> None:
    with pytest.raises(MalformedBody, match="body is not JSON"):
        served_1_x(tmp_path, ECHO).predict(payload(Part("body", b"{", "application/json")))


@pytest.mark.parametrize(
    ("returned", "value", "raw"),
    [
        ("{'a': (1, 2)}", {"a": [1, 2]}, False),
        ("'text'", "text", True),
        ("b'bytes'", b"bytes", True),
        ("bytearray(b'bytes')", b"bytes", True),
        ("None", None, False),
    ],
)
def test_an_item_is_sent_raw_where_it_is_bytes_or_text_and_as_json_otherwise(
    tmp_path: Path, *, returned: str, value: object, raw: bool
) -> None:
    prediction = served_1_x(tmp_path, f"def handle(data, context):\n    return [{returned}]").predict(payload())
    assert (prediction.value, prediction.raw, type(prediction.value)) == (value, raw, type(value))


def test_the_envelope_follows_the_manifest_and_not_the_service(tmp_path: Path) -> None:
    files: Code = {
        "MANIFEST.json": manifest_0_4("handler.py"),
        "signature.json": signature("application/json"),
        "handler.py": "def handle(data, context):\n    return ['text']",
    }
    service = load_service(opened(write_files(tmp_path / "a", files)), make_predictor=refuse_to_predict)
    assert service.predict(payload())[:2] == ({"prediction": "text"}, False)


def test_status_headers_and_content_type_are_those_that_the_handler_set(tmp_path: Path) -> None:
    code = """
        def handle(data, context):
            context.set_response_status(code=201, phrase="Created", idx=0)
            context.set_response_content_type(0, "image/png")
            context.set_response_header(0, "X-Model", "7")
            return [b"png"]
    """
    prediction = served_1_x(tmp_path, code).predict(payload())
    assert (prediction.status, prediction.content_type, prediction.headers) == (201, "image/png", (("x-model", "7"),))


def test_one_request_does_not_see_the_status_of_the_one_before(tmp_path: Path) -> None:
    code = """
        def handle(data, context):
            if data and "teapot" in data[0]:
                context.set_all_response_status(418, "teapot")
            return ["x"]
    """
    service = served_1_x(tmp_path, code)
    assert [service.predict(payload(Part(name, b""))).status for name in ("teapot", "other")] == [418, 200]


def test_a_handler_sees_its_request_in_each_generations_way(tmp_path: Path) -> None:
    code = """
        def handle(data, context):
            if data is None:
                context.set_response_status(200)
                return None
            processor = context.request_processor
            identity = context.get_request_id()
            context.set_response_content_type(identity, "text/x-old")     # 1.0.1 to 1.0.4: by request id
            processor.report_status(202, "Accepted")                      # up to 1.0.4, and MMS's own templates
            return [[
                identity, context.get_request_id(0), context.get_request_header(0, "X-Who"),
                context.get_all_request_header(0)["data"], processor[0].get_request_property("x-who"),
                processor.get_request_property(identity)["x-who"], context.model_name, context.manifest["runtime"],
                context.system_properties["gpu_id"], context.system_properties["batch_size"],
                context.system_properties["server_name"],
            ]]
    """
    part = Part("data", b"", "text/plain")
    prediction = served_1_x(tmp_path, code, name="served-as").predict(
        payload(part, headers=(("x-who", "me"),), request_id="r7")
    )
    assert prediction.value == [
        "r7", "r7", "me", {"content-type": "text/plain"}, "me", "me", "served-as", "python", None, 1, "MMS",
    ]  # fmt: skip
    assert (prediction.status, prediction.content_type) == (202, "text/x-old")


@pytest.mark.parametrize(
    ("statement", "kind", "status", "message"),
    [
        ("raise PredictionException('too dark', 422)", InferenceError, 422, "too dark"),
        ("raise PredictionException('broken')", InferenceError, 500, "broken"),
        ("raise MemoryError()", OutOfMemory, None, "Out of resources"),
        ("raise KeyError('secret')", InferenceError, 503, "Prediction failed"),
        ("import sys; sys.exit(1)", InferenceError, 503, "Prediction failed"),
        ("return 'no list'", InferenceError, 503, "Invalid model predict output"),
        ("return [1, 2]", InferenceError, 503, "number of batch response mismatched, expect: 1, got: 2."),
    ],
)
def test_what_goes_wrong_in_a_handler_has_mms_s_status_and_text(
    tmp_path: Path, statement: str, kind: type[GluonLambdaError], status: int | None, message: str
) -> None:
    code = f"from mms.service import PredictionException\ndef handle(data, context):\n    if data is None: return\n    {statement}"
    with pytest.raises(GluonLambdaError) as caught:
        served_1_x(tmp_path, code).predict(payload())
    assert type(caught.value) is kind
    assert isinstance(caught.value, InferenceError)
    assert (str(caught.value), caught.value.status, caught.value.phase) == (message, status, "handle")


def test_a_service_answers_again_after_it_failed(tmp_path: Path) -> None:
    code = "def handle(data, context):\n    return [1 // len(data[0])] if data else None"
    service = served_1_x(tmp_path, code)
    with pytest.raises(InferenceError):
        service.predict(payload())
    assert service.predict(payload(Part("a", b""))).value == 1


def test_what_a_handler_counts_and_times_comes_with_the_prediction(tmp_path: Path) -> None:
    code = """
        from mms.metrics.dimension import Dimension
        def handle(data, context):
            if data is None: return
            context.metrics.add_time("Decode", 12.5, 0)
            context.metrics.add_counter("Faces", 2)
            context.metrics.add_counter("Faces", 3)
            context.metrics.add_size("Image", 4, unit="kB", dimensions=[Dimension("Kind", "png")])
            context.metrics.add_metric("Odd", 1)
            context.metrics.add_error("Oops", "a text")
            return [1]
    """
    prediction = served_1_x(tmp_path, code).predict(payload())
    model = (("ModelName", "model"), ("Level", "Model"))
    assert prediction.metrics == (
        ("Decode", 12.5, "Milliseconds", model),
        ("Faces", 5.0, "Count", model),
        ("Image", 4.0, "Kilobytes", (("Kind", "png"), *model)),
        ("Odd", 1.0, "None", model),
    )
    assert [phase for phase, _ in prediction.phases] == ["handle"]


def test_a_batch_is_one_call_of_the_handler(tmp_path: Path) -> None:
    code = """
        def handle(data, context):
            if data is None: return
            context.set_response_status(202, idx=1)
            return [[len(data), row["n"], context.get_request_id(at)] for at, row in enumerate(data)]
    """
    service = served_1_x(tmp_path, code)
    assert isinstance(service, Mms1xService)
    requests = [payload(Part("n", str(at), ""), request_id=f"r{at}") for at in range(3)]
    predictions = service.predict_batch(requests)
    assert [each.value for each in predictions] == [[3, "0", "r0"], [3, "1", "r1"], [3, "2", "r2"]]
    assert [each.status for each in predictions] == [200, 202, 200]


def test_a_packed_archive_answers_as_its_folder_does(tmp_path: Path) -> None:
    files: Code = {"MAR-INF/MANIFEST.json": manifest_1_x("code/entry.py"), "code/entry.py": "import beside\n" + ECHO}
    folder = write_files(tmp_path / "folder", {**files, "code/beside.py": "open('words.txt')", "words.txt": ""})
    for location in (folder, pack_folder(folder, tmp_path / "packed.mar")):
        service = load_service(opened(location, name=location.stem), make_predictor=refuse_to_predict)
        assert service.predict(payload()).value == "{}"


def test_an_archive_with_a_signature_of_its_own_kind_is_served(tmp_path: Path) -> None:
    files: Code = {"signature.json": '{"inputs": "not MMS 0.4\'s"}', "MAR-INF/MANIFEST.json": manifest_1_x("handler")}
    assert served_1_x(tmp_path, ECHO, files).predict(payload()).value == "{}"


def test_a_handler_finds_an_event_loop_in_the_thread_where_models_run(tmp_path: Path) -> None:
    code = """
import asyncio

async def answer(data):
    return [len(data)]

class Service:
    def initialize(self, context):
        self.loop = asyncio.get_event_loop()

    def handle(self, data, context):
        return asyncio.get_event_loop().run_until_complete(answer(data)) if self.loop else []
"""
    thread = ModelThread()
    service = thread.run(partial(served_1_x, tmp_path / "a", code, handler="handler.py"))
    assert ServiceOnThread(service, thread).predict(payload(field("1"))).value == 1
