"""The HTTP API front end: requests become the events that AWS documents, answers become responses by AWS's rules."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from local_emulator.front_ends.http_api import answer
from local_emulator.front_ends.http_api_event import Arrival, arrival, to_event
from local_emulator.front_ends.http_api_response import MalformedResponse, to_response
from local_emulator.http_server import HttpRequest, HttpResponse, Pairs
from local_emulator.records import Ending, Invocation, Outcome

EVENTS = Path(__file__).parents[1] / "events"

# 12 March 2020, 19:03:58 UTC; the documented event's own timeEpoch is another day than its time.
CAME = Arrival("id", 1_584_039_838_390)


def request(target: str = "/my/path", headers: Pairs = (), body: bytes = b"", method: str = "POST") -> HttpRequest:
    host = ("Host", "id.execute-api.us-east-1.amazonaws.com")
    return HttpRequest(method, target, (host, *headers), body, "192.0.2.1", 3000)


def test_the_event_is_the_one_that_aws_documents() -> None:
    documented = json.loads((EVENTS / "http_api_2_0.json").read_text())
    headers = (
        ("Header1", "value1"),
        ("Header2", "value1"),
        ("header2", "value2"),
        ("Cookie", "cookie1; cookie2"),
        ("User-Agent", "agent"),
        ("Content-Type", "text/plain"),
    )
    event = to_event(request("/my/path?" + documented["rawQueryString"], headers, b"Hello from Lambda"), CAME)
    # What only routes with parameters, stages with variables and authorizers add.
    for optional in ("pathParameters", "stageVariables"):
        documented.pop(optional, None)
    for optional in ("authentication", "authorizer"):
        documented["requestContext"].pop(optional, None)
    documented["requestContext"] |= {"apiId": "local", "timeEpoch": CAME.epoch_ms}
    assert "cookie" not in event["headers"]
    assert documented["headers"].items() <= event["headers"].items()
    assert {**event, "headers": {}} == {**documented, "headers": {}}


def test_headers_are_lower_case_joined_and_extended_as_api_gateway_does() -> None:
    headers = (
        ("X-A", "1"),
        ("x-a", "2"),
        ("Connection", "keep-alive"),
        ("Transfer-Encoding", "chunked"),
        ("X-Forwarded-For", "203.0.113.7"),
    )
    seen = to_event(request(headers=headers, body=b"abc"), CAME)["headers"]
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", seen.pop("x-amzn-trace-id"))
    assert seen == {
        "content-length": "3",
        "host": "id.execute-api.us-east-1.amazonaws.com",
        "x-a": "1,2",
        "x-forwarded-for": "203.0.113.7, 192.0.2.1",
        "x-forwarded-port": "3000",
        "x-forwarded-proto": "http",
    }


def test_a_trace_id_that_came_with_the_request_is_kept() -> None:
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"
    assert to_event(request(headers=(("X-Amzn-Trace-Id", trace),)), CAME)["headers"]["x-amzn-trace-id"] == trace


def test_every_request_has_an_id_and_a_time_of_its_own() -> None:
    first, second = arrival(), arrival()
    assert first.request_id != second.request_id
    assert re.fullmatch(r"[A-Za-z0-9+/]{15}=", first.request_id)
    assert second.epoch_ms >= first.epoch_ms > 1_700_000_000_000


def test_the_path_is_decoded_and_the_query_is_not() -> None:
    event = to_event(request("/a%20b/%C3%BC?q=%20%26&flag&q=2", method="GET"), CAME)
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == "/a b/ü"
    assert event["rawQueryString"] == "q=%20%26&flag&q=2"
    assert event["queryStringParameters"] == {"q": " &,2", "flag": ""}


def test_what_is_not_there_is_not_in_the_event() -> None:
    event = to_event(request(method="GET"), CAME)
    assert not {"cookies", "queryStringParameters", "body", "pathParameters"} & set(event)
    assert event["rawQueryString"] == ""
    assert event["isBase64Encoded"] is False
    assert event["headers"]["content-length"] == "0"


@pytest.mark.parametrize(
    ("headers", "body", "is_text"),
    [
        ((("Content-Type", "application/json"),), b'{"a": 1}', True),
        ((("Content-Type", "application/JSON; charset=utf-8"),), "ü".encode(), True),
        ((("Content-Type", "text/csv"),), b"a,b", True),
        ((("Content-Type", "application/problem+json"),), b"{}", True),
        ((("Content-Type", "text/plain"),), b"\xff\xfe", False),
        ((("Content-Type", "application/json"), ("Content-Encoding", "gzip")), b"{}", False),
        ((("Content-Type", "image/png"),), b"\x89PNG", False),
        ((("Content-Type", "multipart/form-data; boundary=x"),), b"--x", False),
        ((("Content-Type", "application/x-www-form-urlencoded"),), b"a=b", False),
        ((), b"abc", False),
    ],
)
def test_a_body_travels_as_text_only_where_its_type_says_so(headers: Pairs, body: bytes, *, is_text: bool) -> None:
    event = to_event(request(headers=headers, body=body), CAME)
    assert event["isBase64Encoded"] is not is_text
    assert event["body"] == (body.decode() if is_text else base64.b64encode(body).decode())


def respond(payload: Any) -> HttpResponse:
    return to_response(Outcome(Ending.SUCCESS, json.dumps(payload).encode()))


def test_a_full_answer_becomes_the_response() -> None:
    response = respond(
        {
            "statusCode": "201",
            "headers": {
                "Content-Type": "text/html",
                "X-Number": 1,
                "X-Flag": True,
                "Content-Length": "9",
                "x-a": "1,2",
            },
            "cookies": ["a=b; Path=/", "c=d"],
            "body": "<p>ü</p>",
        }
    )
    assert response == HttpResponse(
        201,
        (
            ("Content-Type", "text/html"),
            ("X-Number", "1"),
            ("X-Flag", "true"),
            ("x-a", "1,2"),
            ("Set-Cookie", "a=b; Path=/"),
            ("Set-Cookie", "c=d"),
        ),
        "<p>ü</p>".encode(),
    )


def test_a_base64_body_is_decoded() -> None:
    encoded = base64.b64encode(b"\x00\xff").decode()
    assert respond({"statusCode": 200, "isBase64Encoded": True, "body": encoded}).body == b"\x00\xff"


def test_a_body_without_content_type_is_plain_text() -> None:
    assert respond({"statusCode": 200, "body": "x"}).headers == (("Content-Type", "text/plain;charset=UTF-8"),)
    assert respond({"statusCode": 204}) == HttpResponse(204)


@pytest.mark.parametrize(
    ("payload", "body"),
    [({"a": 1}, b'{"a": 1}'), ([1, 2], b"[1, 2]"), ("Hello", b"Hello"), (None, b"null"), (1.5, b"1.5")],
)
def test_an_answer_without_a_status_is_the_json_body_of_a_200(payload: Any, body: bytes) -> None:
    assert respond(payload) == HttpResponse(200, (("Content-Type", "application/json"),), body)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ({"statusCode": "abc"}, "statusCode"),
        ({"statusCode": None}, "statusCode"),
        ({"statusCode": True}, "statusCode"),
        ({"statusCode": 100}, "statusCode"),
        ({"statusCode": 200, "headers": [1]}, "headers is a list"),
        ({"statusCode": 200, "headers": {"a": {}}}, "header 'a' is a dict"),
        ({"statusCode": 200, "headers": {"a": "b\r\nSet-Cookie: c"}}, "header 'a' holds"),
        ({"statusCode": 200, "headers": {"a b": "c"}}, "header 'a b' holds"),
        ({"statusCode": 200, "cookies": "a=b"}, "cookies"),
        ({"statusCode": 200, "body": {"a": 1}}, "body is a dict"),
        ({"statusCode": 200, "body": "?", "isBase64Encoded": True}, "not base64"),
        ({"statusCode": 200, "body": "\ud800"}, "surrogate"),
    ],
)
def test_an_answer_that_is_no_response_is_named(payload: Any, complaint: str) -> None:
    with pytest.raises(MalformedResponse, match=re.escape(complaint)):
        respond(payload)


def test_an_answer_that_is_not_json_is_named() -> None:
    with pytest.raises(MalformedResponse, match="not JSON"):
        to_response(Outcome(Ending.SUCCESS, b"\xff"))


@pytest.mark.parametrize(
    ("ending", "status", "message"),
    [
        (Ending.FUNCTION_ERROR, 500, "Internal Server Error"),
        (Ending.INIT_ERROR, 500, "Internal Server Error"),
        (Ending.EXIT, 500, "Internal Server Error"),
        (Ending.RESPONSE_TOO_LARGE, 500, "Internal Server Error"),
        (Ending.TIMEOUT, 503, "Service Unavailable"),
    ],
)
def test_what_went_wrong_inside_is_not_told_to_the_client(ending: Ending, status: int, message: str) -> None:
    response = to_response(Outcome(ending, b'{"errorMessage": "secret"}'))
    assert (response.status, json.loads(response.body)) == (status, {"message": message})


def test_every_ending_has_its_answer() -> None:
    for ending in set(Ending) - {Ending.SUCCESS}:
        assert to_response(Outcome(ending, b"{}")).status >= 500


def test_the_function_gets_the_event_and_the_client_its_answer() -> None:
    asked: list[Invocation] = []

    def invoke(invocation: Invocation) -> Outcome:
        asked.append(invocation)
        return Outcome(Ending.SUCCESS, b'{"statusCode": 200, "body": "yes"}')

    response = answer(request(), invoke, log=_never)
    event = json.loads(asked[0].event)
    assert (response.status, response.body) == (200, b"yes")
    assert response.headers[-1] == ("Apigw-Requestid", event["requestContext"]["requestId"])
    assert asked[0].trace_id == event["headers"]["x-amzn-trace-id"]
    assert asked[0].request_id != event["requestContext"]["requestId"]


def test_an_event_over_lambdas_limit_is_refused_and_the_log_says_why() -> None:
    lines: list[str] = []
    response = answer(request(body=b"x" * 4_800_000), _unreachable, log=lines.append)
    assert (response.status, json.loads(response.body)) == (413, {"message": "Request Entity Too Large"})
    assert "Lambda takes 6291456" in lines[0]


def test_a_malformed_answer_is_a_500_and_the_log_says_why() -> None:
    lines: list[str] = []
    response = answer(request(), lambda _: Outcome(Ending.SUCCESS, b'{"statusCode": 7}'), log=lines.append)
    assert response.status == 500
    assert "statusCode is 7" in lines[0]


def _never(line: str) -> None:
    raise AssertionError(line)


def _unreachable(invocation: Invocation) -> Outcome:
    raise AssertionError("the function must not be asked")
