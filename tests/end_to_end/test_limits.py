"""What a service can do to its process, and what the client gets: large answers, NaN, noise, exceptions, exits, a slow answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.endpoint import Answer, Endpoint, serving
from tests.service_archives import manifest_0_4, signature, write_files

CODE = """
import os
import subprocess
import sys
import time

import numpy as np

from mms.model_service.model_service import SingleNodeService


class Unruly(SingleNodeService):
    def _inference(self, data):
        how, argument = data[0]
        if how == "characters":
            return "x" * argument
        if how == "numbers":
            return {"scores": np.array([1.5, float("nan"), float("inf")]), "best": np.int64(3)}
        if how == "noise":
            print("printed by Python")
            os.write(1, b"written to the descriptor\\n")
            subprocess.run(["echo", "written by a child"])
        if how == "raise":
            raise ValueError("the secret of the house")
        if how == "sys.exit":
            sys.exit(3)
        if how == "die":
            os._exit(3)
        if how == "sleep":
            time.sleep(argument)
        return os.getpid()
"""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("limits")
    files = {"MANIFEST.json": manifest_0_4("s.py"), "signature.json": signature("application/json"), "s.py": CODE}
    archive = write_files(folder / "unruly", dict(files))
    options = ["--models", f"unruly={archive}", "--parameter-overrides", "Timeout=2"]
    with serving(folder, *options) as serves:
        yield serves


def do(endpoint: Endpoint, how: str, argument: Any = 0) -> Answer:
    body = json.dumps({"data": [how, argument]}).encode()
    return endpoint.ask("POST", "/unruly/predict", body, {"Content-Type": "application/json"})


@pytest.fixture
def process(endpoint: Endpoint) -> int:
    """The process that answers now."""
    pid: int = do(endpoint, "nothing").json["prediction"]
    return pid


def test_an_answer_just_under_lambdas_limit_arrives_whole(endpoint: Endpoint, process: int) -> None:
    answer = do(endpoint, "characters", 6_200_000)
    assert (answer.status, len(answer.json["prediction"])) == (200, 6_200_000)
    assert do(endpoint, "nothing").json == {"prediction": process}


def test_an_answer_over_it_is_413_with_both_sizes_and_the_process_lives(endpoint: Endpoint, process: int) -> None:
    answer = do(endpoint, "characters", 6_400_000)
    assert (answer.status, answer.json["code"]) == (413, 413)
    assert "6,291,556" in answer.json["message"]
    assert do(endpoint, "nothing").json == {"prediction": process}


def test_a_request_over_it_is_413_and_never_reaches_the_process(endpoint: Endpoint, process: int) -> None:
    refused = do(endpoint, "nothing", "x" * 6_400_000)
    assert (refused.status, refused.json) == (413, {"message": "Request Entity Too Large"})
    assert do(endpoint, "nothing", "x" * 6_200_000).status == 200
    assert do(endpoint, "nothing").json == {"prediction": process}


def test_what_is_not_finite_never_makes_invalid_json(endpoint: Endpoint) -> None:
    answer = do(endpoint, "numbers")
    assert b"NaN" not in answer.body
    assert answer.json == {"prediction": {"scores": [1.5, None, None], "best": 3}}


def test_noise_becomes_records_with_the_request_id(endpoint: Endpoint) -> None:
    answer = do(endpoint, "noise")
    assert answer.status == 200
    records = [json.loads(line) for line in endpoint.log.read_text().splitlines() if line.startswith("{")]
    said = {
        record["message"]: record.get("requestId")
        for record in records
        if record.get("logger") == "output" and "MXNet" not in record["message"]
    }
    wanted = ("printed by Python", "written to the descriptor", "written by a child")
    assert {text: said.get(text) for text in wanted} == dict.fromkeys(wanted, answer.headers["x-request-id"])


@pytest.mark.parametrize("how", ["raise", "sys.exit"])
def test_a_service_that_raises_is_500_told_in_the_log_only_and_the_process_lives(
    endpoint: Endpoint, process: int, how: str
) -> None:
    answer = do(endpoint, how)
    assert (answer.status, answer.json["phase"]) == (500, "inference")
    assert b"secret" not in answer.body
    assert do(endpoint, "nothing").json == {"prediction": process}
    assert ("the secret of the house" in endpoint.log.read_text()) or how == "sys.exit"


@pytest.mark.parametrize(("how", "status"), [("die", 500), ("sleep", 503)])
def test_a_process_that_dies_or_is_too_slow_costs_its_own_request_only(
    endpoint: Endpoint, process: int, how: str, status: int
) -> None:
    assert do(endpoint, how, 30).status == status
    after = do(endpoint, "nothing")
    assert (after.status, after.json["prediction"] != process) == (200, True)
