"""The lines of results: what stands in them, and how error lines are found among them again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from gluon_lambda.batch.lines import Line, error_line, error_lines, prediction_line
from gluon_lambda.errors import InputMismatch

NASTY = 'a"b\\\n,"error":{\u2028ü😀'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([{"probability": 0.5}], '[{"probability":0.5}]'),
        (np.array([[0.5, np.nan]], np.float32), "[[0.5,null]]"),
        ("ü\n", '"ü\\n"'),
        (b"text", '"text"'),
        (bytearray(b"\xff\x00"), '{"base64":"/wA="}'),
        (None, "null"),
    ],
)
def test_a_prediction_is_one_line_of_json(value: Any, text: str) -> None:
    assert prediction_line(7, value) == Line(f'{{"index":7,"prediction":{text}}}\n'.encode(), failed=False)


def test_an_error_is_one_line_with_type_class_and_message() -> None:
    line = error_line(3, InputMismatch("no\nimage"), transient=False)
    assert line.failed
    assert line.text == b'{"index":3,"error":{"type":"InputMismatch","class":"Permanent","message":"no\\nimage"}}\n'
    assert json.loads(error_line(3, TimeoutError("late"), transient=True).text)["error"] == {
        "type": "TimeoutError",
        "class": "Transient",
        "message": "late",
    }


def test_a_row_s_name_follows_its_index() -> None:
    assert prediction_line(0, 1, name="a/b.png").text == b'{"index":0,"name":"a/b.png","prediction":1}\n'
    assert error_line(0, ValueError(), transient=False, name="b").text.startswith(b'{"index":0,"name":"b","error":{')


@pytest.mark.parametrize("value", [object(), {"deep": [b"bytes"]}])
def test_what_json_cannot_hold_is_an_error_of_its_row(value: Any) -> None:
    line = prediction_line(2, value, name="x")
    assert line.failed
    error = json.loads(line.text)["error"]
    assert (error["type"], error["class"]) == ("InferenceError", "Permanent")


@pytest.mark.parametrize("block", [1, 2, 7, 64, 10_000])
def test_error_lines_are_found_in_blocks_of_any_size(block: int) -> None:
    lines = [
        prediction_line(0, {"index": 1, "error": {"type": NASTY}}),
        error_line(1, ValueError(NASTY), transient=True, name=NASTY),
        prediction_line(2, NASTY, name=NASTY),
        prediction_line(3, NASTY, name='x","error":{"'),
        error_line(4, ValueError("x" * 500), transient=False),
        error_line(5, ValueError(), transient=False, name="\\"),
        prediction_line(6, '{"index":6,"error":1}\n{"index":6,"error":1}\n'),
    ]
    text = b"".join(line.text for line in lines)
    found = error_lines(text[start : start + block] for start in range(0, len(text), block))
    assert b"".join(found) == b"".join(line.text for line in lines if line.failed)


def test_where_no_row_failed_there_are_no_error_lines() -> None:
    assert list(error_lines([prediction_line(0, 1).text, b""])) == []
    assert list(error_lines([])) == []
