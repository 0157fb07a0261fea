"""What the models are, as documents: MMS's model list and description, OpenAPI's paths, and MMS 0.4's Swagger.

Shapes: mms-1.1 ManagementRequestHandler.java (``modelName``, ``modelUrl``, …) and OpenApiUtils.java; mms-0.4 mms/serving_frontend.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from gluon_lambda.archive_store.signature import InputDeclaration, OutputDeclaration
from gluon_lambda.errors import MalformedBody
from gluon_lambda.services.models import LoadedModel

Document = dict[str, Any]

# mms-1.1: "limit: the maximum number of items to return", 100 unless told.
_PAGE = 100
_LONGEST_SAMPLE = 16
_MOST_DIGITS = 10

_JSON_TYPES = {"bool": "boolean"} | {name: "integer" for name in ("int8", "uint8", "int32", "int64")}

_ERROR_SCHEMA = {
    "type": "object",
    "required": ["code", "type", "message"],
    "properties": {
        "code": {"type": "integer"},
        "type": {"type": "string"},
        "message": {"type": "string"},
        "requestId": {"type": "string"},
        "phase": {"type": "string"},
    },
}


def model_list(
    models: Sequence[LoadedModel], *, limit: str | None = None, next_page_token: str | None = None
) -> Document:
    """MMS's ``GET /models``, with its paging.

    Raises:
        MalformedBody: ``limit`` or ``next_page_token`` is no whole number.
    """
    start = _number("next_page_token", next_page_token, default=0)
    count = max(1, min(_number("limit", limit, default=_PAGE), _PAGE))
    page = models[start : start + count]
    listed: Document = {"models": [{"modelName": model.name, "modelUrl": model.archive.location} for model in page]}
    more = start + count < len(models)
    return ({"nextPageToken": str(start + count)} if more else {}) | listed


def model_description(model: LoadedModel, *, configured: Collection[str]) -> Document:
    """MMS's ``GET /models/{model}``, with what the archive says of the net beside it.

    Args:
        model: The model.
        configured: Names of the models that INIT loads.
    """
    manifest = model.archive.manifest
    signature = model.archive.signature
    return {
        "modelName": model.name,
        "modelVersion": model.version,
        "modelUrl": model.archive.location,
        "engine": "MXNet",
        "runtime": "python",
        # One sandbox answers one request at a time; Lambda's own concurrency takes the place of MMS's workers.
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": 1,
        "loadedAtStartup": model.name in configured,
        "archive": {"form": manifest.form, "name": manifest.model_name, "sha256": model.archive.digest},
        "service": manifest.service or "built-in",
        "signature": signature.raw if signature else None,
        "labels": len(model.archive.labels),
    }


def openapi_paths(model: LoadedModel) -> Document:
    """OpenAPI 3.1's path items of one model: request and response as its signature declares them."""
    operation = {
        "tags": [model.name],
        "summary": f"Predict with {model.name}",
        "requestBody": {"required": True, "content": _request_content(model)},
        "responses": {
            "200": {"description": "The prediction", "content": _response_content(model)},
            "4XX": {
                "description": "The request is at fault",
                "content": {"application/json": {"schema": _ERROR_SCHEMA}},
            },
            "5XX": {
                "description": "The model or the service is",
                "content": {"application/json": {"schema": _ERROR_SCHEMA}},
            },
        },
    }
    paths = (f"/{model.name}/predict", f"/predictions/{model.name}")
    return {path: {"post": operation | {"operationId": "post" + path.replace("/", "_")}} for path in paths}


def swagger_document(models: Sequence[LoadedModel], host: str) -> Document:
    """MMS 0.4's Swagger 2.0 document (its ``GET /api-description``, under ``description``)."""
    return {
        "swagger": "2.0",
        "info": {"title": "Model Serving Apis", "version": "1.0.0"},
        "host": host,
        "schemes": ["https"],
        "paths": {
            "/ping": {
                "get": {
                    "operationId": "ping",
                    "produces": ["application/json"],
                    "responses": {"200": {"description": "OK"}},
                }
            },
            **{f"/{model.name}/predict": {"post": _swagger_operation(model)} for model in models},
        },
    }


def _swagger_operation(model: LoadedModel) -> Document:
    signature = model.archive.signature
    is_image = signature is not None and signature.input_type.startswith("image/")
    kind = "file" if is_image else "string"
    return {
        "operationId": f"{model.name}_predict",
        "consumes": ["multipart/form-data"],
        "produces": [signature.output_type if signature else "application/json"],
        "parameters": [
            {
                "in": "formData",
                "name": declared.name,
                "type": kind,
                "required": True,
                "description": str(list(declared.shape)),
            }
            for declared in (signature.inputs if signature else ())
        ],
        "responses": {"200": {"description": "OK", "schema": {"type": "object"}}},
    }


def _request_content(model: LoadedModel) -> Document:
    signature = model.archive.signature
    if signature is None:
        return {
            "application/json": {"schema": {}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        }
    if signature.input_type.startswith("image/"):
        binary = {"type": "string", "format": "binary"}
        return {
            "multipart/form-data": {"schema": _properties([(declared.name, binary) for declared in signature.inputs])},
            "image/*": {"schema": binary},
        }
    # With code in between, the declared shapes are the net's and not the request's, and what the code takes is not declared anywhere.
    has_code = bool(model.archive.manifest.service)
    values = _properties([(declared.name, {} if has_code else _tensor(declared)) for declared in signature.inputs])
    return {"application/json": {"schema": values}, "multipart/form-data": {"schema": values}}


def _response_content(model: LoadedModel) -> Document:
    signature = model.archive.signature
    outputs = signature.outputs if signature else ()
    answer = _properties([(declared.name, _output(declared)) for declared in outputs]) if len(outputs) > 1 else {}
    answer = _output(outputs[0]) if len(outputs) == 1 and not model.archive.manifest.service else answer
    if model.archive.manifest.form == "mms-0.4":
        answer = _properties([("prediction", answer)])
    return {signature.output_type if signature else "application/json": {"schema": answer}}


def _output(declared: OutputDeclaration) -> Document:
    if "top_k" not in declared.postprocess:
        return _tensor(declared)
    label = {"type": "object", "properties": {"class": {"type": "string"}, "probability": {"type": "number"}}}
    return {"type": "array", "items": label, "maxItems": declared.postprocess["top_k"]}


def _properties(named: Sequence[tuple[str, Document]]) -> Document:
    return {"type": "object", "required": [name for name, _ in named], "properties": dict(named)}


def _tensor(declared: InputDeclaration | OutputDeclaration) -> Document:
    """A nested array, one level a dimension; 0 leaves a length open, and long ones have no minimum, since pages make samples by it."""
    schema: Document = {"type": _JSON_TYPES.get(declared.dtype, "number")}
    for size in reversed(declared.shape):
        length = {"maxItems": size} if size else {}
        length |= {"minItems": size} if 0 < size <= _LONGEST_SAMPLE else {}
        schema = {"type": "array", "items": schema, **length}
    return schema


def _number(name: str, text: str | None, *, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS):
        raise MalformedBody(f"{name}={text!r}: a whole number of at most {_MOST_DIGITS - 1} digits is expected")
    return int(text)
