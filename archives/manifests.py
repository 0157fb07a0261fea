"""Write the manifest of an archive, as MMS's own exporters do (0.4: mms/export_model.py, 1.x: model-archiver)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from archives.pack import MANIFEST_0_4, MANIFEST_1_X, PackError, files_of

# MMS 1.x's rule (model-archiver's arg_parser.py).
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-.]*")
MXNET_VERSION = "1.9.1"


class ManifestOptions(NamedTuple):
    """What a manifest is to say.

    Attributes:
        model_name: The model's name.
        service: 0.4's service file or 1.x's handler (``module.py:function``); ``""`` for the built-in services.
        version: 1.x's ``modelVersion``.
        description: Free text, or ``""``.
    """

    model_name: str
    service: str = ""
    version: str = "1.0"
    description: str = ""


def manifest_member(folder: Path, target: Path, options: ManifestOptions) -> tuple[str, bytes]:
    """The manifest of ``folder`` packed as ``target``: the member's name and its bytes.

    Raises:
        PackError: The name is not accepted, or files that the manifest must name are missing or not the only ones.
    """
    if not MODEL_NAME.fullmatch(options.model_name):
        raise PackError(
            f"--model-name {options.model_name!r}: letters, digits, _ . and - are accepted, the first a letter or digit."
        )
    members = [name for name, _ in files_of(folder)]
    if target.suffix == ".mar":
        return MANIFEST_1_X, as_json(manifest_1_x(folder, members, options))
    return MANIFEST_0_4, as_json(manifest_0_4(folder, members, options))


def manifest_0_4(folder: Path, members: Iterable[str], options: ManifestOptions) -> dict[str, Any]:
    """The manifest of MMS 0.4 (mms/manifest_schema/manifest-schema.json)."""
    names = [member.rpartition("/")[2] for member in members]
    if "signature.json" not in names:
        raise PackError(f"{folder}: there is no signature.json, which says what the model takes and gives. Write one.")
    symbol = only(names, "-symbol.json", folder)
    model = {
        "Model-Name": options.model_name,
        "Description": options.description,
        "Model-Format": "MXNet-Symbolic" if symbol else "Gluon-Imperative",
        "Signature": "signature.json",
        "Service": options.service.rpartition("/")[2],
        "Symbol": symbol,
        "Parameters": only(names, ".params", folder),
    }
    version = engine_version(folder, symbol)
    return {"Model-Archive-Version": 0.2, "Model-Server": 0.4, "Engine": {"MXNet": version}, "Model": model}


def manifest_1_x(folder: Path, members: Iterable[str], options: ManifestOptions) -> dict[str, Any]:
    """The manifest of MMS 1.x (model-archiver's manifest_components/manifest.py)."""
    names = list(members)
    symbol, parameters = only(names, "-symbol.json", folder), only(names, ".params", folder)
    extensions = {"symbolFile": symbol, "parametersFile": parameters}
    model = {
        "modelName": options.model_name,
        "description": options.description,
        "modelVersion": options.version,
        "handler": options.service,
        "extensions": {key: name for key, name in extensions.items() if name},
    }
    return {
        "specificationVersion": "1.0",
        "implementationVersion": "1.0",
        "modelServerVersion": "1.0",
        "runtime": "python",
        "engine": {"engineName": "MXNet", "engineVersion": engine_version(folder, symbol)},
        "model": model,
    }


def only(members: Iterable[str], suffix: str, folder: Path) -> str:
    """The one member with ``suffix``, or ``""``.

    Raises:
        PackError: There are several, so that one cannot tell which the manifest must name.
    """
    found = [member for member in members if member.endswith(suffix)]
    if len(found) > 1:
        raise PackError(f"{folder}: {' and '.join(found)} could each be the model's. Keep one *{suffix} in the folder.")
    return found[0] if found else ""


def engine_version(folder: Path, symbol: str) -> str:
    """The version of MXNet that wrote the symbol; where it does not say, the one that serves it."""
    path = next((path for name, path in files_of(folder) if symbol and name.rpartition("/")[2] == symbol), None)
    try:
        number = json.loads(path.read_bytes())["attrs"]["mxnet_version"][1] if path else 0
    except (ValueError, LookupError, TypeError):
        return MXNET_VERSION
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}" if number else MXNET_VERSION


def as_json(value: Any) -> bytes:
    """JSON for people to read, the same for the same value."""
    return f"{json.dumps(value, indent=2, sort_keys=True)}\n".encode()
