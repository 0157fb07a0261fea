"""botocore's signer without the rest of botocore: the signatures must be those of the whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import botocore.auth
import certifi
import pytest
from botocore.awsrequest import AWSRequest

from benchmarks.s3_server import serve
from gluon_lambda.archive_store.http_connection import default_bundle
from gluon_lambda.archive_store.s3_settings import Credentials
from gluon_lambda.archive_store.s3_signing import Headers, Request, load_signer_file, make_signer
from tests.conftest import ROOT
from tests.scripted_s3 import CREDENTIALS, scripted, write_certificate


def no_file() -> ModuleType:
    raise ImportError("no such file")


def other_file() -> Any:
    return SimpleNamespace(S3SigV4Auth=lambda *_: SimpleNamespace(add_auth=None))


@pytest.mark.parametrize("load", [load_signer_file, no_file, other_file])
@pytest.mark.parametrize("token", [None, "FwoGZXIvYXdzEBYaD//token+="])
@pytest.mark.parametrize("region", ["eu-west-1", "us-gov-west-1", "cn-north-1"])
@pytest.mark.parametrize(
    "url",
    [
        "https://models.s3.eu-west-1.amazonaws.com/net.model",
        "https://models.s3.eu-west-1.amazonaws.com/live%20nets/z%C3%A9ro%2Bnet~%281%29//..//net.model",
        "https://models.s3.eu-west-1.amazonaws.com/net.model?versionId=3HL4kqtJ.lc_p-X%2Fro",
        "http://127.0.0.1:9000/models/net.model",
    ],
)
def test_a_request_is_signed_as_botocore_signs_it(
    url: str, region: str, token: str | None, load: Callable[[], ModuleType]
) -> None:
    headers = {"Host": url.split("/")[2], "User-Agent": "x", "Range": "bytes=0-9", "If-Match": '"a  b"'}
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
    signer, full = make_signer(credentials, region, load=load), botocore.auth.S3SigV4Auth(credentials, "s3", region)
    while True:
        ours, theirs = Request(url, headers), AWSRequest("GET", url, headers)
        signer.add_auth(ours)
        full.add_auth(theirs)
        if ours.headers["X-Amz-Date"] == theirs.headers["X-Amz-Date"]:  # else the second changed between the two
            break
    assert dict(ours.headers.items()) == dict(theirs.headers.items())
    assert ours.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")


def test_headers_have_no_case_and_one_value() -> None:
    headers = Headers({"Range": "bytes=0-9"})
    headers["RANGE"] = "bytes=0-1"
    assert (list(headers), headers.items(), headers.get_all("range")) == (
        ["RANGE"],
        [("RANGE", "bytes=0-1")],
        ["bytes=0-1"],
    )
    del headers["range"]
    assert "Range" not in headers


FETCH = """
import sys
before = set(sys.modules)
import json, os
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.fetching import fetch
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.archive_store.s3 import make_s3_client
fetched = fetch(parse_location("s3://models/net.model"), cache=open_cache(sys.argv[1]))
assert os.path.getsize(fetched.lease.path) == 1000
print(json.dumps(sorted(set(sys.modules) - before)))
"""


HEAVY = {
    "boto3",
    "urllib3",
    "requests",
    "certifi",
    "email",
    "http",
    "dateutil",
    "asyncio",
    "xml",
    "zipfile",
    "encodings.idna",
}


def loaded_by_a_fetch(environ: dict[str, str], scratch: Path) -> set[str]:
    """What a fresh process loads to fetch net.model; its packages are told as well."""
    environ = {**environ, "PYTHONPATH": str(ROOT / "handler"), "HOME": str(scratch)}
    command = [sys.executable, "-c", FETCH, str(scratch / "cache")]
    done = subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE)
    return {part for name in json.loads(done.stdout) for part in (name, name.partition(".")[0])}


def test_a_fetch_loads_little_of_botocore_and_nothing_of_boto3(tmp_path: Path) -> None:
    with scripted(b"x" * 1000) as s3:
        loaded = loaded_by_a_fetch(s3.environ, tmp_path)
    # botocore.exceptions is small; what it calls urllib3 is a file of botocore's with two classes.
    assert {name for name in loaded if name.startswith("botocore.") and "vendored" not in name} == {
        "botocore.exceptions"
    }
    assert loaded & (HEAVY | {"ssl"}) == set()


def test_over_tls_it_loads_ssl_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "net.model").write_bytes(b"x" * 1000)
    server, trusted = write_certificate(tmp_path)
    with serve(tmp_path, "--certificate", str(server)) as url:
        environ = {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": url, "AWS_CA_BUNDLE": str(trusted)}
        loaded = loaded_by_a_fetch(environ, tmp_path)
    assert loaded & (HEAVY | {"ssl"}) == {"ssl"}


def test_without_a_bundle_of_the_users_the_certificates_are_botocores() -> None:
    assert default_bundle() == certifi.where()


COMPILED = """
import sys
from gluon_lambda.archive_store.s3 import import_compiled
import_compiled()
before = {name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).endswith(".so")}
import os
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.fetching import fetch
from gluon_lambda.archive_store.location import parse_location
fetch(parse_location("s3://models/net.model"), cache=open_cache(sys.argv[1]))
after = {name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).endswith(".so")}
print(" ".join(sorted(after - before)))
"""
# What INIT itself has imported before it opens libmxnet.
OF_INIT = {"binascii", "fcntl", "mmap", "zlib", "math", "_json", "_struct"}


def test_what_a_fetch_imports_that_is_compiled_is_imported_ahead(tmp_path: Path) -> None:
    with scripted(b"x" * 1000) as s3:
        environ = {**s3.environ, "PYTHONPATH": str(ROOT / "handler"), "HOME": str(tmp_path)}
        command = [sys.executable, "-c", COMPILED, str(tmp_path / "cache")]
        done = subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE, text=True)
    assert set(done.stdout.split()) - OF_INIT == set()
