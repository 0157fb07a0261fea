"""What an archive's manifest says, in either of its two forms.

MMS 0.4: a top-level ``MANIFEST.json`` (mms/manifest_schema/manifest-schema.json).
MMS 1.x: ``MAR-INF/MANIFEST.json`` (model-archiver's manifest_components/manifest.py), or none at all.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from gluon_lambda.errors import ManifestInvalid

MANIFEST_0_4 = "MANIFEST.json"
MANIFEST_1_X = "MAR-INF/MANIFEST.json"
FORM_0_4 = "mms-0.4"
FORM_1_X = "mms-1.x"

# MMS 1.x shows this as the version of the 0.4 archives that it takes in (LegacyManifest.java).
VERSION_0_4 = "snapshot"

PARAMETERS_EPOCH = re.compile(r"-([0-9]{4,9})\.params$")


class Manifest(NamedTuple):
    """An archive's manifest.

    Attributes:
        form: ``mms-0.4`` or ``mms-1.x``; the response's envelope follows it.
        model_name: As the manifest names the model; requests name it as the configuration does.
        version: 1.x's ``modelVersion``, ``""`` where none is given; ``snapshot`` for 0.4.
        service: 0.4's service file or 1.x's handler text; ``""`` for none.
        symbol: The net's symbol, a member's name; ``""`` for none.
        parameters: The net's parameters, a member's name; ``""`` for none.
        signature: The signature, a member's name; ``""`` for none.
        epoch: The number in the parameters' file name, as MMS reads it; 0 where there is none.
        raw: The file as parsed; what service code gets to see. Empty where there is no manifest.
    """

    form: str
    model_name: str
    version: str
    service: str
    symbol: str
    parameters: str
    signature: str
    epoch: int
    raw: dict[str, Any]


def manifest_form(members: tuple[str, ...]) -> str:
    """Which form of manifest an archive has.

    Where both are there the archive is a 0.4 one: MMS 1.x adds its own manifest to those that it takes in.
    """
    return FORM_0_4 if MANIFEST_0_4 in members else FORM_1_X


def parse_manifest(raw: bytes | None, *, members: tuple[str, ...], name: str, where: str) -> Manifest:
    """Read a manifest and hold it against the archive's members.

    Args:
        raw: The manifest's bytes; None where the archive has none, which 1.x allows.
        members: Every file in the archive.
        name: The name to take where there is no manifest.
        where: The archive, for errors.

    Raises:
        ManifestInvalid: A part is missing or malformed, or names a file that the archive does not have; says which.
    """
    if raw is None:
        manifest = Manifest(FORM_1_X, name, "", "", "", "", "", 0, {})
    elif manifest_form(members) == FORM_0_4:
        manifest = parse_0_4(raw, members, where=f"{where}: {MANIFEST_0_4}")
    else:
        manifest = parse_1_x(raw, members, where=f"{where}: {MANIFEST_1_X}")
    manifest = with_found_files(manifest, members)
    if not manifest.service and not (manifest.symbol and manifest.parameters):
        raise ManifestInvalid(nothing_to_serve(manifest, members, where=where))
    return manifest


def nothing_to_serve(manifest: Manifest, members: tuple[str, ...], *, where: str) -> str:
    """Say what an archive lacks that has neither a service nor an exported net."""
    if not manifest.raw:
        return f"{where}: neither {MANIFEST_0_4} nor {MANIFEST_1_X} is in it. Pack it with its manifest."
    missing = [suffix for suffix in ("-symbol.json", ".params") if not any(m.endswith(suffix) for m in members)]
    lack = f"there is no *{missing[0]}" if missing else "several files could be the net's; name them in the manifest"
    key = "Model.Service" if manifest.form == FORM_0_4 else "model.handler"
    return f"{where}: {key} names no service, so the archive must hold one exported net, but {lack}."


def parse_0_4(raw: bytes, members: tuple[str, ...], *, where: str) -> Manifest:
    """Read MMS 0.4's form. Beyond it, an archive whose ``Model.Service`` is empty is served by a built-in service."""
    fields = parse_object(raw, where=where)
    require_number(fields, "Model-Archive-Version", where=where)
    require_number(fields, "Model-Server", where=where)
    require_object(fields, "Engine", where=where)
    model = require_object(fields, "Model", where=where)
    model_name = require_text(model, "Model-Name", key="Model.Model-Name", where=where)
    model_format = require_text(model, "Model-Format", key="Model.Model-Format", where=where)
    require_text(model, "Signature", key="Model.Signature", where=where)
    service, symbol, parameters, signature = (
        optional_text(model, key, key=f"Model.{key}", where=where) for key in FILES_0_4
    )
    for key in required_files_0_4(model_format, has_service=bool(service)):
        require_member(model.get(key) or "", members, key=f"Model.{key}", where=where)
    return Manifest(FORM_0_4, model_name, VERSION_0_4, service, symbol, parameters, signature, 0, fields)


FILES_0_4 = ("Service", "Symbol", "Parameters", "Signature")


def required_files_0_4(model_format: str, *, has_service: bool) -> tuple[str, ...]:
    """The files that must be there when they are named (mms/model_loader.py).

    A parameters file that is missing MMS only warned of: the service may fetch its parameters itself.
    """
    if not has_service:
        return FILES_0_4
    # MMS asks `Model-Format in "MXNet-Symbolic"`, so a part of that word counts too.
    return ("Signature", "Service", "Symbol") if model_format in "MXNet-Symbolic" else ("Signature", "Service")


def parse_1_x(raw: bytes, members: tuple[str, ...], *, where: str) -> Manifest:
    """Read MMS 1.x's form. Beyond it, an archive whose ``model.handler`` is empty is served by a built-in service."""
    fields = parse_object(raw, where=where)
    model = require_object(fields, "model", where=where)
    model_name = require_text(model, "modelName", key="model.modelName", where=where)
    require_python(fields, where=where)
    if "engine" in fields:
        engine = require_object(fields, "engine", where=where)
        require_text(engine, "engineName", key="engine.engineName", where=where)
    version = version_text(model.get("modelVersion"), where=where)
    service = optional_text(model, "handler", key="model.handler", where=where)
    symbol, parameters, signature = named_files_1_x(model, members, where=where)
    return Manifest(FORM_1_X, model_name, version, service, symbol, parameters, signature, 0, fields)


def require_python(fields: dict[str, Any], *, where: str) -> None:
    """MMS 1.x's ``runtime`` must be there and be a Python."""
    runtime = require_text(fields, "runtime", key="runtime", where=where)
    if not runtime.lower().startswith("python"):
        raise ManifestInvalid(f"{where}: runtime is {runtime!r}. Only python, python2 and python3 are served.")


def named_files_1_x(model: dict[str, Any], members: tuple[str, ...], *, where: str) -> tuple[str, str, str]:
    """Symbol, parameters and signature as ``model.extensions`` names them, each in the archive or ``""``."""
    extensions = model.get("extensions") or {}
    if not isinstance(extensions, dict):
        raise ManifestInvalid(f"{where}: model.extensions must be an object; it is {extensions!r}.")
    symbol, parameters, signature = (
        optional_text(extensions, key, key=f"model.extensions.{key}", where=where) for key in EXTENSIONS
    )
    for key, member in zip(EXTENSIONS, (symbol, parameters, signature), strict=True):
        require_member(member, members, key=f"model.extensions.{key}", where=where)
    return symbol, parameters, signature


EXTENSIONS = ("symbolFile", "parametersFile", "signatureFile")


def with_found_files(manifest: Manifest, members: tuple[str, ...]) -> Manifest:
    """The manifest with the net's files looked for by suffix where it names none, and with the epoch."""
    symbol = manifest.symbol if manifest.symbol in members else only_member(members, "-symbol.json")
    named = manifest.parameters if manifest.parameters in members else ""
    parameters = named or (only_member(members, ".params") if symbol else "")
    signature = manifest.signature or ("signature.json" if "signature.json" in members else "")
    epoch = parameters_epoch(manifest.model_name, parameters)
    return manifest._replace(symbol=symbol, parameters=parameters, signature=signature, epoch=epoch)


def only_member(members: tuple[str, ...], suffix: str) -> str:
    """The one member that ends with ``suffix``; ``""`` where there is none, or more than one."""
    found = [member for member in members if member.endswith(suffix)]
    return found[0] if len(found) == 1 else ""


def parameters_epoch(model_name: str, parameters: str) -> int:
    """The epoch as MMS 0.4 reads it: what stands between ``<model name>-`` and ``.params``.

    MMS takes 0 where that is no number; here a file that another name's net was exported to keeps its own number.
    """
    between = parameters.rpartition("/")[2][len(model_name) + 1 : -len(".params")]
    if between.isascii() and between.isdigit():
        return int(between[:9])
    number = PARAMETERS_EPOCH.search(parameters)
    return int(number[1]) if number else 0


def parse_object(raw: bytes, *, where: str) -> dict[str, Any]:
    """The JSON object in ``raw``, UTF-8 with or without a byte order mark."""
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(f"{where}: not JSON: {error}. Write it anew.") from error
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{where}: must be a JSON object, not {type(value).__name__}.")
    return value


def require_object(fields: dict[str, Any], key: str, *, where: str) -> dict[str, Any]:
    """An object that must be there."""
    value = fields.get(key)
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{where}: {key} must be an object; it is {shown(fields, key)}.")
    return value


def require_text(fields: dict[str, Any], name: str, *, key: str, where: str) -> str:
    """A text that must be there and not be empty."""
    value = optional_text(fields, name, key=key, where=where)
    if not value:
        raise ManifestInvalid(f"{where}: {key} must be a text; it is {shown(fields, name)}.")
    return value


def optional_text(fields: dict[str, Any], name: str, *, key: str, where: str) -> str:
    """A text, or ``""`` where it is absent or null."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ManifestInvalid(f"{where}: {key} must be a text; it is {shown(fields, name)}.")
    return (value or "").strip()


def require_number(fields: dict[str, Any], key: str, *, where: str) -> None:
    """A number that must be there; archives of MMS 0.1 wrote some as text."""
    try:
        float(fields[key])
    except (KeyError, TypeError, ValueError) as error:
        message = f"{where}: {key} must be a number, such as 0.2; it is {shown(fields, key)}."
        raise ManifestInvalid(message) from error


def require_member(member: str, members: tuple[str, ...], *, key: str, where: str) -> None:
    """A file that is named must be in the archive."""
    if member and member not in members:
        raise ManifestInvalid(
            f"{where}: {key} names {member}, which is not in the archive. Pack it, or correct the name."
        )


def version_text(value: Any, *, where: str) -> str:
    """The model's version, which hand-written manifests give as a number."""
    if value is not None and not isinstance(value, str | int | float):
        raise ManifestInvalid(f"{where}: model.modelVersion must be a text such as 1.0, not {value!r}.")
    return "" if value is None else str(value)


def shown(fields: dict[str, Any], key: str) -> str:
    """A value as errors show it."""
    return repr(fields[key])[:80] if key in fields else "missing"
