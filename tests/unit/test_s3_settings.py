"""What the lean client makes of AWS's variables: the same as botocore, or nothing."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.session import Session

from gluon_lambda.archive_store.s3 import make_full_client, make_s3_client
from gluon_lambda.archive_store.s3_lean import LeanClient, get_call, target_of
from gluon_lambda.archive_store.s3_settings import NOT_UNDERSTOOD, Address, S3Settings, address_of, read_settings

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
LAMBDA = {**KEYS, "AWS_SESSION_TOKEN": "token", "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"}
REQUEST = {"Bucket": "models", "Key": "live nets/zéro+(1)~//a.model", "VersionId": "3HL/4=+."}
REGIONS = tuple(
    region
    for partition in ("aws", "aws-us-gov", "aws-cn")
    for region in Session().get_available_regions("s3", partition)
)


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of AWS's, no configuration."""
    for name in os.environ:
        if name.upper().startswith("AWS_") or name.upper().endswith(("_PROXY", "_CA_BUNDLE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def settings_of(environ: dict[str, str]) -> S3Settings:
    settings = read_settings(environ)
    assert settings is not None
    return settings


def lean_url(environ: dict[str, str], bucket: str) -> str:
    address = address_of(bucket, settings_of(environ))
    assert address is not None
    return f"{address.scheme}://{address.authority}{target_of(address, get_call(REQUEST))}"


def full_url(environ: dict[str, str], bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What boto3 would ask; it reads the process's variables itself."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    client: Any = make_full_client(environ)
    asked: list[str] = []

    def note(request: Any, **_: Any) -> AWSResponse:
        asked.append(request.url)
        return AWSResponse(request.url, 200, {}, SimpleNamespace(stream=lambda: iter([b""])))

    client.meta.events.register("before-send.s3.GetObject", note)
    client.get_object(**{**REQUEST, "Bucket": bucket})
    return asked[0].replace("&x-id=GetObject", "").replace("?x-id=GetObject", "")


@pytest.mark.parametrize("region", REGIONS)
def test_every_regions_endpoint_is_botocores(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {**KEYS, "AWS_DEFAULT_REGION": region, "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "regional"}
    assert lean_url(environ, "models") == full_url(environ, "models", monkeypatch)


SWITCHES = [
    {},
    {"AWS_USE_FIPS_ENDPOINT": "true"},
    {"AWS_USE_DUALSTACK_ENDPOINT": "TRUE"},
    {"AWS_USE_FIPS_ENDPOINT": "True", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
    {"AWS_USE_FIPS_ENDPOINT": "false", "AWS_USE_DUALSTACK_ENDPOINT": "1"},
    {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"},
    {"AWS_ENDPOINT_URL": "http://elsewhere", "AWS_ENDPOINT_URL_S3": "https://minio.example:443/s3/"},
    {"AWS_ENDPOINT_URL_S3": "https://S3.Example"},
]


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.parametrize("bucket", ["models", "models.example.com", "nets-s3alias", "a1-"])
def test_every_bucket_is_asked_where_botocore_asks(
    switches: dict[str, str], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {**LAMBDA, **switches}
    asked = full_url(environ, bucket, monkeypatch).replace("example:443", "example")  # which the Host header leaves out
    assert lean_url(environ, bucket).lower() == asked.lower()


def test_what_lambda_sets_is_understood() -> None:
    settings = settings_of(LAMBDA)
    assert settings.credentials == ("AKIDEXAMPLE", "secret", "token")
    assert (settings.region, settings.attempts, settings.ca_bundle) == ("eu-west-1", 4, "")
    assert settings_of(KEYS | {"AWS_REGION": "us-east-1"}).credentials.token is None
    assert settings_of(LAMBDA | {"AWS_MAX_ATTEMPTS": "2", "AWS_CA_BUNDLE": "/x.pem"})[-2:] == ("/x.pem", 2)
    bundles = {"AWS_CA_BUNDLE": "/x.pem", "REQUESTS_CA_BUNDLE": "/y.pem"}
    assert settings_of(LAMBDA | bundles).ca_bundle == "/x.pem"
    assert settings_of(LAMBDA | bundles | {"AWS_CA_BUNDLE": ""}).ca_bundle == "/y.pem"


NOT_SURE: list[dict[str, str]] = [
    *({name: "something"} for name in NOT_UNDERSTOOD),
    {"AWS_ACCESS_KEY_ID": ""},
    {"AWS_SECRET_ACCESS_KEY": ""},
    {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""},
    {"AWS_DEFAULT_REGION": "us-iso-east-1"},
    {"AWS_DEFAULT_REGION": "aws-global"},
    {"AWS_DEFAULT_REGION": "cn-north-1", "AWS_USE_FIPS_ENDPOINT": "true"},
    {"AWS_RETRY_MODE": "adaptive"},
    {"AWS_MAX_ATTEMPTS": "0"},
    {"AWS_MAX_ATTEMPTS": "many"},
    {"AWS_ENDPOINT_URL_S3": "127.0.0.1:9000"},
    {"AWS_ENDPOINT_URL_S3": "http://me:secret@host/"},
    {"AWS_ENDPOINT_URL_S3": "http://[::1]:9000"},
    {"AWS_ENDPOINT_URL_S3": "http://host:port"},
    {"AWS_ENDPOINT_URL_S3": "http://host/?a=b"},
]


@pytest.mark.parametrize("said", NOT_SURE)
def test_what_only_botocore_understands_is_left_to_it(said: dict[str, str]) -> None:
    assert read_settings(LAMBDA | said) is None


def test_settings_in_a_file_are_left_to_botocore(tmp_path: Path) -> None:
    assert isinstance(make_s3_client(LAMBDA), LeanClient)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[default]\ns3 =\n  addressing_style = path\n")
    assert read_settings(LAMBDA) is None


def test_without_credentials_in_the_environment_boto3_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client: Any = make_s3_client({"AWS_REGION": "eu-west-1"})
    assert (client.meta.region_name, client.meta.service_model.service_name) == ("eu-west-1", "s3")


@pytest.mark.parametrize("bucket", ["nets--use1-az4--x-s3", "nets--op-s3", "nets--ol-s3", "nets--xa-s3"])
def test_buckets_of_a_kind_of_their_own_have_no_address_here(bucket: str) -> None:
    assert address_of(bucket, settings_of(LAMBDA)) is None


def test_an_addresss_port_is_told_where_the_scheme_does_not_imply_it() -> None:
    assert Address("http", "a", 80, "/").authority == Address("https", "a", 443, "/").authority == "a"
    assert Address("https", "a", 80, "/").authority == "a:80"


def test_retries_are_botocores_where_it_is_told_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def attempts(environ: dict[str, str]) -> Any:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        client: Any = make_full_client(environ)
        return client.meta.config.retries["total_max_attempts"]

    assert attempts(LAMBDA) == 4
    assert attempts(LAMBDA | {"AWS_MAX_ATTEMPTS": "7"}) == 7
