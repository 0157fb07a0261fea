"""What ``signature.json`` says: the inputs that a model takes and the outputs that it gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from gluon_lambda.errors import SignatureInvalid

# NumPy's names of the types that libmxnet 1.9.1 has (mshadow's type flags).
DTYPES = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool")

Declaration = TypeVar("Declaration")


class InputDeclaration(NamedTuple):
    """One input of a model.

    Attributes:
        name: ``data_name``; the form field, and the symbol's argument.
        shape: ``data_shape``: one entry a dimension, 0 for any size; the first is the batch.
        dtype: ``data_type``, NumPy's name; float32 where none is given.
        preprocess: The steps that the built-in services take, as written; empty where none are declared.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    preprocess: dict[str, Any]


class OutputDeclaration(NamedTuple):
    """One output of a model.

    Attributes:
        name: ``data_name``.
        shape: ``data_shape``: one entry a dimension, 0 for any size; the first is the batch.
        dtype: ``data_type``, NumPy's name; float32 where none is given.
        postprocess: The steps that the built-in services take, as written; empty where none are declared.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    postprocess: dict[str, Any]


class Signature(NamedTuple):
    """A model's inputs and outputs, in order.

    Attributes:
        inputs: At least one.
        outputs: May be empty where a service makes its own.
        input_type: ``image/jpeg`` or ``application/json``, as MMS 0.4 knows them; other services may declare others.
        output_type: The same for the answer; ``application/json`` where none is given.
        raw: The file as parsed.
    """

    inputs: tuple[InputDeclaration, ...]
    outputs: tuple[OutputDeclaration, ...]
    input_type: str
    output_type: str
    raw: dict[str, Any]


def parse_signature(raw: bytes, *, where: str) -> Signature:
    """Read ``signature.json``, as MMS 0.4's export_model.py writes it and as the built-in services extend it.

    Args:
        raw: The file's bytes, UTF-8 with or without a byte order mark.
        where: Archive and file, for errors.

    Raises:
        SignatureInvalid: Not JSON, or a key is missing or malformed; names it.
    """
    fields = parse_object(raw, where=where)
    return Signature(
        parse_declarations(fields, "inputs", "preprocess", InputDeclaration, where=where),
        parse_declarations({"outputs": [], **fields}, "outputs", "postprocess", OutputDeclaration, where=where),
        parse_text(fields, "input_type", where=where),
        parse_text({"output_type": "application/json", **fields}, "output_type", where=where),
        fields,
    )


def parse_object(raw: bytes, *, where: str) -> dict[str, Any]:
    """The JSON object in ``raw``."""
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SignatureInvalid(f"{where}: not JSON: {error}. Write it anew.") from error
    if not isinstance(value, dict):
        raise SignatureInvalid(f'{where}: not a JSON object. It starts with {{"inputs": […], …}}.')
    return value


def parse_text(fields: dict[str, Any], key: str, *, where: str) -> str:
    """A text that must be there and not be empty."""
    value = fields.get(key)
    if not isinstance(value, str) or not value.strip():
        raise SignatureInvalid(f"{where}: {key} must be a text such as image/jpeg or application/json, not {value!r}.")
    return value.strip()


def parse_declarations(
    fields: dict[str, Any],
    key: str,
    steps: str,
    make: Callable[[str, tuple[int, ...], str, dict[str, Any]], Declaration],
    *,
    where: str,
) -> tuple[Declaration, ...]:
    """The list under ``key``, each entry turned into a record by ``make``; ``steps`` names its processing object."""
    entries = fields.get(key)
    if not isinstance(entries, list) or (key == "inputs" and not entries):
        raise SignatureInvalid(f"{where}: {key} must be a list of objects with data_name and data_shape.")
    parsed = [parse_declaration(entry, steps, where=f"{where}: {key}[{index}]") for index, entry in enumerate(entries)]
    refuse_repeated([name for name, _, _, _ in parsed], where=f"{where}: {key}")
    return tuple(make(*entry) for entry in parsed)


def refuse_repeated(names: list[str], *, where: str) -> None:
    """Refuse two declarations of one name."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SignatureInvalid(f"{where}: the data_name {repeated[0]!r} stands there twice. Each needs its own.")


def parse_declaration(entry: Any, steps: str, *, where: str) -> tuple[str, tuple[int, ...], str, dict[str, Any]]:
    """Name, shape, type and processing steps of one entry."""
    if not isinstance(entry, dict):
        raise SignatureInvalid(f"{where} must be an object with data_name and data_shape, not {entry!r}.")
    name = entry.get("data_name")
    if not isinstance(name, str) or not name:
        raise SignatureInvalid(f"{where}.data_name must be the input's or output's name, not {name!r}.")
    dtype = entry.get("data_type", "float32")
    if dtype not in DTYPES:
        raise SignatureInvalid(f"{where}.data_type is {dtype!r}. Accepted: {', '.join(DTYPES)}.")
    processing = entry.get(steps, {})
    if not isinstance(processing, dict):
        raise SignatureInvalid(f"{where}.{steps} must be an object, not {processing!r}.")
    return name, parse_shape(entry, where=where), dtype, processing


def parse_shape(entry: dict[str, Any], *, where: str) -> tuple[int, ...]:
    """The entry's shape; archives older than MMS 0.2 call it ``shape``."""
    shape = entry.get("data_shape", entry.get("shape"))
    if not isinstance(shape, list) or not all(is_size(size) for size in shape):
        raise SignatureInvalid(
            f"{where}.data_shape must be a list of whole numbers such as [0, 3, 224, 224], 0 for any size, "
            f"not {shape!r}."
        )
    return tuple(shape)


def is_size(value: Any) -> bool:
    """Whether ``value`` can be a dimension; JSON's true is no 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
