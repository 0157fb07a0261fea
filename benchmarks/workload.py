"""What the contenders are asked: model archives on disk, and an HTTP API event for each."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.contenders import ALEXNET, CHAR_CNN, MOBILENET, ROOT

BUILDER = Path(__file__).with_name("build_workload.py")
STEPS = Path(__file__).with_name("rivals") / "image_steps.py"
BUILT = ROOT / "build" / "archives"
EXAMPLES = (CHAR_CNN, ALEXNET)
BOUNDARY = "gluon-lambda-benchmark"
FORM = f"multipart/form-data; boundary={BOUNDARY}"

REVIEW = {
    "review_title": "A gripping novel",
    "review": "The author writes well, and the last chapter kept me awake all night.",
}


class MissingArchive(Exception):
    """Raised when an example archive has not been built; says how it is."""


class Workload(NamedTuple):
    """The files on disk and the events.

    Attributes:
        net: The folder with the exported net's symbol, parameters, labels, manifest and signature.
        archives: The model archive of each workload; of the examples those that are built.
        events: An HTTP API (payload 2.0) event for each workload, as JSON.
    """

    net: Path
    archives: dict[str, Path]
    events: dict[str, bytes]

    @property
    def archive(self) -> Path:
        """The exported net's archive."""
        return self.archives[MOBILENET]


def prepare_workload(folder: Path, *, python: Path, library_path: str) -> Workload:
    """Build net and picture, unless an earlier run left those of the same builder, and pack the archive.

    Args:
        folder: Where they go.
        python: An interpreter in which the stock ``import mxnet`` works.
        library_path: ``LD_LIBRARY_PATH`` for it.
    """
    stamp = folder / "made-from"
    source = BUILDER.read_text(encoding="utf-8") + STEPS.read_text(encoding="utf-8")
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != source:
        environ = os.environ | {"LD_LIBRARY_PATH": library_path}
        subprocess.run([str(python), str(BUILDER), str(folder)], check=True, env=environ)
        stamp.write_text(source, encoding="utf-8")
    examples = {name: path for name in EXAMPLES if (path := BUILT / f"{name}.model").is_file()}
    archives = {MOBILENET: pack(folder / "mobilenet", folder / "mobilenet.model"), **examples}
    return Workload(folder / "mobilenet", archives, events_with((folder / "picture.jpg").read_bytes()))


def require_examples(workload: Workload) -> None:
    """Make sure that the example archives are there.

    Raises:
        MissingArchive: One is not.
    """
    for name in EXAMPLES:
        if name not in workload.archives:
            raise MissingArchive(
                f"no {BUILT.relative_to(ROOT) / name}.model: `make bench` builds it (python -m archives.{name}.build)"
            )


def pack(folder: Path, target: Path) -> Path:
    """Make the archive with the project's own tool."""
    # gluon_lambda, which the tool uses, is a folder of the clone and no installed package.
    sys.path.append(str(ROOT / "handler"))
    from archives.pack import pack_folder

    return pack_folder(folder, target)


def events_with(picture: bytes) -> dict[str, bytes]:
    """The event of each workload; those with images get ``picture``, a JPEG."""
    review = form_part("", "", repr([REVIEW]).encode("ascii"))
    upload = form_part("picture.jpg", "image/jpeg", picture)
    return {
        MOBILENET: http_api_event(picture),
        CHAR_CNN: http_api_event(review, path=f"/{CHAR_CNN}/predict", content_type=FORM),
        ALEXNET: http_api_event(upload, path=f"/{ALEXNET}/predict", content_type=FORM),
    }


def form_part(filename: str, content_type: str, value: bytes) -> bytes:
    """A form whose only field is ``data``, as MMS 0.4's clients send it (RFC 7578)."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="data"'
    head += f'; filename="{filename}"\r\nContent-Type: {content_type}' if filename else ""
    return f"{head}\r\n\r\n".encode("ascii") + value + f"\r\n--{BOUNDARY}--\r\n".encode("ascii")


def http_api_event(body: bytes, *, path: str = f"/{MOBILENET}/predict", content_type: str = "image/jpeg") -> bytes:
    """A ``POST`` as API Gateway's HTTP API sends it; by default a JPEG for the exported net.

    Source: AWS, "Create AWS Lambda proxy integrations for HTTP APIs in API Gateway", payload format 2.0.
    """
    headers = {
        "accept": "*/*",
        "content-length": str(len(body)),
        "content-type": content_type,
        "host": "example.execute-api.us-east-1.amazonaws.com",
    }
    event = http_api_request("POST", path, headers)
    return json.dumps(event | {"body": base64.b64encode(body).decode("ascii"), "isBase64Encoded": True}).encode("ascii")


def http_api_request(method: str, path: str, headers: dict[str, str]) -> dict[str, object]:
    """An event without a body."""
    http = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "benchmark"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "example",
            "domainName": "example.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "example",
            "http": http,
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1767225600000,
        },
        "isBase64Encoded": False,
    }
