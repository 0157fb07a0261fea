"""The handler as Lambda calls it: INIT, events of every kind, limits, and what it writes to stdout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from base64 import b64encode
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from awslambdaric import bootstrap
from PIL import Image

from gluon_lambda import errors
from gluon_lambda.bootstrap import create_handler
from gluon_lambda.invocation import Handler
from gluon_lambda.runtime.fake import FakePredictor
from gluon_lambda.types import TensorSpec
from tests.conftest import ROOT, TENSOR_SIGNATURE, ExportedNet, FakeContext, write_archive
from tests.events.gateways import GATEWAYS, Sent, golden

pytestmark = pytest.mark.usefixtures("restored_process")

MakeHandler = Callable[..., Callable[[Any, Any], Any]]


@pytest.fixture
def make_handler(tmp_path: Path) -> MakeHandler:
    """INIT with these variables, on top of this process's."""

    def make(**environ: str) -> Callable[[Any, Any], Any]:
        return create_handler({"GLUON_CACHE_DIR": str(tmp_path / "cache")} | environ)

    return make


@pytest.fixture
def handler(make_handler: MakeHandler, image_archive: Path) -> Callable[[Any, Any], Any]:
    return make_handler(GLUON_MODELS=f"small={image_archive}")


def picture() -> bytes:
    file = BytesIO()
    Image.linear_gradient("L").resize((8, 8)).save(file, "PNG")
    return file.getvalue()


POST_JSON = Sent(path="/m/predict", headers=(("Content-Type", "application/json"),), body=b'{"data": [1]}')
POST_IMAGE = Sent(path="/small/predict", body=picture())


def body_of(answer: dict[str, Any]) -> Any:
    return json.loads(answer["body"])


@pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=GATEWAYS)
def test_a_prediction_by_every_http_event(handler: Handler, gateway: Callable[[Sent], Any]) -> None:
    answer = handler(gateway(POST_IMAGE), FakeContext())
    assert answer["statusCode"] == 200
    labels = body_of(answer)["prediction"]
    assert len(labels) == 2
    assert {label["class"] for label in labels} <= {"ant", "bee", "cat", "dog"}


def test_a_predictor_of_the_callers_own_takes_the_engines_place(tmp_path: Path, image_archive: Path) -> None:
    made: list[FakePredictor] = []

    def make_predictor(*, inputs: Sequence[TensorSpec], **_: Any) -> FakePredictor:
        made.append(FakePredictor(inputs, lambda _: [np.log(np.array([[0.1, 0.6, 0.1, 0.2]], "float32"))]))
        return made[-1]

    environ = {"GLUON_CACHE_DIR": str(tmp_path), "GLUON_MODELS": f"small={image_archive}"}
    answer = create_handler(environ, make_predictor)(GATEWAYS["http_api_2_0"](POST_IMAGE), FakeContext())
    assert [label["probability"] for label in body_of(answer)["prediction"]] == pytest.approx([0.6, 0.2])
    assert [predictor.inputs[0].name for predictor in made if predictor.asked] == ["data"]


class TestDirectInvokes:
    def inputs(self) -> dict[str, Any]:
        return {"data": b64encode(picture()).decode()}

    def test_the_prediction_itself_goes_back(self, handler: Handler) -> None:
        answer = handler({"model": "small", "inputs": self.inputs()}, FakeContext())
        assert set(answer) == {"prediction"}

    def test_a_bare_payload_goes_to_the_only_model(self, handler: Handler) -> None:
        assert handler(self.inputs(), FakeContext()) == handler(
            {"model": "small", "inputs": self.inputs()}, FakeContext()
        )

    def test_a_bare_payload_is_refused_where_there_are_several(
        self, make_handler: MakeHandler, image_archive: Path, tensor_archive: Path
    ) -> None:
        handler = make_handler(GLUON_MODELS=f"a={image_archive} b={tensor_archive}")
        with pytest.raises(errors.UnsupportedEvent, match="exactly one model"):
            handler(self.inputs(), FakeContext())

    def test_errors_are_raised_under_their_stable_code(self, handler: Handler) -> None:
        for event, code in [
            ({"model": "large", "inputs": {}}, "ModelNotFound"),
            ({"model": "small", "inputs": {"picture": "x"}}, "InputMismatch"),
            (golden("s3_put"), "UnsupportedEvent"),
            (golden("eventbridge_s3"), "UnsupportedEvent"),
        ]:
            with pytest.raises(errors.GluonLambdaError) as raised:
                handler(event, FakeContext())
            assert type(raised.value).__name__ == code


@pytest.mark.parametrize(
    ("location", "said"),
    [("/modèle.model", "/mod\\xe8le.model: there is no such"), ("s3://x", "with optional ?versionId=...")],
)
def test_an_init_error_is_ascii_since_awslambdaric_cannot_post_anything_else(
    make_handler: MakeHandler, location: str, said: str
) -> None:
    with pytest.raises(errors.GluonLambdaError) as raised:
        make_handler(GLUON_MODELS=f"a={location}")
    assert said in str(raised.value)
    posted = bootstrap.build_fault_result((raised.type, raised.value, raised.tb), None)
    assert json.dumps(posted, ensure_ascii=False).isascii()


class TestErrors:
    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (Sent(path="/large/predict", body=b"x"), 404),
            (Sent(path="/small/predict", body=picture()[:40]), 400),
            (Sent(path="/small/predict", body=None), 400),
            (Sent("GET", "/small/predict", body=None), 405),
            (Sent("GET", "/nothing", body=None), 404),
        ],
    )
    def test_the_client_s_fault_is_4xx_in_one_shape(self, handler: Handler, sent: Sent, status: int) -> None:
        answer = handler(GATEWAYS["http_api_2_0"](sent), FakeContext("id-7"))
        body = body_of(answer)
        assert (answer["statusCode"], body["code"], body["requestId"]) == (status, status, "id-7")
        assert set(body) >= {"code", "type", "message"}

    def test_a_body_that_does_not_decode_is_400(self, handler: Handler) -> None:
        event = GATEWAYS["http_api_2_0"](POST_IMAGE) | {"body": "no base64!"}
        answer = handler(event, FakeContext())
        assert (answer["statusCode"], body_of(answer)["type"]) == (400, "BadRequestException")

    def test_too_little_time_is_504_before_lambda_would_kill_it(self, handler: Handler) -> None:
        answer = handler(GATEWAYS["http_api_2_0"](POST_IMAGE), FakeContext(remaining_ms=3))
        assert answer["statusCode"] == 504
        assert "raise the function's Timeout" in body_of(answer)["message"]


class TestLimits:
    @pytest.fixture
    def echo(self, make_handler: MakeHandler, mx: Any, tmp_path: Path) -> Callable[[Any, Any], Any]:
        """A net that gives its input back a thousand times."""
        symbol = mx.sym.tile(mx.sym.var("data"), reps=(1, 100_000))
        empty = bytes([0x12, 1]) + bytes(30)
        signature = {**TENSOR_SIGNATURE, "inputs": [{"data_name": "data", "data_shape": [0, 1]}], "outputs": []}
        path = write_archive(tmp_path / "echo.model", ExportedNet(symbol.tojson().encode(), empty), signature)
        return make_handler(GLUON_MODELS=f"echo={path}")

    def ask(self, echo: Handler, gateway: str, rows: int) -> Any:
        body = json.dumps({"data": [[0.123456]] * rows}).encode()
        sent = Sent(path="/echo/predict", headers=(("Content-Type", "application/json"),), body=body)
        return echo(GATEWAYS[gateway](sent), FakeContext())

    def test_a_response_over_lambda_s_limit_is_413_with_size_and_limit(self, echo: Handler) -> None:
        answer = self.ask(echo, "http_api_2_0", rows=6)
        assert answer["statusCode"] == 413
        assert "6,291,556" in body_of(answer)["message"]

    def test_a_load_balancer_s_limit_is_one_megabyte(self, echo: Handler) -> None:
        assert self.ask(echo, "http_api_2_0", rows=1)["statusCode"] == 200
        assert self.ask(echo, "alb", rows=1)["statusCode"] == 413

    def test_a_document_is_held_to_the_same_limits(
        self, make_handler: MakeHandler, image_archive: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "wordy"
        with zipfile.ZipFile(image_archive) as archive:
            archive.extractall(folder)
        signature = json.loads((folder / "signature.json").read_text())
        (folder / "signature.json").write_text(json.dumps({**signature, "remarks": "x" * (1 << 20)}))
        handler = make_handler(GLUON_MODELS=f"wordy={folder}")
        sent = Sent("GET", "/models/wordy", headers=(), body=None)
        assert handler(GATEWAYS["http_api_2_0"](sent), FakeContext())["statusCode"] == 200
        refused = handler(GATEWAYS["alb"](sent), FakeContext())
        assert refused["statusCode"] == 413
        assert "1,048,576" in body_of(refused)["message"]

    def test_a_direct_invoke_raises(self, echo: Handler) -> None:
        with pytest.raises(errors.ResponseTooLarge, match="6,291,556"):
            echo({"data": [[0.123456]] * 6}, FakeContext())


class TestInit:
    def test_a_model_that_is_not_there_fails_it(self, make_handler: MakeHandler, tmp_path: Path) -> None:
        with pytest.raises(errors.ArchiveNotFound, match=r"gone\.model"):
            make_handler(GLUON_MODELS=f"m={tmp_path}/gone.model")

    def test_a_checksum_that_differs_fails_it(self, make_handler: MakeHandler, image_archive: Path) -> None:
        with pytest.raises(errors.ArchiveRejected, match="sha256"):
            make_handler(GLUON_MODELS=f"m={image_archive}#sha256={'0' * 64}")

    def test_no_model_fails_it(self, make_handler: MakeHandler) -> None:
        with pytest.raises(errors.ConfigurationError):
            make_handler()


class TestTheStore:
    @pytest.fixture
    def store(self, tmp_path: Path, image_archive: Path, tensor_archive: Path) -> Path:
        folder = tmp_path / "store"
        folder.mkdir()
        shutil.copy(image_archive, folder / "small.model")
        shutil.copy(tensor_archive, folder / "tensors.model")
        (folder / "broken.model").write_bytes(image_archive.read_bytes()[:-200])
        return folder

    def test_models_are_loaded_by_name_on_first_use(self, make_handler: MakeHandler, store: Path) -> None:
        handler = make_handler(GLUON_MODEL_STORE=str(store))
        assert handler(GATEWAYS["http_api_2_0"](POST_IMAGE), FakeContext())["statusCode"] == 200

    def test_a_broken_one_fails_its_own_request_only(self, make_handler: MakeHandler, store: Path) -> None:
        handler = make_handler(GLUON_MODEL_STORE=str(store))
        for _ in range(2):
            answer = handler(GATEWAYS["http_api_2_0"](POST_IMAGE._replace(path="/broken/predict")), FakeContext())
            assert answer["statusCode"] == 503
            assert answer["headers"]["retry-after"]
        assert handler(GATEWAYS["http_api_2_0"](POST_IMAGE), FakeContext())["statusCode"] == 200

    def test_one_that_is_not_there_is_404(self, make_handler: MakeHandler, store: Path) -> None:
        handler = make_handler(GLUON_MODEL_STORE=str(store))
        answer = handler(GATEWAYS["http_api_2_0"](POST_IMAGE._replace(path="/gone/predict")), FakeContext())
        assert (answer["statusCode"], body_of(answer)["type"]) == (404, "ModelNotFoundException")


class Written(NamedTuple):
    """What a process of its own answered and wrote: every line of stdout, each a JSON object; nothing on stderr."""

    answers: list[Any]
    records: list[dict[str, Any]]

    def with_key(self, key: str) -> list[dict[str, Any]]:
        return [record for record in self.records if key in record]


DRIVER = """
import json, os, sys
from lambda_function import lambda_handler
from tests.conftest import FakeContext
events, answers = json.load(open(sys.argv[1])), []
for number, event in enumerate(events):
    answers.append(lambda_handler(event, FakeContext(f"id-{number}")))
json.dump(answers, open(sys.argv[1], "w"))
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Written]:
    """Run INIT and the events in a process of their own, whose stdout and stderr nobody has replaced."""

    def run_events(models: str, *events: Any) -> Written:
        exchange = tmp_path / "events.json"
        exchange.write_text(json.dumps(events))
        environ = os.environ | {"GLUON_MODELS": models, "GLUON_CACHE_DIR": str(tmp_path / "cache")}
        environ |= {"PYTHONPATH": f"{ROOT / 'handler'}:{ROOT}", "LD_LIBRARY_PATH": str(ROOT / "build" / "lib")}
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(exchange)],
            env=environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return Written(json.loads(exchange.read_text()), [json.loads(line) for line in done.stdout.splitlines()])

    return run_events


class TestLogs:
    def test_init_and_a_prediction_write_json_lines_and_nothing_else(
        self, run: Callable[..., Written], image_archive: Path
    ) -> None:
        event = GATEWAYS["http_api_2_0"](POST_IMAGE)
        written = run(f"small={image_archive}", event, event)
        assert {record["Phase"] for record in written.with_key("InitDuration")} == {
            *("settings", "imports", "dlopen", "numpy", "service imports", "waiting"),
            *("open", "parameters", "warm-up", "service", "total"),
        }
        served = written.with_key("PredictionTime")
        assert [(record["requestId"], record["model"], record["coldStart"]) for record in served] == [
            ("id-0", "small", True),
            ("id-1", "small", False),
        ]
        for record in served:
            assert record["Requests2XX"] == 1
            assert 0 <= record["InferenceTime"] <= record["PredictionTime"]
            assert {"PreprocessTime", "PostprocessTime"} <= set(record)
            (definition,) = record["_aws"]["CloudWatchMetrics"]
            assert definition["Dimensions"] == [["FunctionName", "ModelName"]]
            assert {metric["Name"] for metric in definition["Metrics"]} <= set(record)

    def test_errors_and_documents_are_counted_and_told_with_the_request_id(
        self, run: Callable[..., Written], image_archive: Path
    ) -> None:
        bad = GATEWAYS["http_api_2_0"](POST_IMAGE._replace(body=b"x"))
        listed = GATEWAYS["http_api_2_0"](Sent("GET", "/models", headers=(), body=None))
        undecodable = GATEWAYS["http_api_2_0"](POST_IMAGE) | {"body": "no base64!"}
        written = run(f"small={image_archive}", bad, listed, undecodable)
        assert [record["requestId"] for record in written.with_key("Requests4XX")] == ["id-0", "id-2"]
        assert [record["path"] for record in written.with_key("Requests2XX")] == ["/models"]
        told, _ = [record for record in written.records if record.get("logger") == "gluon_lambda.http_app"]
        assert (told["requestId"], told["model"], told["level"]) == ("id-0", "small", "INFO")

    def test_what_a_service_raised_is_in_the_log_and_not_in_the_answer(
        self, run: Callable[..., Written], tmp_path: Path
    ) -> None:
        code = (
            "from mms.model_service.model_service import SingleNodeService\n"
            "class Picky(SingleNodeService):\n"
            "    def __init__(self, model_name, model_dir, manifest, gpu=None):\n        self._signature = {}\n"
            "    def _preprocess(self, data):\n        raise ValueError('secret reason')\n"
        )
        path = write_archive(tmp_path / "picky.model", ExportedNet(b"", b""), TENSOR_SIGNATURE, code=code)
        written = run(f"picky={path}", GATEWAYS["http_api_2_0"](POST_JSON._replace(path="/picky/predict")))
        (answer,) = written.answers
        assert (answer["statusCode"], "secret" in answer["body"], "ValueError" in answer["body"]) == (400, False, True)
        assert any("secret reason" in record.get("traceback", "") for record in written.records)

    def test_what_an_archive_s_code_prints_becomes_records(self, run: Callable[..., Written], tmp_path: Path) -> None:
        code = (
            "import logging, os, sys, warnings\n"
            "def handle(data, context):\n"
            "    if data is None:\n        return\n"
            "    print('to stdout')\n    print('to stderr', file=sys.stderr)\n    os.write(2, b'to the descriptor\\n')\n"
            "    logging.getLogger('mine').warning('logged')\n    warnings.warn('warned')\n"
            "    return ['ok']\n"
        )
        path = tmp_path / "loud.mar"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("loud.py", code)
            model = {"modelName": "loud", "handler": "loud:handle"}
            archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": model}))
        written = run(f"loud={path}", GATEWAYS["http_api_2_0"](POST_IMAGE._replace(path="/predictions/loud")))
        assert [(answer["statusCode"], answer["body"]) for answer in written.answers] == [(200, "ok")]
        told = {record["message"]: record for record in written.with_key("message")}
        for message in ("to stdout", "to stderr", "to the descriptor", "logged"):
            assert (told[message]["requestId"], told[message]["model"]) == ("id-0", "loud")
        assert any("warned" in message for message in told)
