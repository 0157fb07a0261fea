"""What every contender is asked: the same net, the same picture, the same HTTP API event."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.contenders import ROOT

BUILDER = Path(__file__).with_name("build_workload.py")
STEPS = Path(__file__).with_name("rivals") / "image_steps.py"


class Workload(NamedTuple):
    """The files on disk and the event.

    Attributes:
        net: The folder with symbol, parameters, labels, manifest and signature.
        archive: The same as a model archive.
        event: An HTTP API (payload 2.0) event with the picture, as JSON.
    """

    net: Path
    archive: Path
    event: bytes


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
    archive = pack(folder / "mobilenet", folder / "mobilenet.model")
    return Workload(folder / "mobilenet", archive, http_api_event((folder / "picture.jpg").read_bytes()))


def pack(folder: Path, target: Path) -> Path:
    """Make the archive with the project's own tool."""
    # gluon_lambda, which the tool uses, is a folder of the clone and no installed package.
    sys.path.append(str(ROOT / "handler"))
    from archives.pack import pack_folder

    return pack_folder(folder, target)


def http_api_event(picture: bytes) -> bytes:
    """A ``POST /mobilenet/predict`` with a JPEG as API Gateway's HTTP API sends it.

    Source: AWS, "Create AWS Lambda proxy integrations for HTTP APIs in API Gateway", payload format 2.0.
    """
    path = "/mobilenet/predict"
    http = {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "benchmark"}
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "accept": "*/*",
            "content-length": str(len(picture)),
            "content-type": "image/jpeg",
            "host": "example.execute-api.us-east-1.amazonaws.com",
        },
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
        "body": base64.b64encode(picture).decode("ascii"),
        "isBase64Encoded": True,
    }
    return json.dumps(event).encode("ascii")
