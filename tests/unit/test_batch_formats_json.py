"""JSON Lines and JSON files: a row is what a request's body would be, and one at fault costs itself only."""

from __future__ import annotations

import json
import random
from io import BytesIO
from typing import Any

import pytest

from gluon_lambda.batch.formats.opening import open_rows
from gluon_lambda.batch.formats.rows import Limits
from gluon_lambda.batch_records import Row
from gluon_lambda.errors import MalformedBody, ObjectRefused, PayloadTooLarge
from tests.format_samples import LINES, ShortReads, body, read


def message(row: Row) -> str:
    return str(row.error)


def test_a_line_is_the_body_of_a_request_as_it_stands() -> None:
    (row,) = read(b'  {"a":  1.10}\t\r\n', "a.jsonl")

    assert row.payload is not None
    assert [tuple(part) for part in row.payload.parts] == [("body", b'{"a":  1.10}', "application/json", None)]


def test_a_line_at_fault_says_which_line_it_is_and_the_others_stand() -> None:
    rows = read(LINES, "a.jsonl", limits=Limits(row_bytes=80))

    assert [row.error is None for row in rows] == [True, False, False, False, False, False, True, True]
    assert [message(row).partition(":")[0] for row in rows[1:5]] == [
        "Line 2 is blank",
        "Line 3 is not JSON",
        "Line 4 is not JSON",
        "Line 5 is not UTF-8",
    ]
    assert "NaN is no JSON number" in message(rows[2])
    assert isinstance(rows[5].error, PayloadTooLarge)
    assert message(rows[5]) == "Line 6 is longer than the 80 bytes that a row may have"


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", '{"a": -Infinity}', "{'a': 1}", "[1,]", "01", "1 2", "[" * 100_000, "9" * 5000]
)
def test_what_only_python_takes_for_json_is_refused(text: str) -> None:
    (row,) = read(text.encode(), "a.jsonl")

    assert isinstance(row.error, MalformedBody)
    assert "Line 1 is not JSON" in message(row)


def test_blank_lines_at_the_end_are_no_rows_and_those_before_keep_the_lines_numbers() -> None:
    rows = read(b"1\n" + b"\n" * 3000 + b"2\n" + b" \n" * 3000, "a.jsonl")

    assert len(rows) == 3002
    assert body(rows[3001]) == 2
    assert message(rows[2500]) == "Line 2501 is blank"


def test_reading_on_among_thousands_of_blank_lines_gives_the_same_rows() -> None:
    content = b"1\n" + b"\n" * 3000 + b"2\n"
    whole = read(content, "a.jsonl")

    for done in (2, 999, 1000, 1001, 1002, 2500, 3001):
        rest = read(content, "a.jsonl", start=(done, whole[done - 1].offset))
        assert [(row.number, message(row)) for row in rest] == [(row.number, message(row)) for row in whole[done:]]


def test_a_last_line_needs_no_line_feed() -> None:
    assert [body(row) for row in read(b"1\n2", "a.jsonl")] == [1, 2]


def random_value(random_: random.Random, depth: int) -> Any:
    kind = random_.randrange(7 if depth else 5)
    text = "".join(random_.choices('ab"\\[]{},:\n é😀', k=random_.randrange(6)))
    if kind == 5:
        return [random_value(random_, depth - 1) for _ in range(random_.randrange(4))]
    if kind == 6:
        return {f"{at}{text}": random_value(random_, depth - 1) for at in range(random_.randrange(4))}
    return (None, True, random_.random(), random_.randrange(-999, 999), text)[kind]


@pytest.mark.parametrize("seed", range(40))
def test_the_elements_of_any_array_are_those_that_a_parser_finds(seed: int) -> None:
    random_ = random.Random(seed)
    values = [random_value(random_, 4) for _ in range(random_.randrange(2, 12))]
    indent, ascii_only = random_.choice([None, 0, 2]), random_.random() < 0.5
    content = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()

    rows = read(ShortReads(content, random_.randrange(1, 40)), "a.json")

    assert [body(row) for row in rows] == values


def test_an_array_without_elements_has_no_rows() -> None:
    assert read(b" [ ] \n", "a.json") == []


def test_elements_that_are_no_json_cost_themselves_only() -> None:
    rows = read(b'[{"a": 1}, oops, NaN, , "x" "y", {"b": 2}, \xff, ]', "a.json")

    assert [row.error is None for row in rows] == [True, False, False, False, False, True, False, False]
    assert "Element 2 is not JSON" in message(rows[1])
    assert message(rows[3]) == "Element 4 is empty: a comma too many"
    assert "Element 7 is not UTF-8" in message(rows[6])


@pytest.mark.parametrize(
    ("content", "whole", "reason"),
    [
        (b'[1, {"a": 2}, 3', [1, {"a": 2}], "breaks off"),
        (b'[1, "2, 3]', [1], "breaks off"),
        (b"[1, 2] [3]", [1, 2], "something follows"),
        (b"[1,\n2]\n{}", [1, 2], "something follows"),
    ],
)
def test_an_array_that_breaks_off_is_an_error_of_the_object_after_the_rows_before_it(
    content: bytes, whole: list[Any], reason: str
) -> None:
    found: list[Any] = []
    with pytest.raises(ObjectRefused, match=reason):
        found.extend(body(row) for row in open_rows(BytesIO(content), key="a.bin", content_type="application/json"))
    assert found == whole


def test_a_json_file_with_a_value_on_each_line_is_json_lines() -> None:
    assert [body(row) for row in read(b"[1, 2]\n[3]\n", "a.json")] == [[1, 2], [3]]
    assert [row.error is None for row in read(b'{"a": 1}\noops\n{"a": 2}\n', "a.json")] == [True, False, True]


def test_any_other_json_file_is_one_row() -> None:
    assert [body(row) for row in read(b'\xef\xbb\xbf{\n "inputs": [1, 2]\n}\n', "a.json")] == [{"inputs": [1, 2]}]
    assert [body(row) for row in read(b'"text"', "a.json")] == ["text"]
    (broken,) = read(b'{"a": 1', "a.json")
    assert "The object is not JSON" in message(broken)
    (long,) = read(b'{"a": 1}', "a.json", limits=Limits(row_bytes=7))
    assert isinstance(long.error, PayloadTooLarge)
