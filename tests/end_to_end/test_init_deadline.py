"""INIT's own deadline, through the real awslambdaric: what is not loaded in time is loaded in the first invocation.

A model is late for as long as its gate, a file, is not there; so the order of what happens is the test's own, and no clock decides.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from tests.conftest import ROOT, TENSOR_SIGNATURE, ExportedNet, write_archive
from tests.lambda_process import NEXT, LambdaProcess, http_event, running
from tests.service_archives import manifest_0_4, signature, write_files

# Waits in its constructor for the gate, and then does what the gate says.
WAITING = """
import os
import time

from mms.model_service.model_service import SingleNodeService


class Waiting(SingleNodeService):
    def __init__(self, *args):
        super().__init__(*args)
        print("the constructor has begun", flush=True)
        while not os.path.exists({gate!r}):
            time.sleep(0.005)
        if open({gate!r}).read() == "fail":
            raise LookupError("the vocabulary is lost")
        print("the constructor has ended", flush=True)

    def _postprocess(self, data):
        return ["{answer}", data]
"""
PREDICT = http_event("POST", "/late/predict", json.dumps({"data": [1]}))
DIRECT = {"model": "late", "inputs": {"data": [1]}}
ANSWER = {"prediction": ["I am late", [[1]]]}


class Gate:
    """What a late model waits for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> None:
        """Let its constructor go on."""
        self._write("go on")

    def fail(self) -> None:
        """Let its constructor raise."""
        self._write("fail")

    def _write(self, word: str) -> None:
        draft = self.path.with_suffix(".draft")
        draft.write_text(word)
        draft.rename(self.path)


def archive(folder: Path, gate: Gate, answer: str) -> Path:
    code = WAITING.format(gate=str(gate.path), answer=answer)
    write_files(
        folder, {"MANIFEST.json": manifest_0_4("s.py"), "signature.json": signature("application/json"), "s.py": code}
    )
    return folder


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


Start = Callable[..., LambdaProcess]


@pytest.fixture
def start(tmp_path: Path, gate: Gate) -> Iterator[Start]:
    """Start a function whose model ``late`` waits for the gate, a second of INIT at most."""
    with ExitStack() as stack:

        def started(**environ: str) -> LambdaProcess:
            models = f"late={archive(tmp_path / 'late', gate, 'I am late')}"
            defaults = {"GLUON_MODELS": models, "GLUON_INIT_DEADLINE_SECONDS": "1"}
            process: AbstractContextManager[LambdaProcess] = running(tmp_path / "run", **(defaults | environ))
            return stack.enter_context(process)

        yield started


def answered(function: LambdaProcess, event: object, *, seconds: float = 60) -> tuple[int, Any]:
    """Status and value of an HTTP answer, after which the function asks for more."""
    reply = function.invoke(event, seconds=seconds)
    assert reply.kind == "response"
    return reply.body["statusCode"], json.loads(reply.body["body"])


def init_records(function: LambdaProcess) -> list[dict[str, Any]]:
    return function.records_with("init")


def messages(function: LambdaProcess, level: str) -> list[str]:
    return [record["message"] for record in function.records() if record.get("level") == level]


class TestLoadedLate:
    def test_init_ends_before_the_model_is_loaded_and_the_first_invocation_answers(
        self, start: Start, gate: Gate
    ) -> None:
        function = start()
        function.expect(NEXT)  # and nobody has opened the gate
        assert init_records(function) == []
        request_id = function.hand_over(PREDICT)
        gate.open()
        reply = function.expect(f"/{request_id}/response")
        assert json.loads(json.loads(reply.body)["body"]) == ANSWER
        function.expect(NEXT)
        assert answered(function, PREDICT) == (200, ANSWER)

    def test_there_is_one_record_of_init_and_it_has_the_time_until_the_model_was_loaded(
        self, start: Start, gate: Gate
    ) -> None:
        function = start()
        function.expect(NEXT)
        gate.open()
        for _ in range(2):
            assert answered(function, PREDICT)[0] == 200
            function.expect(NEXT)
        (record,) = init_records(function)
        spans = {span["phase"]: span for span in record["timeline"] if span.get("model") == "late"}
        assert spans["service"]["end_ms"] > 1000  # the deadline
        assert record["init"]["total"] >= spans["service"]["end_ms"]
        phases = [line["Phase"] for line in function.records_with("InitDuration")]
        assert sorted(phases) == sorted(record["init"])

    def test_that_init_was_cut_short_is_in_the_log_and_the_answer_is_a_cold_starts(
        self, start: Start, gate: Gate
    ) -> None:
        function = start()
        function.expect(NEXT)
        (said,) = [text for text in messages(function, "INFO") if "GLUON_INIT_DEADLINE_SECONDS" in text]
        assert said.startswith("INIT goes on in the first invocation")
        # While the invocation waits: what is printed between INIT and it is no record.
        threading.Timer(0.5, gate.open).start()
        for _ in range(2):
            assert answered(function, PREDICT)[0] == 200
            function.expect(NEXT)
        requests = function.records_with("Requests2XX")
        printed = {r["message"]: r.get("requestId") for r in function.records() if r.get("logger") == "output"}
        assert printed == {
            "the constructor has begun": None,  # in INIT
            "the constructor has ended": requests[0]["requestId"],
        }
        assert [record["coldStart"] for record in requests] == [True, False]

    def test_of_several_models_the_ones_in_time_wait_for_the_late_one(
        self, start: Start, gate: Gate, tmp_path: Path
    ) -> None:
        open_gate = Gate(tmp_path / "open")
        open_gate.open()
        early = archive(tmp_path / "early", open_gate, "I am early")
        late = archive(tmp_path / "late", gate, "I am late")
        function = start(GLUON_MODELS=f"early={early} late={late}")
        function.expect(NEXT)
        request_id = function.hand_over(http_event("POST", "/early/predict", '{"data": [2]}'))
        gate.open()
        first = json.loads(function.expect(f"/{request_id}/response").body)
        assert json.loads(first["body"]) == {"prediction": ["I am early", [[2]]]}
        function.expect(NEXT)
        assert answered(function, PREDICT) == (200, ANSWER)

    def test_a_model_that_is_loaded_in_time_leaves_nothing_to_the_invocation(self, start: Start, gate: Gate) -> None:
        gate.open()
        function = start(GLUON_INIT_DEADLINE_SECONDS="60")
        function.expect(NEXT)
        assert len(init_records(function)) == 1
        assert answered(function, PREDICT) == (200, ANSWER)


class TestFailedLate:
    def test_http_is_answered_503_with_the_cause_in_the_log_and_the_process_ends(
        self, start: Start, gate: Gate
    ) -> None:
        function = start()
        function.expect(NEXT)
        gate.fail()
        status, body = answered(function, PREDICT)
        assert (status, body["code"], body["type"]) == (503, 503, "ServiceUnavailableException")
        assert "vocabulary" not in body["message"]
        assert function.exit_code() != 0
        assert function.calls_left() == []
        causes = [record for record in function.records() if "the vocabulary is lost" in record.get("message", "")]
        assert {record["requestId"] for record in causes} == {body["requestId"]}
        assert any("s.py" in record.get("traceback", "") for record in causes)

    def test_a_direct_invoke_raises_load_error_and_the_process_ends(self, start: Start, gate: Gate) -> None:
        function = start()
        function.expect(NEXT)
        gate.fail()
        kind, error = function.invoke(DIRECT)
        assert (kind, error["errorType"]) == ("error", "LoadError")
        assert "ServiceLoadError: Archive late: " in error["errorMessage"]
        assert "the vocabulary is lost" in error["errorMessage"]
        assert function.exit_code() != 0
        assert function.calls_left() == []

    @pytest.mark.parametrize(
        "path", ["/ping", *(pytest.param(path, marks=pytest.mark.slow) for path in ("/", "/models", "/openapi.json"))]
    )
    def test_no_document_says_that_all_is_well(self, start: Start, gate: Gate, path: str) -> None:
        function = start()
        function.expect(NEXT)
        gate.fail()
        status, body = answered(function, http_event("GET", path))
        assert (status, body["type"]) == (503, "ServiceUnavailableException")
        assert function.exit_code() != 0

    def test_under_another_runtime_than_awslambdaric_the_process_ends_all_the_same(self) -> None:
        code = "from gluon_lambda.late_start import end_process_after_response as end; end(); input()"  # nobody writes
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT / "handler", stdin=subprocess.PIPE)
        assert process.wait(60) == 1

    def test_what_names_no_model_is_refused_for_the_same_reason(self, start: Start, gate: Gate) -> None:
        function = start()
        function.expect(NEXT)
        gate.fail()
        assert answered(function, http_event("POST", "/invocations", "[1]"))[0] == 503
        assert function.exit_code() != 0


@pytest.mark.slow  # time has to pass
class TestNotInTheInvocationEither:
    def test_the_answer_is_504_in_time_and_the_next_invocation_is_answered(self, start: Start, gate: Gate) -> None:
        function = start()
        function.expect(NEXT)
        # Posted while the model is still being loaded, which only the deadline can bring about.
        status, body = answered(function, PREDICT, seconds=1)
        assert (status, body["code"]) == (504, 504)
        function.expect(NEXT)
        gate.open()
        assert answered(function, PREDICT) == (200, ANSWER)
        assert len(init_records(function)) == 1

    def test_a_direct_invoke_raises_deadline_exceeded(self, start: Start, gate: Gate) -> None:
        function = start()
        function.expect(NEXT)
        kind, error = function.invoke(DIRECT, seconds=1)
        assert (kind, error["errorType"]) == ("error", "DeadlineExceeded")
        assert "Timeout" in error["errorMessage"]
        function.expect(NEXT)
        gate.open()
        assert function.invoke(DIRECT).body == ANSWER

    @pytest.mark.parametrize("path", ["/ping", "/"])
    def test_health_is_504_until_the_models_are_there(self, start: Start, gate: Gate, path: str) -> None:
        function = start()
        function.expect(NEXT)
        assert answered(function, http_event("GET", path), seconds=1)[0] == 504
        function.expect(NEXT)
        gate.open()
        assert answered(function, http_event("GET", path)) == (200, {"status": "Healthy", "health": "healthy!"})

    def test_a_model_that_fails_after_that_ends_the_process_too(self, start: Start, gate: Gate) -> None:
        function = start()
        function.expect(NEXT)
        assert answered(function, PREDICT, seconds=1)[0] == 504
        function.expect(NEXT)
        gate.fail()
        assert answered(function, PREDICT)[0] == 503
        assert function.exit_code() != 0
        assert function.calls_left() == []


class TestStartsThatHaveMinutes:
    @pytest.mark.slow  # time has to pass
    @pytest.mark.parametrize("kind", ["provisioned-concurrency", "snap-start", "lambda-managed-instances"])
    def test_init_goes_on_past_the_deadline_until_all_is_loaded(self, start: Start, gate: Gate, kind: str) -> None:
        function = start(AWS_LAMBDA_INITIALIZATION_TYPE=kind, GLUON_LOG_LEVEL="DEBUG")
        # Nothing is asked for while the gate is closed, though the deadline of on-demand starts goes by.
        assert calls_within(function, seconds=2.5) == []
        gate.open()
        function.expect("/next")  # restore/next under SnapStart
        (record,) = init_records(function)
        assert record["init"]["total"] > 1000
        if kind == "snap-start":
            function.restore()
            function.expect(NEXT)
        assert answered(function, PREDICT) == (200, ANSWER)

    @pytest.mark.parametrize("kind", ["provisioned-concurrency", "snap-start"])
    def test_a_net_whose_archive_is_refused_is_not_run_any_more(
        self, tmp_path: Path, small_net: ExportedNet, kind: str
    ) -> None:
        """The net is in order and loaded, and its signature, looked at after that, is not."""
        two_outputs = {**TENSOR_SIGNATURE, "outputs": [{"data_name": name, "data_shape": [0, 4]} for name in "ab"]}
        archive = write_archive(tmp_path / "small.model", small_net, two_outputs)
        with running(
            tmp_path / "run", GLUON_MODELS=f"small={archive}", AWS_LAMBDA_INITIALIZATION_TYPE=kind
        ) as function:
            call = function.expect("/init/error")
            assert json.loads(call.body)["errorType"] == "SignatureInvalid"
            assert function.exit_code() == 1


def calls_within(function: LambdaProcess, *, seconds: float) -> list[str]:
    """What it asks for meanwhile; the one place where a test waits for time to pass, since nothing is to happen."""
    sleep(seconds)
    return function.calls_left()
