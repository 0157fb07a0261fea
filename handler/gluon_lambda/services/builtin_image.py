"""Requests to a net that takes images: what may come as an image, and where in the request."""

from __future__ import annotations

from binascii import a2b_base64
from typing import TYPE_CHECKING, Any

from gluon_lambda.errors import InputMismatch, MalformedBody, UnsupportedMediaType
from gluon_lambda.services.image_steps import ImageSteps, parse_steps
from gluon_lambda.services.images import image_array, load_codecs
from gluon_lambda.services.inputs import Inputs, is_json, json_value, kind_of, parts_by_input

if TYPE_CHECKING:
    from gluon_lambda.archive_store.signature import Signature
    from gluon_lambda.types import Part, Payload

# The second is what clients say that do not look into the file.
ACCEPTED = "image/*, application/octet-stream, or base64 in application/json"


def parse_inputs(signature: Signature, *, where: str) -> tuple[ImageSteps, ...]:
    """The steps of every input, checked; Pillow is loaded on the way.

    Raises:
        SignatureInvalid: A step is unknown, malformed, or does not lead to the declared shape.
    """
    load_codecs()
    return tuple(parse_steps(declared, where=where) for declared in signature.inputs)


def read_inputs(payload: Payload, inputs: tuple[ImageSteps, ...], *, first_wins: bool) -> Inputs:
    """Each input's image as a batch of one.

    Raises:
        RequestError: An input is missing, is no image, or does not fit; names it.
    """
    parts = parts_by_input(payload, [steps.name for steps in inputs], first_wins=first_wins)
    arrays = {steps.name: image_array(image_bytes(parts[steps.name], steps.name), steps) for steps in inputs}
    return Inputs(arrays, None)


def image_bytes(part: Part, name: str) -> bytes:
    """The image file in a part: as it is, or base64 in a form field, a JSON text or ``{"b64": text}``.

    Args:
        part: The part.
        name: The input that it is for, for messages.

    Raises:
        UnsupportedMediaType: The part says that it is something else.
        InputMismatch: A JSON value that is no text.
        MalformedBody: A JSON text that is no base64.
    """
    if is_json(part):
        return _from_base64(_base64_text(json_value(part), name), name)
    if not part.content_type and part.filename is None:
        return _field(bytes(part.value))
    if (
        part.content_type
        and not part.content_type.startswith("image/")
        and part.content_type != "application/octet-stream"
    ):
        raise UnsupportedMediaType(f"Input {name!r} came as {part.content_type}; accepted: {ACCEPTED}.")
    return bytes(part.value)


def _base64_text(value: Any, name: str) -> str:
    text = value.get("b64") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise InputMismatch(f'Input {name!r} is {kind_of(text)}; an image in JSON is base64 text, or {{"b64": text}}.')
    return text.rpartition(";base64,")[2] if text.startswith("data:") else text


def _from_base64(text: str, name: str) -> bytes:
    try:
        return a2b_base64("".join(text.split()), strict_mode=True)
    except ValueError as error:  # binascii.Error is one
        raise MalformedBody(f"Input {name!r} is not base64: {error}") from error


def _field(value: bytes) -> bytes:
    # A form field without a type holds base64, as MMS 0.4 takes it, or the file itself (curl -F 'data=<file'). No image format
    # starts with four bytes that are all base64 digits and goes on so to its end.
    try:
        return a2b_base64(b"".join(value.split()), strict_mode=True)
    except ValueError:
        return value
