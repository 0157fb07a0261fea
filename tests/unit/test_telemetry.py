"""Log lines and metrics, down to the bytes that CloudWatch reads."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gluon_lambda.telemetry.logs import InvocationState, JsonLogHandler, route_logging
from gluon_lambda.telemetry.metrics import Metrics, request_values
from gluon_lambda.telemetry.output import Output
from gluon_lambda.types import Prediction


class Lines(Output):
    """Output that keeps its records instead of writing them."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def write(self, record: dict[str, Any], *, begins: str = "") -> None:
        self.records.append(json.loads("{" + begins + json.dumps(record)[1:]))


@pytest.fixture
def output() -> Lines:
    return Lines()


@pytest.fixture
def logger(output: Lines) -> Iterator[logging.Logger]:
    logger = logging.getLogger("test.telemetry")
    state = InvocationState()
    state.begin("id-1")
    state.ask("digits")
    handler = JsonLogHandler(output, state)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


class TestLogs:
    def test_a_record_carries_request_model_and_cold_start(self, logger: logging.Logger, output: Lines) -> None:
        logger.warning("%s of %d", "one", 2)
        (record,) = output.records
        assert (record["message"], record["level"]) == ("one of 2", "WARNING")
        assert (record["requestId"], record["model"], record["coldStart"]) == ("id-1", "digits", True)
        assert record["timestamp"].endswith("Z")

    def test_a_traceback_is_one_field(self, logger: logging.Logger, output: Lines) -> None:
        try:
            raise ValueError("inside")
        except ValueError:
            logger.exception("failed")
        (record,) = output.records
        assert "ValueError: inside" in record["traceback"]

    def test_only_the_first_invocation_is_a_cold_start(self) -> None:
        state = InvocationState()
        state.begin("a")
        assert state.fields() == {"requestId": "a", "coldStart": True}
        state.ask("m")
        state.begin("b")
        assert state.fields() == {"requestId": "b", "coldStart": False}

    @pytest.mark.usefixtures("restored_process")
    def test_routing_twice_writes_each_record_once(self, output: Lines) -> None:
        for _ in range(2):
            route_logging(output, InvocationState(), "INFO")
        logging.getLogger("anything").info("once")
        logging.getLogger("anything").debug("not at all")
        assert [record["message"] for record in output.records] == ["once"]


class TestMetrics:
    def test_a_line_is_the_embedded_metric_format(self, output: Lines) -> None:
        metrics = Metrics(output, namespace="models", function_name="predict")
        prediction = Prediction(1, phases=(("preprocess", 1.25), ("inference", 2.0), ("postprocess", 0.5)))
        metrics.request(request_values(200, 4.0, prediction), model="digits", fields={"path": "/x"})
        (record,) = output.records
        (definition,) = record["_aws"]["CloudWatchMetrics"]
        assert isinstance(record["_aws"]["Timestamp"], int)
        assert (definition["Namespace"], definition["Dimensions"]) == ("models", [["FunctionName", "ModelName"]])
        assert {metric["Name"]: metric["Unit"] for metric in definition["Metrics"]} == {
            "Requests2XX": "Count",
            "PredictionTime": "Milliseconds",
            "PreprocessTime": "Milliseconds",
            "InferenceTime": "Milliseconds",
            "PostprocessTime": "Milliseconds",
        }
        assert (record["FunctionName"], record["ModelName"], record["InferenceTime"], record["path"]) == (
            "predict",
            "digits",
            2.0,
            "/x",
        )

    @pytest.mark.parametrize(("status", "name"), [(200, "Requests2XX"), (404, "Requests4XX"), (507, "Requests5XX")])
    def test_requests_are_counted_by_the_class_of_their_status(self, status: int, name: str) -> None:
        assert request_values(status, 1.0, None) == {name: 1}

    def test_what_a_service_counts_keeps_its_dimensions_and_stays_finite(self, output: Lines) -> None:
        metrics = Metrics(output, namespace="models", function_name="predict")
        counted = (
            ("Faces", 2.0, "Count", (("Level", "Model"),)),
            ("Blur", 0.5, "None", (("Level", "Model"),)),
            ("Bytes", 3.0, "Bytes", ()),
            ("Odd", float("nan"), "Count", ()),
        )
        metrics.service(Prediction(1, metrics=counted), model="m")
        first, second = output.records
        assert (first["Level"], first["Faces"], first["Blur"]) == ("Model", 2.0, 0.5)
        assert second["Bytes"] == 3.0
        assert "Odd" not in second

    def test_more_than_a_hundred_metrics_take_several_lines(self, output: Lines) -> None:
        metrics = Metrics(output, namespace="models", function_name="predict")
        metrics.service(Prediction(1, metrics=tuple((f"m{i}", 1.0, "Count", ()) for i in range(150))), model="m")
        assert [len(record["_aws"]["CloudWatchMetrics"][0]["Metrics"]) for record in output.records] == [100, 50]


@contextmanager
def piped() -> Iterator[int]:
    """A pipe in the place of the process's real stdout; yields the end to read from."""
    kept, (read, write) = os.dup(1), os.pipe()
    os.dup2(write, 1)
    os.close(write)
    os.set_blocking(read, False)
    try:
        yield read
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(read)


def _write_and_raise() -> None:
    os.write(1, b"before\n")
    raise ValueError("x")


class TestOutput:
    def test_a_record_is_one_line_whatever_is_in_it(self) -> None:
        with piped() as pipe:
            Output().write({"message": "two\nlines ü \ud800", "object": object})
            line = os.read(pipe, 10_000)
        assert line.count(b"\n") == 1
        assert json.loads(line)["message"].startswith("two\nlines ü ")

    def test_what_is_written_meanwhile_is_held_back_and_reported(self) -> None:
        told: list[str] = []
        with piped() as pipe:
            output = Output()
            for number in range(2):
                with output.catch(told.append):
                    os.write(1, f"first {number}\n\nsecond".encode())
                    os.write(2, b" half\n")
                    output.write({"ours": number})
            written = os.read(pipe, 10_000)
        assert told == ["first 0", "second half", "first 1", "second half"]
        assert [json.loads(line) for line in written.splitlines()] == [{"ours": 0}, {"ours": 1}]

    def test_descriptors_are_given_back_after_an_error(self) -> None:
        told: list[str] = []
        with piped() as pipe:
            with pytest.raises(ValueError, match="x"), Output().catch(told.append):
                _write_and_raise()
            os.write(1, b"after\n")
            written = os.read(pipe, 100)
        assert (told, written) == (["before"], b"after\n")
