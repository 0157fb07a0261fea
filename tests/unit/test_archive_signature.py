"""signature.json as MMS writes it and as the built-in services extend it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gluon_lambda.archive_store.signature import InputDeclaration, OutputDeclaration, parse_signature
from gluon_lambda.errors import SignatureInvalid
from tests.archive_samples import SIGNATURE, changed

ENTRY = {"data_name": "data", "data_shape": [0, 3]}


def parse(value: Any) -> Any:
    return parse_signature(json.dumps(value).encode(), where="a.model: signature.json")


def test_a_signature_is_read_in_order_with_its_processing() -> None:
    signature = parse(SIGNATURE)
    assert signature.inputs == (InputDeclaration("data", (0, 1, 8, 8), "float32", {"color": "L"}),)
    assert signature.outputs == (OutputDeclaration("softmax", (0, 10), "float32", {"top_k": 2}),)
    assert (signature.input_type, signature.output_type) == ("image/jpeg", "application/json")
    assert signature.raw == SIGNATURE


def test_what_can_be_left_out_has_a_default() -> None:
    signature = parse({"inputs": [{"data_name": "x", "shape": [1]}], "input_type": "application/json"})
    assert signature.inputs == (InputDeclaration("x", (1,), "float32", {}),)
    assert (signature.outputs, signature.output_type) == ((), "application/json")


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("inputs", None, "inputs must be a list"),
        ("inputs", [], "inputs must be a list"),
        ("inputs", {"data": [1]}, "inputs must be a list"),
        ("inputs", ["data"], r"inputs\[0\] must be an object"),
        ("inputs", [{"data_shape": [1]}], r"inputs\[0\]\.data_name"),
        ("inputs", [{"data_name": "x"}], r"inputs\[0\]\.data_shape"),
        ("inputs", [ENTRY, {**ENTRY, "data_name": "y", "data_shape": [-1]}], r"inputs\[1\]\.data_shape"),
        ("inputs", [{**ENTRY, "data_shape": [True]}], r"inputs\[0\]\.data_shape"),
        ("inputs", [{**ENTRY, "data_shape": "0,3"}], r"inputs\[0\]\.data_shape"),
        ("inputs", [{**ENTRY, "data_type": "complex64"}], r"inputs\[0\]\.data_type is 'complex64'. Accepted: float32"),
        ("inputs", [{**ENTRY, "data_type": ["int8"]}], r"inputs\[0\]\.data_type"),
        ("inputs", [{**ENTRY, "preprocess": [1]}], r"inputs\[0\]\.preprocess must be an object"),
        ("inputs", [ENTRY, ENTRY], "inputs: the data_name 'data' stands there twice"),
        ("outputs", "softmax", "outputs must be a list"),
        ("outputs", [{**ENTRY, "postprocess": 1}], r"outputs\[0\]\.postprocess must be an object"),
        ("input_type", None, "input_type must be a text"),
        ("input_type", 1, "input_type must be a text"),
        ("output_type", " ", "output_type must be a text"),
    ],
)
def test_a_malformed_part_is_refused_by_archive_file_and_key(path: str, value: Any, named: str) -> None:
    with pytest.raises(SignatureInvalid, match=rf"a\.model: signature\.json: {named}"):
        parse(json.loads(changed(SIGNATURE, path, value)))


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b"3", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(SignatureInvalid, match="JSON"):
        parse_signature(raw, where="a")
