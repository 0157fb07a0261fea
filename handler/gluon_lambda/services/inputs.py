"""From the parts of a request to the inputs of a net, for the built-in services.

An input is taken from, in this order: a JSON body (or a direct invoke's value), the part of the input's name, and, where the
net has one input only, the raw body or the one uploaded file, whatever its name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from gluon_lambda.errors import InputMismatch, MalformedBody
from gluon_lambda.types import Part, Payload

if TYPE_CHECKING:
    from gluon_lambda.types import Array

RAW_BODY = "body"
JSON_TYPE = "application/json"


class Inputs(NamedTuple):
    """The arrays of one request.

    Attributes:
        arrays: By input name, each with the batch axis.
        batch: How many examples there are, where the request had the batch axis; None for a single example.
    """

    arrays: dict[str, Array]
    batch: int | None


def parts_by_input(payload: Payload, names: Sequence[str], *, first_wins: bool) -> dict[str, Part]:
    """The part for each input.

    Args:
        payload: The request.
        names: The net's inputs.
        first_wins: Which part counts where a name comes twice: the first (MMS 0.4) or the last (MMS 1.x).

    Returns:
        One part by input name; its value is bytes as they came, or a JSON value where it was read from JSON.

    Raises:
        MalformedBody: A body that says JSON is not.
        InputMismatch: An input is missing or unknown; names it, what came and what is expected.
    """
    found = {part.name: part for part in (reversed(payload.parts) if first_wins else payload.parts)}
    body = found.get(RAW_BODY)
    if body is not None and RAW_BODY not in names and is_json(body):
        values = named_values(json_value(body), names)
        return {name: Part(name, value) for name, value in values.items()}
    if len(names) == 1 and names[0] not in found:
        return {names[0]: _only_candidate(payload, names[0])}
    missing = [name for name in names if name not in found]
    if missing:
        raise InputMismatch(_missing(missing, found))
    return {name: found[name] for name in names}


def is_json(part: Part) -> bool:
    """Whether the part holds JSON: a value that is already parsed, or bytes that say so."""
    return (
        not isinstance(part.value, (bytes, bytearray))
        or part.content_type == JSON_TYPE
        or part.content_type.endswith("+json")
    )


def json_value(part: Part) -> Any:
    """The JSON value in a part.

    Raises:
        MalformedBody: It is not JSON as RFC 8259 has it: NaN and Infinity are none.
    """
    if not isinstance(part.value, (bytes, bytearray)):
        return part.value
    try:
        return json.loads(part.value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, numbers of absurd length, nested absurdly deep
        raise MalformedBody(f"{_called(part)} is not JSON: {error}") from error


def named_values(value: Any, names: Sequence[str]) -> dict[str, Any]:
    """The inputs in a JSON value: ``{"inputs": {name: value}}``, ``{name: value}``, or the only input's value itself.

    Raises:
        InputMismatch: An input is missing or unknown.
    """
    if isinstance(value, dict) and set(value) == {"inputs"} and "inputs" not in names:
        value = value["inputs"]
    if len(names) == 1 and not (isinstance(value, dict) and not _is_wrapped(value)):
        return {names[0]: value}
    if not isinstance(value, dict):
        raise InputMismatch(f"The model takes {listed(names)}; send an object with these keys, not {kind_of(value)}.")
    unknown = sorted(set(value) - set(names))
    if unknown or len(value) < len(names):
        raise InputMismatch(_missing([name for name in names if name not in value], value, unknown))
    return {name: value[name] for name in names}


def listed(names: Sequence[str]) -> str:
    """``input 'a'`` or ``inputs 'a', 'b'``."""
    return ("input " if len(names) == 1 else "inputs ") + ", ".join(repr(name) for name in names)


def kind_of(value: Any) -> str:
    """What to call a JSON value in a message, without quoting what may be megabytes."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _is_wrapped(value: dict[str, Any]) -> bool:
    return set(value) == {"b64"}


def _only_candidate(payload: Payload, name: str) -> Part:
    bodies = [part for part in payload.parts if part.name == RAW_BODY]
    candidates = bodies or [part for part in payload.parts if part.filename is not None]
    if len(candidates) != 1:
        raise InputMismatch(_missing([name], {part.name: part for part in payload.parts}))
    return candidates[0]


def _missing(missing: Sequence[str], came: dict[str, Any], unknown: Sequence[str] = ()) -> str:
    lacking = f"There is no {listed(missing)} in the request. " if missing else ""
    surplus = f"The model has no {listed(unknown)}. " if unknown else ""
    return f"{lacking}{surplus}What came: {', '.join(map(repr, came)) or 'nothing'}."


def _called(part: Part) -> str:
    return "The request's body" if part.name == RAW_BODY else f"Part {part.name!r}"


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")
