"""``python -m local_emulator invoke``: golden events of every source and direct invokes through the real handler."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.end_to_end.endpoint import Endpoint, run_emulator
from tests.end_to_end.test_routes import PICTURE
from tests.events.gateways import GATEWAYS, Sent, golden

IMAGE = {"model": "small", "inputs": {"data": b64encode(PICTURE).decode()}}
POST = Sent(path="/small/predict", body=PICTURE)


def invoke(archive: Path, event: object, folder: Path) -> tuple[int, Any]:
    """Exit code and answer of one ``invoke -e event.json``."""
    file = folder / "event.json"
    file.write_text(json.dumps(event))
    result = run_emulator("invoke", "-e", str(file), "--models", f"small={archive}")
    return result.returncode, json.loads(result.stdout)


@pytest.mark.parametrize("source", ["rest_api", "http_api_2_0", "function_url", "alb", "alb_multi_value"])
def test_an_event_of_each_source_is_answered_in_its_own_form(source: str, image_archive: Path, tmp_path: Path) -> None:
    code, answer = invoke(image_archive, GATEWAYS[source](POST), tmp_path)
    assert (code, answer["statusCode"], answer["isBase64Encoded"]) == (0, 200, False)
    assert len(json.loads(answer["body"])["prediction"]) == 2
    multi_value = source == "alb_multi_value"
    headers = answer["multiValueHeaders" if multi_value else "headers"]
    assert headers["content-type"] == (["application/json"] if multi_value else "application/json")
    assert ("statusDescription" in answer) == source.startswith("alb")


def test_a_golden_event_as_it_stands_is_answered_404_as_its_path_is_no_route(
    image_archive: Path, tmp_path: Path
) -> None:
    code, answer = invoke(image_archive, golden("http_api_2_0"), tmp_path)
    assert (code, answer["statusCode"], json.loads(answer["body"])["code"]) == (0, 404, 404)


def test_a_direct_invoke_gives_the_prediction_itself(image_archive: Path, tmp_path: Path) -> None:
    code, answer = invoke(image_archive, IMAGE, tmp_path)
    assert code == 0
    assert set(answer) == {"prediction"}
    assert invoke(image_archive, IMAGE["inputs"], tmp_path) == (0, answer), "the bare input of the only model"


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"model": "large", "inputs": {}}, "ModelNotFound"),
        ({"model": "small", "inputs": {"data": 1}}, "InputMismatch"),
        (golden("s3_put"), "UnsupportedEvent"),
        (golden("sqs"), "UnsupportedEvent"),
    ],
    ids=["no such model", "wrong input", "S3", "SQS"],
)
def test_a_failure_is_the_stable_code_and_exit_code_1(
    event: object, error: str, image_archive: Path, tmp_path: Path
) -> None:
    code, answer = invoke(image_archive, event, tmp_path)
    assert (code, answer["errorType"]) == (1, error)
    assert answer["errorMessage"]


def test_boto3_invokes_the_serving_emulator(examples: Endpoint) -> None:
    config = Config(retries={"total_max_attempts": 1})
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    client = boto3.client("lambda", endpoint_url=examples.url, config=config, **keys)
    text = "The nonstick coating is easy to clean and the lid is dishwasher safe in my kitchen."
    review = {"review_title": "Great frying pan", "review": text}
    event = {"model": "char_cnn_native", "inputs": {"data": [review]}}
    answer = client.invoke(FunctionName="PredictFunction", Payload=json.dumps(event))
    assert "FunctionError" not in answer
    assert json.load(answer["Payload"])[0]["category"] == "Home and Kitchen"
    failed = client.invoke(FunctionName="PredictFunction", Payload=json.dumps({"model": "none", "inputs": 1}))
    assert failed["FunctionError"] == "Unhandled"
    assert json.load(failed["Payload"])["errorType"] == "ModelNotFound"
