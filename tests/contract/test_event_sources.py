"""One HTTP request through every event source: whatever brought it, the Request is the same, and so is the Response."""

from __future__ import annotations

import sys
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

from gluon_lambda.errors import MalformedBody, ResponseTooLarge, UnsupportedEvent
from gluon_lambda.event_sources import EVENT_SOURCES, alb, direct, function_url, http_api, rest_api
from gluon_lambda.event_sources.selection import select
from gluon_lambda.event_sources.wire import Placement, json_size
from gluon_lambda.types import DirectCall, Event, Pairs, Request, Response
from tests.events.gateways import GATEWAYS, Sent, golden

HERE = Placement()
SOURCES = {
    "rest_api": rest_api,
    "rest_api_base64": rest_api,
    "http_api_1_0": rest_api,
    "http_api_1_0_on_stage": rest_api,
    "http_api_2_0": http_api,
    "http_api_2_0_on_stage": http_api,
    "function_url": function_url,
    "alb": alb,
    "alb_multi_value": alb,
    "alb_health_check": alb,
    "direct": direct,
}
FOREIGN = [
    "s3_put",
    "sqs",
    "sns",
    "eventbridge_s3",
    "s3_batch_1_0",
    "s3_batch_2_0",
    "step_functions_map_batch",
    "vpc_lattice_2_0",
    "websocket_message",
    "rest_authorizer",
    "http_api_authorizer",
]

Gateway = Callable[[Sent], Event]


class Context:
    """What awslambdaric hands over beside the event."""

    aws_request_id = "8f5b2b1e-0000-4000-8000-000000000001"

    def get_remaining_time_in_millis(self) -> int:
        """Always the same, so that a test can tell it."""
        return 2_500


@pytest.fixture(params=list(GATEWAYS.values()), ids=list(GATEWAYS))
def gateway(request: pytest.FixtureRequest) -> Gateway:
    """Each service that brings HTTP requests."""
    made: Gateway = request.param
    return made


def arrive(event: Event, placement: Placement = HERE) -> Request:
    request = select(event).to_request(event, Context(), placement)
    assert isinstance(request, Request)
    return request


def leave(response: Response, event: Event) -> Event:
    answer = select(event).to_response(response, event)
    assert isinstance(answer, dict)
    return answer


def headers_of(answer: Event) -> dict[str, list[str]]:
    """What the client gets, from whichever of its places the source reads."""
    groups: dict[str, list[str]] = {name.lower(): [] for name in answer.get("headers", {})}
    for name, value in answer.get("headers", {}).items():
        groups[name.lower()].append(value)
    groups |= {"set-cookie": answer["cookies"]} if "cookies" in answer else {}
    groups.update(answer.get("multiValueHeaders", {}))
    return groups


def body_of(answer: Event) -> bytes:
    body: str = answer["body"]
    return b64decode(body, validate=True) if answer["isBase64Encoded"] else body.encode()


@pytest.mark.parametrize(("name", "source"), SOURCES.items())
def test_every_event_is_taken_by_the_source_that_made_it_and_by_no_other_before(name: str, source: Any) -> None:
    event = GATEWAYS[name](Sent()) if name in GATEWAYS else golden(name)

    assert [known for known in EVENT_SOURCES if known.matches(event)] in ([source], [source, http_api])
    assert select(event) is source


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_request_is_refused_with_the_known_sources_named(name: str) -> None:
    with pytest.raises(UnsupportedEvent) as refused:
        select(golden(name))

    assert all(source.TITLE in str(refused.value) for source in EVENT_SOURCES)
    assert sorted(golden(name))[0] in str(refused.value)


@pytest.mark.parametrize("key", ["Records", "requestContext", "detail-type", "tasks", "Items"])
def test_one_key_of_an_envelope_is_enough_to_be_no_input(key: str) -> None:
    with pytest.raises(UnsupportedEvent, match=key):
        select({key: [1], "data": [2]})


def test_an_event_of_eventbridge_is_told_by_its_version_and_source() -> None:
    with pytest.raises(UnsupportedEvent, match="source, version"):
        select({"version": "0", "source": "my.app"})

    assert select({"source": "my.app"}) is select({"version": 2}) is direct


def test_the_documented_http_api_event_arrives_whole() -> None:
    request = arrive(golden("http_api_2_0"))

    assert request.method == "POST"
    assert request.path == "/my/path"
    assert request.query == (("parameter1", "value1"), ("parameter1", "value2"), ("parameter2", "value"))
    assert request.headers == (("header1", "value1"), ("header2", "value1,value2"), ("cookie", "cookie1; cookie2"))
    assert request.body == b"Hello from Lambda"
    assert request.request_id == Context.aws_request_id
    assert request.remaining_ms() == 2_500


def test_the_documented_rest_event_arrives_whole() -> None:
    request = arrive(golden("rest_api"))

    assert request.method == "GET"
    assert request.path == "/my/path"  # stage "test" is not part of it
    assert request.query == (("parameter1", "value1"), ("parameter1", "value2"), ("parameter2", "value"))
    assert request.headers == (("header1", "value1"), ("header2", "value1"), ("header2", "value2"))
    assert request.body == b""


def test_the_documented_load_balancer_event_arrives_whole() -> None:
    request = arrive(golden("alb_multi_value"))

    assert (request.method, request.path, request.body) == ("GET", "/", b"request_body")
    assert request.query == (("myKey", "val1"), ("myKey", "val2"))
    assert request.header("cookie") == "name1=value1; name2=value2"
    assert [name for name, _ in request.headers].count("cookie") == 1


def test_a_load_balancers_health_check_is_a_request_like_any_other() -> None:
    request = arrive(golden("alb_health_check"))

    assert request == Request(
        "GET", "/", (), (("user-agent", "ELB-HealthChecker/2.0"),), b"", request.request_id, request.remaining_ms
    )


def test_the_base64_sample_of_sam_arrives_decoded() -> None:
    request = arrive(golden("rest_api_base64"))

    assert request.body == b'{"test":"body"}'
    assert request.path == "/path/to/resource"


def test_a_binary_body_arrives_byte_for_byte(gateway: Gateway) -> None:
    body = bytes(range(256))

    assert arrive(gateway(Sent(body=body))).body == body


def test_a_text_body_arrives_as_utf_8(gateway: Gateway) -> None:
    sent = Sent(headers=(("Content-Type", "application/json; charset=utf-8"),), body='{"a": "é, 数"}'.encode())

    request = arrive(gateway(sent))

    assert request.body == sent.body
    assert request.header("content-type") == "application/json; charset=utf-8"


@pytest.mark.parametrize("body", [None, b""])
def test_an_empty_body_is_no_bytes(gateway: Gateway, body: bytes | None) -> None:
    assert arrive(gateway(Sent(body=body))).body == b""


@pytest.mark.parametrize("key", ["body", "isBase64Encoded", "headers", "multiValueHeaders", "cookies"])
def test_a_key_that_a_service_left_out_is_not_missed(gateway: Gateway, key: str) -> None:
    event = gateway(Sent())
    event.pop(key, None)

    assert arrive(event).path == "/digits/predict"


@pytest.mark.parametrize(
    "key", ["queryStringParameters", "multiValueQueryStringParameters", "headers", "multiValueHeaders", "cookies"]
)
def test_a_null_section_is_an_empty_one(gateway: Gateway, key: str) -> None:
    assert arrive({**gateway(Sent()), key: None}).path == "/digits/predict"


@pytest.mark.parametrize("body", ["no base64!", "QUJ", "QU=JD", "QUJD\n", "é"])
def test_a_body_that_is_not_the_base64_it_says_is_refused(gateway: Gateway, body: str) -> None:
    event = gateway(Sent(body=b"x")) | {"body": body, "isBase64Encoded": True}

    with pytest.raises(MalformedBody, match="does not decode as base64"):
        arrive(event)


def test_a_body_with_half_a_surrogate_pair_is_refused(gateway: Gateway) -> None:
    with pytest.raises(MalformedBody, match="does not decode as text"):
        arrive(gateway(Sent()) | {"body": "\ud800", "isBase64Encoded": False})


def test_a_body_that_is_no_text_is_refused(gateway: Gateway) -> None:
    with pytest.raises(MalformedBody, match="a JSON dict"):
        arrive(gateway(Sent()) | {"body": {"data": 1}})


def test_cookies_arrive_as_one_header(gateway: Gateway) -> None:
    request = arrive(gateway(Sent(cookies=("a=1", "b=2"))))

    assert [value for name, value in request.headers if name == "cookie"] == ["a=1; b=2"]


def test_repeated_headers_arrive_as_far_as_the_service_tells_them(gateway: Gateway) -> None:
    request = arrive(gateway(Sent(headers=(("X-Tag", "one"), ("X-Tag", "two")))))

    tags = [value for name, value in request.headers if name == "x-tag"]
    told = {
        http_api.TITLE: [["one,two"]],
        function_url.TITLE: [["one,two"]],
        rest_api.TITLE: [["one", "two"]],
        alb.TITLE: [["one", "two"], ["two"]],  # single-value: the load balancer keeps the last one
    }
    assert tags in told[select(gateway(Sent())).TITLE]


def test_repeated_query_parameters_arrive_decoded_and_in_order(gateway: Gateway) -> None:
    query = (("k&1", "a b"), ("k&1", "c+d"), ("empty", ""), ("é", "%41"))

    request = arrive(gateway(Sent(query=query)))

    single_value = gateway(Sent()).get("requestContext", {}).get("elb") and "headers" in gateway(Sent())
    assert request.query == (query[1:] if single_value else query)


@pytest.mark.parametrize("path", ["/modèle/predict", "/数字/predict", "/a b/predict", "/a+b/predict", "/100%/predict"])
def test_a_path_arrives_decoded_once(gateway: Gateway, path: str) -> None:
    assert arrive(gateway(Sent(path=path))).path == path


@pytest.mark.parametrize("path", ["/", "/prod", "/prod/predict", "/production/predict", "/ping"])
def test_the_stage_is_taken_off_once_and_only_where_it_stands(gateway: Gateway, path: str) -> None:
    assert arrive(gateway(Sent(path=path))).path == path


@pytest.mark.parametrize("base_path", ["models", "/models", "/models/"])
@pytest.mark.parametrize("path", ["/digits/predict", "/models", "/models/digits", "/"])
def test_the_base_path_of_a_custom_domain_is_taken_off(gateway: Gateway, base_path: str, path: str) -> None:
    request = arrive(gateway(Sent(path=f"/models{path}")), Placement(base_path=base_path))

    assert request.path == path


def test_a_path_outside_the_base_path_stays_whole(gateway: Gateway) -> None:
    request = arrive(gateway(Sent(path="/modelsandmore/x")), Placement(base_path="/models"))

    assert request.path == "/modelsandmore/x"


def test_a_method_arrives_in_capitals(gateway: Gateway) -> None:
    assert arrive(gateway(Sent(method="put"))).method == "PUT"


TEXTS = [
    "application/json",
    "application/json; charset=utf-8",
    "text/plain",
    "application/problem+json",
    "application/x-ndjson",
    "Text/HTML",
]


@pytest.mark.parametrize("content_type", TEXTS)
def test_text_leaves_as_text(gateway: Gateway, content_type: str) -> None:
    body = '{"a": "é"}'.encode()

    answer = leave(Response(200, (("content-type", content_type),), body), gateway(Sent()))

    assert answer["isBase64Encoded"] is False
    assert answer["body"] == '{"a": "é"}'
    assert answer["statusCode"] == 200
    assert headers_of(answer) == {"content-type": [content_type]}


BINARIES: list[tuple[Pairs, bytes]] = [
    ((("content-type", "image/png"),), b"\x89PNG\x00"),
    ((("content-type", "application/octet-stream"),), b"abc"),
    ((), b"abc"),
    ((("content-type", "text/plain"),), b"\xff\xfe"),
    ((("content-type", "application/json"), ("content-encoding", "br")), b"what looks like text"),
]


@pytest.mark.parametrize(("headers", "body"), BINARIES)
def test_whatever_is_no_text_leaves_as_base64(gateway: Gateway, headers: Pairs, body: bytes) -> None:
    answer = leave(Response(200, headers, body), gateway(Sent()))

    assert answer["isBase64Encoded"] is True
    assert body_of(answer) == body


def test_an_empty_body_leaves_as_empty_text(gateway: Gateway) -> None:
    answer = leave(Response(204, (), b""), gateway(Sent()))

    assert (answer["body"], answer["isBase64Encoded"], answer["statusCode"]) == ("", False, 204)


def test_an_error_leaves_with_its_status(gateway: Gateway) -> None:
    body = b'{"code": 404, "type": "ModelNotFound", "message": "no model x"}'

    answer = leave(Response(404, (("content-type", "application/json"),), body), gateway(Sent()))

    assert answer["statusCode"] == 404
    assert body_of(answer) == body
    assert isinstance(answer["statusCode"], int)


def test_repeated_cookies_leave_one_by_one(gateway: Gateway) -> None:
    cookies = [f"c{turn}=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT" for turn in range(9)]
    headers = (("content-type", "text/plain"), *(("set-cookie", cookie) for cookie in cookies))

    answer = leave(Response(200, headers, b"x"), gateway(Sent()))

    assert headers_of(answer)["set-cookie"] == cookies


def test_repeated_headers_leave_whole(gateway: Gateway) -> None:
    answer = leave(Response(200, (("vary", "Accept"), ("vary", "Origin")), b""), gateway(Sent()))

    assert headers_of(answer)["vary"] in (["Accept", "Origin"], ["Accept, Origin"])


def test_a_load_balancer_gets_the_kind_of_headers_that_it_sent() -> None:
    response = Response(200, (("content-type", "text/plain"),), b"x")

    single, multi = leave(response, golden("alb")), leave(response, golden("alb_multi_value"))

    assert single["headers"] == {"content-type": "text/plain"}
    assert "multiValueHeaders" not in single
    assert multi["multiValueHeaders"] == {"content-type": ["text/plain"]}
    assert "headers" not in multi


@pytest.mark.parametrize(("status", "line"), [(200, "200 OK"), (404, "404 Not Found"), (299, "299 Unknown")])
def test_a_load_balancer_gets_a_status_line(status: int, line: str) -> None:
    assert leave(Response(status, (), b""), golden("alb"))["statusDescription"] == line


def test_a_v2_answer_has_no_cookies_where_there_are_none() -> None:
    assert "cookies" not in leave(Response(200, (), b"x"), golden("http_api_2_0"))


def longest_body(event: Event, headers: Pairs, unit: bytes) -> int:
    """How many ``unit`` go into an answer of just the limit."""
    frame = json_size(leave(Response(200, headers, b""), event))
    each = json_size(unit.decode()) - 2
    return (select(event).RESPONSE_LIMIT_BYTES - frame) // each


@pytest.mark.parametrize("unit", [b"a", "é".encode(), b'"', b"\x01", "😀".encode()], ids=repr)
def test_text_is_refused_from_the_first_byte_over_the_limit(gateway: Gateway, unit: bytes) -> None:
    headers = (("content-type", "text/plain"),)
    event = gateway(Sent())
    fitting = longest_body(event, headers, unit)

    answer = leave(Response(200, headers, unit * fitting), event)

    assert json_size(answer) <= select(event).RESPONSE_LIMIT_BYTES
    with pytest.raises(ResponseTooLarge, match=f"{select(event).RESPONSE_LIMIT_BYTES:,}"):
        leave(Response(200, headers, unit * (fitting + 1)), event)


def test_the_size_is_that_of_what_awslambdaric_sends(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python{}.{}".format(*sys.version_info))
    headers = (("content-type", "text/plain"), ("x-é", "é"))
    answer = leave(Response(200, headers, 'aé"😀\x01/\u2028'.encode()), gateway(Sent()))

    sent, _ = LambdaMarshaller().marshal_response(answer)

    assert json_size(answer) == len(sent.encode())


def test_base64_counts_as_base64(gateway: Gateway) -> None:
    headers = (("content-type", "image/png"),)
    event = gateway(Sent())
    limit = select(event).RESPONSE_LIMIT_BYTES

    leave(Response(200, headers, bytes((limit - 1_000) // 4 * 3)), event)

    with pytest.raises(ResponseTooLarge, match="Ask for less"):
        leave(Response(200, headers, bytes(limit // 4 * 3)), event)


def test_headers_count_towards_the_limit(gateway: Gateway) -> None:
    headers = (("x-long", "v" * 1_000_000), ("x-longer", "v" * 5_300_000))

    with pytest.raises(ResponseTooLarge):
        leave(Response(200, headers, b""), gateway(Sent()))


def test_the_load_balancers_limit_is_smaller() -> None:
    response = Response(200, (("content-type", "text/plain"),), b"x" * 1_100_000)

    leave(response, golden("rest_api"))
    with pytest.raises(ResponseTooLarge, match="Application Load Balancer takes 1,048,576"):
        leave(response, golden("alb"))


BARE: list[Any] = [[[1, 2], [3, 4]], {"data": [1.0]}, "text", 7, None, {}, {"version": 3}, {"inputs": 1, "extra": 2}]


@pytest.mark.parametrize("event", BARE)
def test_a_bare_payload_goes_to_the_only_model(event: Any) -> None:
    assert select(event).to_request(event, Context(), Placement(models=1)) == DirectCall(None, event)


@pytest.mark.parametrize("models", [0, 2])
@pytest.mark.parametrize("event", [*BARE, {"inputs": {"data": 1}}])
def test_a_bare_payload_is_refused_where_it_could_mean_several_models(event: Any, models: int) -> None:
    with pytest.raises(UnsupportedEvent, match=rf'{models} are: send \{{"model"'):
        select(event).to_request(event, Context(), Placement(models=models))


@pytest.mark.parametrize("models", [0, 1, 2])
def test_an_addressed_call_names_its_model(models: int) -> None:
    event = golden("direct")

    call = select(event).to_request(event, Context(), Placement(models=models))

    assert call == DirectCall("digits", {"data": [[1, 2], [3, 4]]})


def test_inputs_alone_go_to_the_only_model() -> None:
    event = {"inputs": {"data": 1}}

    assert select(event).to_request(event, Context(), HERE) == DirectCall(None, {"data": 1})


def test_a_direct_call_gets_the_prediction_itself() -> None:
    json_answer = Response(200, (("content-type", "application/json"),), b'{"prediction": [1, null]}')
    text_answer = Response(200, (("content-type", "text/plain"),), "é".encode())
    image_answer = Response(200, (("content-type", "image/png"),), b"\x89PNG")

    assert direct.to_response(json_answer, {}) == {"prediction": [1, None]}
    assert direct.to_response(text_answer, {}) == "é"
    assert direct.to_response(image_answer, {}) == {"content_type": "image/png", "base64": "iVBORw=="}


def test_a_direct_answer_is_measured_as_the_runtime_writes_it() -> None:
    numbers = b"[" + b",".join([b"1"] * 2_100_000) + b"]"  # 4.2 MB as it stands, 6.3 MB with the runtime's blanks

    with pytest.raises(ResponseTooLarge, match="6,300,000"):
        direct.to_response(Response(200, (("content-type", "application/json"),), numbers), {})
