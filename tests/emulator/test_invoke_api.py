"""The Invoke API, asked by boto3: what Lambda answers to it."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local_emulator.front_ends import invoke_api
from local_emulator.front_ends.http_api import refuse
from local_emulator.http_server import HttpRequest, HttpServer, Service
from local_emulator.records import Invocation
from tests.emulator.sample_function import MakeFunction


@pytest.fixture
def accepted() -> list[Invocation]:
    """The asynchronous invokes that were taken."""
    return []


@pytest.fixture
def server(make_function: MakeFunction, accepted: list[Invocation]) -> Iterator[HttpServer]:
    function, _ = make_function(timeout_seconds=1)
    service = Service(lambda request: invoke_api.answer(request, function, accepted.append), refuse, 32 << 20, 5.0)
    server = HttpServer("127.0.0.1", 0, service)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: HttpServer) -> Any:
    return boto3.client(
        "lambda",
        endpoint_url=f"http://127.0.0.1:{server.port}",
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_an_invoke_answers_with_the_functions_payload(client: Any) -> None:
    answer = client.invoke(FunctionName="Echo", Payload=b'{"a": [1, "\xc3\xbc"]}')
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert "FunctionError" not in answer
    assert "LogResult" not in answer
    assert json.loads(answer["Payload"].read()) == {"a": [1, "ü"]}


def test_the_request_id_is_the_invocations(client: Any) -> None:
    answer = client.invoke(FunctionName="Echo", Payload=b'{"how": "describe"}')
    assert answer["ResponseMetadata"]["RequestId"] == json.loads(answer["Payload"].read())["request_id"]


@pytest.mark.parametrize(
    ("how", "error_type"), [("raise", "ValueError"), ("exit", "Runtime.ExitError"), ("sleep", "Sandbox.Timedout")]
)
def test_an_error_in_the_function_is_a_200_that_says_so(client: Any, how: str, error_type: str) -> None:
    answer = client.invoke(FunctionName="Echo", Payload=json.dumps({"how": how}))
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.loads(answer["Payload"].read())["errorType"] == error_type


def test_the_log_tail_comes_where_it_is_asked_for(client: Any) -> None:
    answer = client.invoke(FunctionName="Echo", LogType="Tail", Payload=b'{"how": "echo"}')
    tail = base64.b64decode(answer["LogResult"]).decode()
    assert "START RequestId: " in tail
    assert "how: echo" in tail
    assert "REPORT RequestId: " in tail


def test_a_dry_run_does_not_reach_the_function(client: Any) -> None:
    assert client.invoke(FunctionName="Echo", InvocationType="DryRun")["StatusCode"] == 204
    described = client.invoke(FunctionName="Echo", Payload=b'{"how": "describe"}')
    assert json.loads(described["Payload"].read())["calls"] == 1


def test_an_asynchronous_invoke_is_taken_and_answered_before_it_is_run(client: Any, accepted: list[Invocation]) -> None:
    answer = client.invoke(FunctionName="Echo", InvocationType="Event", Payload=b'{"how": "sleep"}')
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    ((request_id, event, *_),) = accepted
    assert (request_id, event) == (answer["ResponseMetadata"]["RequestId"], b'{"how": "sleep"}')


def test_an_asynchronous_payload_over_one_megabyte_is_too_large(client: Any, accepted: list[Invocation]) -> None:
    with pytest.raises(client.exceptions.RequestTooLargeException, match="smaller than 1048576 bytes"):
        client.invoke(FunctionName="Echo", InvocationType="Event", Payload=json.dumps("x" * 1_048_575))
    assert not accepted


def test_no_payload_is_an_empty_event(client: Any) -> None:
    assert client.invoke(FunctionName="Echo")["Payload"].read() == b"{}"


def test_the_client_context_reaches_the_function(client: Any) -> None:
    context = base64.b64encode(b'{"custom": {"k": "v"}}').decode()
    answer = client.invoke(FunctionName="Echo", ClientContext=context, Payload=b'{"how": "describe"}')
    assert json.loads(answer["Payload"].read())["client_context"] == {"k": "v"}


@pytest.mark.parametrize(
    "name",
    [
        "Echo:$LATEST",
        "123456789012:function:Echo",
        "arn:aws:lambda:us-east-1:123456789012:function:Echo",
        "arn:aws:lambda:us-east-1:123456789012:function:Echo:$LATEST",
    ],
)
def test_a_function_goes_by_its_name_and_its_arn(client: Any, name: str) -> None:
    assert client.invoke(FunctionName=name)["StatusCode"] == 200


@pytest.mark.parametrize("target", [{"FunctionName": "Another"}, {"FunctionName": "Echo", "Qualifier": "7"}])
def test_a_function_that_is_not_there_is_not_found(client: Any, target: dict[str, str]) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="Function not found: arn:aws:lambda:"):
        client.invoke(**target)


@pytest.mark.parametrize(
    "request_",
    [
        {"Payload": b"{not json"},
        {"Payload": b"\xff"},
        {"InvocationType": "Event", "Payload": b"{"},
        {"ClientContext": "!"},
    ],
)
def test_a_request_that_lambda_does_not_take_is_invalid(client: Any, request_: dict[str, Any]) -> None:
    with pytest.raises(client.exceptions.InvalidRequestContentException):
        client.invoke(FunctionName="Echo", **request_)


def test_a_payload_over_six_megabytes_is_too_large(client: Any) -> None:
    with pytest.raises(client.exceptions.RequestTooLargeException, match="smaller than 6291456 bytes"):
        client.invoke(FunctionName="Echo", Payload=json.dumps("x" * 6_291_455))
    assert client.invoke(FunctionName="Echo", Payload=json.dumps({"how": "x" * 1_000_000}))["StatusCode"] == 200


def test_invoke_takes_post_only(server: HttpServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/2015-03-31/functions/Echo/invocations", timeout=5)


def test_a_closing_emulator_is_a_service_error(make_function: MakeFunction, accepted: list[Invocation]) -> None:
    function, _ = make_function()
    function.close()
    request = HttpRequest("POST", "/2015-03-31/functions/Echo/invocations", (), b"{}", "127.0.0.1", 3000)
    response = invoke_api.answer(request, function, accepted.append)
    assert (response.status, dict(response.headers)["x-amzn-ErrorType"]) == (500, "ServiceException")
