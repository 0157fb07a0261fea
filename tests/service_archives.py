"""Archives with code, written as folders and opened for real, that the service tests share."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

from gluon_lambda.archive_store.archive import Archive, open_archive
from gluon_lambda.archive_store.cache import open_cache
from gluon_lambda.archive_store.location import parse_location
from gluon_lambda.services.load import load_service
from gluon_lambda.types import Part, Payload, Predictor, PredictorFactory, Service

Code = dict[str, str | bytes]


def refuse_to_predict(**_: Any) -> Predictor:
    """A predictor factory for archives that must not ask for one."""
    raise AssertionError("this archive has no exported net")


def signature(input_type: str, *inputs: dict[str, Any]) -> str:
    """A ``signature.json``; by default with one input ``data`` that declares nothing of its shape but the batch."""
    declared = list(inputs) or [{"data_name": "data", "data_shape": [0]}]
    return json.dumps({"input_type": input_type, "output_type": "application/json", "inputs": declared, "outputs": []})


def manifest_0_4(service: str, **model: str) -> str:
    """MMS 0.4's manifest of a Gluon service, whose model's own name is ``manifest-name``."""
    described = {"Model-Name": "manifest-name", "Model-Format": "Gluon-Imperative", "Signature": "signature.json"}
    return json.dumps(
        {
            "Model-Archive-Version": 0.2,
            "Model-Server": 0.4,
            "Engine": {"MXNet": 1.9},
            "Model": {**described, "Service": service, **model},
        }
    )


def manifest_1_x(handler: str, **model: Any) -> str:
    """MMS 1.x's manifest."""
    described = {"modelName": "manifest-name", "handler": handler, **model}
    return json.dumps({"runtime": "python", "specificationVersion": "1.0", "model": described})


def write_files(folder: Path, files: Code) -> Path:
    """``files`` as a folder; texts are dedented."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else dedent(content).lstrip().encode())
    return folder


def opened(folder: Path, *, name: str = "model") -> Archive:
    """The archive in a folder."""
    return open_archive(name, parse_location(str(folder)), cache=open_cache(str(folder.parent / "cache")))


def served_0_4(
    folder: Path, code: str, files: Code | None = None, *, name: str = "model", input_type: str = "application/json"
) -> Service:
    """The service of an MMS 0.4 archive whose service file holds ``code``."""
    base: Code = {
        "MANIFEST.json": manifest_0_4("service.py"),
        "signature.json": signature(input_type),
        "service.py": code,
    }
    write_files(folder, {**base, **(files or {})})
    return load_service(opened(folder, name=name), make_predictor=refuse_to_predict)


def served_1_x(
    folder: Path,
    code: str,
    files: Code | None = None,
    *,
    name: str = "model",
    handler: str = "handler.py:handle",
    make_predictor: PredictorFactory = refuse_to_predict,
) -> Service:
    """The service of an MMS 1.x archive whose ``handler.py`` holds ``code``."""
    base: Code = {"MAR-INF/MANIFEST.json": manifest_1_x(handler), "handler.py": code}
    write_files(folder, {**base, **(files or {})})
    return load_service(opened(folder, name=name), make_predictor=make_predictor)


def payload(*parts: Part, headers: tuple[tuple[str, str], ...] = (), request_id: str = "request-1") -> Payload:
    """A request of these parts."""
    return Payload(parts, headers, request_id)


def field(value: str | bytes, name: str = "data") -> Part:
    """A form field."""
    return Part(name, value.encode() if isinstance(value, str) else value)
