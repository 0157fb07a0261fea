"""The template's functions: ``AWS::Serverless::Function`` with ``Globals`` merged in and every value resolved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from local_emulator.errors import TemplateError
from local_emulator.records import FunctionConfiguration
from local_emulator.template.document import read_document
from local_emulator.template.intrinsics import Resolver, ResourceNotHere

_TYPE = "AWS::Serverless::Function"

# Only what a sandbox needs is resolved: policies, layers and events may use what the emulator does not know.
_NEEDED = ("CodeUri", "Handler", "MemorySize", "Timeout", "PackageType", "InlineCode", "LoggingConfig")
_DEFAULT_EVENT = "HttpApi"


def load_function(path: str, *, overrides: Mapping[str, str], name: str = "") -> FunctionConfiguration:
    """The function ``name`` of the template at ``path``; where no name is given, its only one, or else the one behind the HTTP API.

    Raises:
        TemplateError: The template, or what it says about the function, cannot be used; names the key.
    """
    document = read_document(path)
    logical_id = _choose(document["Resources"], name, path)
    properties = _properties(document, logical_id)
    where = f"Resources.{logical_id}.Properties"
    resolver = Resolver(document, overrides)
    resolved = resolver.resolve({key: properties[key] for key in _NEEDED if key in properties}, where=where)
    local = Resolver(document, overrides, knows_resources=False)
    resolved["Environment"] = _variables(local, properties.get("Environment") or {}, f"{where}.Environment")
    return _configuration(logical_id, resolved, where=where, folder=os.path.dirname(os.path.abspath(path)))


def _choose(resources: Mapping[str, Any], name: str, path: str) -> str:
    functions = [
        key for key, resource in resources.items() if isinstance(resource, dict) and resource.get("Type") == _TYPE
    ]
    if name and name not in functions:
        raise TemplateError(f"{path} has no function {name!r}; it has: {', '.join(functions) or 'none'}")
    if name:
        return name
    behind_api = [key for key in functions if _has_event(resources[key], _DEFAULT_EVENT)]
    for meant in (functions, behind_api):
        if len(meant) == 1:
            return meant[0]
    raise TemplateError(f"{path} has {len(functions)} functions ({', '.join(functions)}): choose one with --function")


def _has_event(resource: Mapping[str, Any], kind: str) -> bool:
    events = (resource.get("Properties") or {}).get("Events") or {}
    return any(isinstance(event, dict) and event.get("Type") == kind for event in events.values())


def _variables(resolver: Resolver, environment: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The variables; empty are those that name a resource of the stack, a bucket or a queue, as with SAM's own ``sam local``."""
    resolved: dict[str, Any] = {}
    for name, value in (environment.get("Variables") or {}).items():
        try:
            resolved |= resolver.resolve({name: value}, where=f"{where}.Variables")
        except ResourceNotHere:
            resolved[name] = ""
    return {"Variables": resolved}


def _properties(document: Mapping[str, Any], logical_id: str) -> dict[str, Any]:
    shared = (document.get("Globals") or {}).get("Function") or {}
    own = document["Resources"][logical_id].get("Properties") or {}
    return _merged(shared, own)


def _merged(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``own`` over ``shared``: objects key by key, anything else replaced (AWS SAM: "Globals section", overridable properties)."""
    merged = dict(shared)
    for key, value in own.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _configuration(name: str, properties: Mapping[str, Any], *, where: str, folder: str) -> FunctionConfiguration:
    _refuse_unsupported(properties, where)
    return FunctionConfiguration(
        name=name,
        handler=_required(properties, "Handler", where),
        code_folder=_code_folder(_required(properties, "CodeUri", where), where, folder),
        memory_mb=_number(properties.get("MemorySize", 128), f"{where}.MemorySize"),
        timeout_seconds=_number(properties.get("Timeout", 3), f"{where}.Timeout"),
        environment=_environment((properties.get("Environment") or {}).get("Variables") or {}, where),
        log_format=_log_format((properties.get("LoggingConfig") or {}).get("LogFormat", "Text"), where),
    )


def _refuse_unsupported(properties: Mapping[str, Any], where: str) -> None:
    if "InlineCode" in properties:
        raise TemplateError(f"{where}.InlineCode is not emulated: put the code into a folder and name it in CodeUri")
    if properties.get("PackageType", "Zip") != "Zip":
        raise TemplateError(f"{where}.PackageType {properties['PackageType']!r} is not emulated; Zip is")


def _required(properties: Mapping[str, Any], key: str, where: str) -> str:
    value = properties.get(key)
    if not isinstance(value, str) or not value:
        raise TemplateError(f"{where}.{key} is {value!r}; it has to be text")
    return value


def _code_folder(code_uri: str, where: str, folder: str) -> str:
    path = os.path.normpath(os.path.join(folder, code_uri))
    if not os.path.isdir(path):
        raise TemplateError(f"{where}.CodeUri is {code_uri!r}; there is no folder {path}")
    return path


def _number(value: Any, where: str) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise TemplateError(f"{where} is {value!r}; it has to be a whole number, 1 or more")
    return number


def _log_format(value: Any, where: str) -> str:
    if value not in ("Text", "JSON"):
        raise TemplateError(f"{where}.LoggingConfig.LogFormat is {value!r}; it has to be Text or JSON")
    return str(value)


def _environment(variables: Mapping[str, Any], where: str) -> dict[str, str]:
    for name, value in variables.items():
        if isinstance(value, dict | list) or value is None:
            raise TemplateError(f"{where}.Environment.Variables.{name} is {value!r}; it has to be text or a number")
    return {name: _text(value) for name, value in variables.items()}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
