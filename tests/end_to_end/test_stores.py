"""Archives that are loaded by name on first use, and archives on S3: a real S3 client in the sandbox, moto's server behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.conftest import IMAGE_SIGNATURE, ExportedNet
from tests.end_to_end.endpoint import Endpoint, run_emulator, serving
from tests.end_to_end.test_routes import LABELS, PICTURE, PNG, VERSION, write_mar
from tests.service_archives import manifest_0_4, signature, write_files

BUCKET = "models-bucket"

# A plain 0.4 service that needs no MXNet: whoever reads its answer knows which archive answered.
NAMED_SERVICE = """
from mms.model_service.model_service import SingleNodeService


class Named(SingleNodeService):
    def _postprocess(self, data):
        return "{name}"
"""


def named_folder(folder: Path, name: str) -> Path:
    """An MMS 0.4 archive as a folder; it answers ``name``."""
    code = NAMED_SERVICE.format(name=name)
    files = {"MANIFEST.json": manifest_0_4("s.py"), "signature.json": signature("application/json"), "s.py": code}
    return write_files(folder, dict(files))


def asked(endpoint: Endpoint, model: str) -> Any:
    return endpoint.ask("POST", f"/{model}/predict", b'{"data": [1]}', {"Content-Type": "application/json"}).json


# A folder.


@pytest.fixture(scope="module")
def store_folder(small_net: ExportedNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an exported net, a plain folder and an archive that is none."""
    folder = tmp_path_factory.mktemp("store")
    write_mar(folder / "net.mar", small_net)
    named_folder(folder / "plain", "I am plain")
    (folder / "broken.model").write_bytes(b"PK\x03\x04 and no more")
    return folder


@pytest.fixture(scope="module")
def on_disk(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with serving(tmp_path_factory.mktemp("run"), "--model-store", str(store_folder)) as serves:
        yield serves


def test_models_are_loaded_when_they_are_first_asked_for(on_disk: Endpoint) -> None:
    listed = [on_disk.ask("GET", "/models").json["models"]]
    answer = on_disk.ask("POST", "/predictions/net", PICTURE, PNG)
    assert {each["class"] for each in answer.json} <= LABELS
    assert asked(on_disk, "plain") == {"prediction": "I am plain"}
    listed.append(on_disk.ask("GET", "/models").json["models"])
    assert [[each["modelName"] for each in models] for models in listed] == [[], ["net", "plain"]]


def test_versions_and_descriptions_are_the_archives_own(on_disk: Endpoint) -> None:
    assert on_disk.ask("GET", "/models/net").json["modelVersion"] == VERSION
    assert on_disk.ask("POST", f"/predictions/net/{VERSION}", PICTURE, PNG).status == 200
    assert on_disk.ask("POST", "/predictions/net/2", PICTURE, PNG).status == 404


def test_a_broken_archive_fails_its_own_requests_only(on_disk: Endpoint) -> None:
    answer = on_disk.ask("POST", "/broken/predict", b"x")
    assert (answer.status, answer.json["type"]) == (503, "ServiceUnavailableException")
    assert int(answer.headers["retry-after"]) > 0
    assert on_disk.ask("POST", "/predictions/net", PICTURE, PNG).status == 200
    log = on_disk.log.read_text()
    assert "broken.model" in log
    assert log.count("INIT_START") == 1


@pytest.mark.parametrize("name", ["none", "..", "%2e%2e%2fnet", "net.mar%00", "_net"])
def test_a_name_that_the_store_does_not_have_is_404(on_disk: Endpoint, name: str) -> None:
    assert on_disk.ask("POST", f"/predictions/{name}", PICTURE, PNG).status == 404


def test_a_model_that_is_added_later_is_found(on_disk: Endpoint, store_folder: Path) -> None:
    named_folder(store_folder / "later", "I came later")
    assert asked(on_disk, "later") == {"prediction": "I came later"}


def test_a_store_does_not_say_which_model_is_meant_where_none_is_named(on_disk: Endpoint) -> None:
    answer = on_disk.ask("POST", "/invocations", PICTURE, PNG)
    assert answer.status == 404
    assert "name one in the path" in answer.json["message"]


# S3.


class Bucket(NamedTuple):
    """moto's S3 with two versions of ``small.mar`` in a bucket.

    Attributes:
        variables: What the user's shell has set so that S3 is this one.
        client: For putting more there.
        versions: The ids, oldest first; the older one's labels are upper case.
        digests: SHA-256 of each.
    """

    variables: dict[str, str]
    client: Any
    versions: tuple[str, str]
    digests: tuple[str, str]

    def url(self, rest: str) -> str:
        return f"s3://{BUCKET}/{rest}"


@pytest.fixture(scope="module")
def bucket(small_net: ExportedNet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    credentials = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **credentials)
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    folder = tmp_path_factory.mktemp("bucket")
    new = write_mar(folder / "new.mar", small_net).read_bytes()
    old = write_mar(folder / "old.mar", small_net, labels=[label.upper() for label in sorted(LABELS)]).read_bytes()
    versions = [client.put_object(Bucket=BUCKET, Key="a b/small.mar", Body=body)["VersionId"] for body in (old, new)]
    client.put_object(Bucket=BUCKET, Key="store/first.mar", Body=new)
    yield Bucket(
        {
            "AWS_ENDPOINT_URL_S3": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
        },
        client,
        (versions[0], versions[1]),
        (hashlib.sha256(old).hexdigest(), hashlib.sha256(new).hexdigest()),
    )
    server.stop()


@pytest.fixture(scope="module")
def on_s3(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """Three models and a store, told by the variables of the shell, as in a template's parameters."""
    models = {
        "newest": bucket.url("a%20b/small.mar"),
        "oldest": bucket.url(f"a%20b/small.mar?versionId={bucket.versions[0]}"),
        "pinned": bucket.url(f"a%20b/small.mar#sha256={bucket.digests[1]}"),
    }
    configured = {
        "GLUON_MODELS": " ".join(f"{name}={location}" for name, location in models.items()),
        "GLUON_MODEL_STORE": bucket.url("store/"),
    }
    variables = bucket.variables | configured
    with serving(tmp_path_factory.mktemp("s3"), variables=variables) as serves:
        yield serves


def test_the_newest_version_is_served_unless_another_is_named(on_s3: Endpoint) -> None:
    answers = {
        model: on_s3.ask("POST", f"/predictions/{model}", PICTURE, PNG).json for model in ("newest", "oldest", "pinned")
    }
    assert {each["class"] for each in answers["newest"]} <= LABELS
    assert answers["pinned"] == answers["newest"]
    assert [each["class"] for each in answers["oldest"]] == [each["class"].upper() for each in answers["newest"]]


def test_a_model_is_described_with_its_address_and_digest(on_s3: Endpoint, bucket: Bucket) -> None:
    described = on_s3.ask("GET", "/models/oldest").json
    assert described["modelUrl"] == bucket.url(f"a%20b/small.mar?versionId={bucket.versions[0]}")
    assert described["archive"]["sha256"] == bucket.digests[0]
    assert described["signature"] == IMAGE_SIGNATURE


def test_a_store_on_s3_is_asked_by_name_when_a_request_names_it(on_s3: Endpoint, bucket: Bucket) -> None:
    assert on_s3.ask("POST", "/predictions/first", PICTURE, PNG).status == 200
    assert on_s3.ask("POST", "/predictions/second", PICTURE, PNG).status == 404
    assert on_s3.ask("POST", "/predictions/small", PICTURE, PNG).status == 404, "a b/small.mar is not in store/"


def test_what_is_put_into_the_store_is_found_afterwards(on_s3: Endpoint, bucket: Bucket) -> None:
    body = bucket.client.get_object(Bucket=BUCKET, Key="store/first.mar")["Body"].read()
    bucket.client.put_object(Bucket=BUCKET, Key="store/added.mar", Body=body)
    assert on_s3.ask("POST", "/predictions/added", PICTURE, PNG).status == 200


@pytest.mark.parametrize(
    ("rest", "error", "said"),
    [
        ("none.mar", "ArchiveNotFound", "s3://models-bucket/none.mar: S3 has no such object (NoSuchKey)"),
        ("a%20b/small.mar?versionId=none", "ArchiveNotFound", "Check bucket, key and versionId"),
        (f"a%20b/small.mar#sha256={'0' * 64}", "ArchiveRejected", "0" * 64),
    ],
    ids=["no key", "no version", "wrong digest"],
)
def test_what_s3_does_not_have_fails_init_and_is_named(
    bucket: Bucket, tmp_path: Path, rest: str, error: str, said: str
) -> None:
    options = ["--models", f"small={bucket.url(rest)}", "--env", f"GLUON_CACHE_DIR={tmp_path / 'cache'}"]
    result = run_emulator("invoke", *options, variables=bucket.variables)
    failure = json.loads(result.stdout)
    assert (result.returncode, failure["errorType"]) == (1, error)
    assert bucket.url(rest) in failure["errorMessage"]
    assert said in failure["errorMessage"]
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size > 1000]


def test_a_bucket_that_nobody_answers_for_fails_init_and_says_what_to_check(bucket: Bucket, tmp_path: Path) -> None:
    options = ["--models", f"small={bucket.url('x.mar')}", "--env", f"GLUON_CACHE_DIR={tmp_path / 'cache'}"]
    nobody = bucket.variables | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
    result = run_emulator("invoke", *options, variables=nobody)
    failure = json.loads(result.stdout)
    assert failure["errorType"] == "StoreUnavailable"
    assert "Check the function's role, region and network" in failure["errorMessage"]
