"""From a request to the ``data`` list of an MMS 0.4 service: one element for each input of the signature, in its order.

MMS 0.4 (mms/serving_frontend.py) reads form fields and file parts by the inputs' names:

- ``image/jpeg``: a file part whose content type is exactly that, as bytes; or a form field in base64 (which MMS meant, and never managed).
- ``application/json``: a form field with a Python literal, which must be a list, so that ``data[0]`` is that list.

Beyond MMS: JSON in a literal's place, which is tried first (``true``, ``null``, and a hundred times as fast); a JSON body with the inputs by
name; and, for a model with one input, that input's own value as the whole body.
"""

from __future__ import annotations

import ast
import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from typing import Any

from gluon_lambda.errors import InputMismatch, MalformedBody, PayloadTooLarge
from gluon_lambda.types import Part, Payload

JPEG = "image/jpeg"
JSON = "application/json"

# The name under which a raw or JSON body comes.
_BODY = "body"
_UNDECLARED = ("application/octet-stream", "")
# Python's parser takes 4 µs and 500 bytes for a character of a list of numbers, JSON's a hundredth of that.
_LONGEST_LITERAL = 500_000


def read_inputs(payload: Payload, names: Sequence[str], input_type: str) -> list[Any]:
    """The service's ``data``: bytes for each ``image/jpeg`` input, a list for each ``application/json`` one.

    Args:
        payload: The request's parts; of several parts of one name the first one counts.
        names: The signature's inputs.
        input_type: The signature's: ``image/jpeg`` or ``application/json``.

    Raises:
        InputMismatch: An input is missing, or is not what the signature says.
        MalformedBody: The body says that it is JSON, and is not.
    """
    parts = {part.name: part for part in reversed(payload.parts) if not _is_empty_body(part)}
    body = parts.get(_BODY)
    if body is not None and not any(name in parts for name in names):
        parts = _parts_of_body(body, names)
    read = _read_image if input_type == JPEG else _read_list
    return [read(parts[name] if name in parts else _missing(name, input_type, came=parts)) for name in names]


def parse_list(text: str, *, name: str) -> list[Any]:
    """A list as JSON, or as the Python literal that MMS 0.4's clients send; what is both means the same.

    Raises:
        InputMismatch: It is neither, or no list.
        PayloadTooLarge: It is a literal that would take seconds and hundreds of megabytes to parse.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        value = _parse_literal(text, name, str(error))
    return require_list(value, name=name)


def require_list(value: Any, *, name: str) -> list[Any]:
    """The value, if it is a list.

    Raises:
        InputMismatch: It is not.
    """
    if not isinstance(value, list):
        raise InputMismatch(f"Input {name} is of type {type(value).__name__}; a list is expected: [{{…}}, …].")
    return value


def _parse_literal(text: str, name: str, not_json: str) -> Any:
    if len(text) > _LONGEST_LITERAL:
        raise PayloadTooLarge(
            f"Input {name} is no JSON ({not_json}), and with {len(text):,} characters too long for a Python literal: send JSON."
        )
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise InputMismatch(
            f"Input {name} is neither a Python literal nor JSON; a list is expected: {not_json}."
        ) from error


def _missing(name: str, input_type: str, *, came: Iterable[str]) -> Part:
    raise InputMismatch(
        f"This end point expects an input called {name} ({input_type}), as a form field or file of that name; "
        f"{', '.join(came) or 'nothing'} came."
    )


def _is_empty_body(part: Part) -> bool:
    return part.name == _BODY and part.value == b""


def _parts_of_body(body: Part, names: Sequence[str]) -> dict[str, Part]:
    """The inputs out of a body that is not a form: by name from a JSON object, or the whole of it for the only input."""
    if body.content_type != JSON and isinstance(body.value, (bytes, bytearray)):
        return {names[0]: _raw_part(body, names[0])} if len(names) == 1 else {_BODY: body}
    value = _json_body(body.value) if isinstance(body.value, (bytes, bytearray)) else body.value
    if isinstance(value, dict) and "b64" not in value:
        return {name: Part(name, item) for name, item in value.items()}
    return {names[0]: Part(names[0], value)} if len(names) == 1 else {_BODY: body}


def _raw_part(body: Part, name: str) -> Part:
    """A raw body as a part; one that is declared nothing in particular is taken for what the model takes."""
    declared = JPEG if body.content_type in _UNDECLARED else body.content_type
    return Part(name, body.value, declared)


def _json_body(body: bytes | bytearray) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"The body is not JSON, as its content type says: {error}.") from error


def _read_image(part: Part) -> bytes:
    if isinstance(part.value, dict):
        return _decode(part.value.get("b64"), part.name)
    if not isinstance(part.value, (bytes, bytearray)):
        return _decode(part.value, part.name)
    if part.filename is not None or part.content_type:
        _require_image_type(part)
        return bytes(part.value)
    return _decode(part.value, part.name)


def _require_image_type(part: Part) -> None:
    """What is sent as a file must be declared a JPEG, as in MMS."""
    if part.content_type != JPEG:
        raise InputMismatch(
            f"Input data for request argument: {part.name} is not correct. "
            f"{JPEG} is expected but {part.content_type or 'no content type'} is given."
        )


def _decode(text: Any, name: str) -> bytes:
    """The bytes that a form field or a JSON text holds in base64."""
    if not isinstance(text, (str, bytes, bytearray)):
        raise InputMismatch(f"Input {name} is of type {type(text).__name__}; an image in base64 is expected.")
    try:
        compact = "".join(text.split()) if isinstance(text, str) else b"".join(bytes(text).split())
        return base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputMismatch(f"Input {name} is not base64, as an image in a form field or in JSON must be.") from error


def _read_list(part: Part) -> list[Any]:
    if isinstance(part.value, str):
        return parse_list(part.value, name=part.name)
    if not isinstance(part.value, (bytes, bytearray)):
        return require_list(part.value, name=part.name)
    try:
        return parse_list(bytes(part.value).decode(), name=part.name)
    except UnicodeDecodeError as error:
        raise InputMismatch(f"Input {part.name} is not UTF-8 text: {error}.") from error
