"""Who may ask: every way in, by default and where it is opened; and the printed commands, typed into a shell."""

from __future__ import annotations

import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local_emulator.sandbox.environment import REGION
from tests.template.stack import Stack, stack

METHODS = {"x-amazon-apigateway-any-method", "get", "put", "post", "delete", "patch", "head", "options"}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret/+x", "AWS_SESSION_TOKEN": "the/token=="}
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


def routes(made: Stack) -> dict[tuple[str, str], dict[str, Any]]:
    """Every route of every HTTP API, by path and method."""
    apis = made.of_type("AWS::Serverless::HttpApi")
    return {
        (path, method): route
        for api in apis.values()
        for path, methods in api["DefinitionBody"]["paths"].items()
        for method, route in methods.items()
        if method in METHODS
    }


def ways_in(made: Stack) -> dict[str, bool]:
    """Every way by which a request can come, and whether IAM is asked there."""
    found = {
        f"{method} {path}": route.get("security") == [{"AWS_IAM": []}] for (path, method), route in routes(made).items()
    }
    found |= {name: url["AuthType"] == "AWS_IAM" for name, url in made.of_type("AWS::Lambda::Url").items()}
    public = [each for each in made.of_type("AWS::Lambda::Permission").values() if each["Principal"] == "*"]
    return found | {f"permission {each['Action']}": False for each in public}


class TestWhoMayAsk:
    @pytest.mark.parametrize("url", ["Enabled", "Disabled"])
    def test_by_default_there_is_no_way_in_without_authorisation(self, url: str) -> None:
        found = ways_in(stack(FunctionUrl=url))
        assert len(found) == (2 if url == "Enabled" else 1)
        assert all(found.values())

    def test_no_other_resource_takes_requests(self) -> None:
        # Whoever adds a REST API, a load balancer or an event with a route of its own says here how it is guarded.
        made = stack(FunctionUrl="Enabled", Auth="NONE")
        kinds = {each["Type"] for each in made.resources.values()}
        assert {kind for kind in kinds if re.search("Api|Url|LoadBalanc|AppSync|CloudFront", kind)} == {
            "AWS::Serverless::HttpApi",
            "AWS::Lambda::Url",
        }
        for function in made.of_type("AWS::Serverless::Function").values():
            assert "FunctionUrlConfig" not in function
            for event in function["Events"].values():
                assert event["Type"] in ("HttpApi", "SQS")
                # No Auth and no Path of its own: what the API's definition says counts.
                assert event["Type"] == "SQS" or set(event["Properties"]) == {"ApiId", "PayloadFormatVersion"}

    def test_the_scheme_is_the_one_that_api_gateway_knows(self) -> None:
        schemes = stack().properties("PredictApi")["DefinitionBody"]["components"]["securitySchemes"]
        assert schemes["AWS_IAM"]["x-amazon-apigateway-authtype"] == "awsSigv4"

    def test_where_it_is_opened_it_is_throttled_and_says_so(self) -> None:
        made = stack(Auth="NONE", ThrottleRate="3", ThrottleBurst="4")
        assert not any(ways_in(made).values())
        settings = made.properties("PredictApi")["DefaultRouteSettings"]
        assert settings == {"ThrottlingRateLimit": "3", "ThrottlingBurstLimit": "4"}
        assert made.outputs["WhoMayAsk"].startswith("ANYBODY")
        assert "3 requests a second" in made.outputs["WhoMayAsk"]

    def test_where_it_is_not_opened_it_does_not_say_so(self) -> None:
        made = stack()
        assert "DefaultRouteSettings" not in made.properties("PredictApi")
        assert "ANYBODY" not in made.outputs["WhoMayAsk"]
        assert "Principal" not in str(made.of_type("AWS::Lambda::Permission"))

    def test_an_open_url_may_be_asked_by_anybody_and_only_as_a_url(self) -> None:
        made = stack(Auth="NONE", FunctionUrl="Enabled", ReservedConcurrency="5")
        assert made.broken == ()
        by_url, invoke = made.of_type("AWS::Lambda::Permission").values()
        assert (by_url["Action"], by_url["FunctionUrlAuthType"]) == ("lambda:InvokeFunctionUrl", "NONE")
        assert (invoke["Action"], invoke["InvokedViaFunctionUrl"]) == ("lambda:InvokeFunction", True)

    def test_browsers_are_answered_where_an_origin_is_allowed(self) -> None:
        body = stack(CorsAllowOrigin="https://example.com").properties("PredictApi")["DefinitionBody"]
        assert body["x-amazon-apigateway-cors"]["allowOrigins"] == ["https://example.com"]
        assert "x-amazon-apigateway-cors" not in stack().properties("PredictApi")["DefinitionBody"]

    def test_what_browsers_ask_before_a_request_needs_no_signature_and_nothing_else_does_without(self) -> None:
        # "Configure CORS for HTTP APIs", "with a $default route and an authorizer": $default takes OPTIONS, too, and would have it signed.
        made = stack(CorsAllowOrigin="https://example.com", FunctionUrl="Enabled")
        assert [name for name, asked in ways_in(made).items() if not asked] == ["options /{proxy+}"]
        throttled = made.properties("PredictApi")["RouteSettings"]["OPTIONS /{proxy+}"]
        assert throttled == {"ThrottlingRateLimit": 10, "ThrottlingBurstLimit": 20}
        assert "RouteSettings" not in stack().properties("PredictApi")


class Heard(NamedTuple):
    """A request as it came: method, path, headers and body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@contextmanager
def listening() -> Iterator[tuple[str, list[Heard]]]:
    """A server that notes requests; yields its address."""
    heard: list[Heard] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append(Heard("POST", self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", heard
    finally:
        server.shutdown()
        server.server_close()


def typed(command: str, folder: Path, address: str) -> None:
    """Type a command of the outputs into a shell; only the host is another one."""
    told = re.sub(
        r"https://[^/]+\.amazonaws\.com|<PredictUrl\.FunctionUrl>",
        lambda found: address + "/" * found[0].startswith("<"),
        command,
    )
    (folder / "kitten.jpg").write_bytes(b"\xff\xd8 a picture")
    subprocess.run(told, shell=True, cwd=folder, env={"PATH": "/usr/bin:/bin", **KEYS}, check=True, capture_output=True)


def signed_by(heard: Heard, service: str, keys: dict[str, str]) -> str:
    """The signature that the request would have to have, by botocore."""
    named = re.search(r"SignedHeaders=([^,]+)", heard.headers["authorization"])
    assert named
    signed = {name: heard.headers[name] for name in named[1].split(";")}
    request = AWSRequest(heard.method, f"https://{heard.headers['host']}{heard.path}", headers=signed, data=heard.body)
    request.context["timestamp"] = heard.headers["x-amz-date"]
    auth = SigV4Auth(Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]), service, REGION)
    canonical = auth.canonical_request(request)
    # botocore signs the headers it likes; what counts is that these are all it is given.
    assert set(signed) <= set(auth.canonical_headers(auth.headers_to_sign(request)).replace("\n", ":").split(":"))
    return str(auth.signature(auth.string_to_sign(request, canonical), request))


class TestCommands:
    @needs_curl
    @pytest.mark.parametrize(("output", "service"), [("TryEndpoint", "execute-api"), ("TryUrl", "lambda")])
    def test_the_printed_command_signs_its_request(self, tmp_path: Path, output: str, service: str) -> None:
        with listening() as (address, heard):
            typed(stack(FunctionUrl="Enabled").outputs[output], tmp_path, address)
        (request,) = heard
        assert (request.path, request.body) == ("/gluon/predict", b"\xff\xd8 a picture")
        assert request.headers["content-type"] == "image/jpeg"
        assert request.headers["x-amz-security-token"] == KEYS["AWS_SESSION_TOKEN"]
        signature = request.headers["authorization"].rpartition("Signature=")[2]
        # IAM wants every header of its own signed.
        own = {name for name in request.headers if name.startswith("x-amz-")}
        assert own | {"host"} <= set(re.split("[=;,]", request.headers["authorization"]))
        assert signature == signed_by(request, service, KEYS)
        assert signature != signed_by(request, service, {**KEYS, "AWS_SECRET_ACCESS_KEY": "another"})
        assert f"/{REGION}/{service}/aws4_request" in request.headers["authorization"]

    @needs_curl
    def test_a_form_cannot_be_signed_by_curl_which_is_why_none_is_printed(self, tmp_path: Path) -> None:
        command = stack().outputs["TryEndpoint"]
        with listening() as (address, heard):
            typed(command.replace("--data-binary @kitten.jpg", "-F data=@kitten.jpg"), tmp_path, address)
        signature = heard[0].headers["authorization"].rpartition("Signature=")[2]
        assert signature != signed_by(heard[0], "execute-api", KEYS)

    @needs_curl
    @pytest.mark.parametrize("output", ["TryEndpoint", "TryUrl"])
    def test_where_anybody_may_ask_nothing_is_signed(self, tmp_path: Path, output: str) -> None:
        with listening() as (address, heard):
            typed(stack(FunctionUrl="Enabled", Auth="NONE").outputs[output], tmp_path, address)
        assert "authorization" not in heard[0].headers
        assert heard[0].path == "/gluon/predict"

    def test_every_command_names_only_what_is_there(self) -> None:
        for parameters in ({}, {"Batches": "Disabled"}, {"FunctionUrl": "Enabled"}, {"InputBucket": "my-inputs"}):
            made = stack(**parameters)
            commands = [text for text in made.outputs.values() if re.match("aws |curl ", text)]
            assert len(commands) >= 4
            assert not [text for text in commands if "${" in text or "s3:///" in text]
