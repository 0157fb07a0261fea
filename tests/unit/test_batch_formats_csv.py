"""CSV: a row becomes the JSON that the model takes, and a record at fault costs its first line only."""

from __future__ import annotations

import csv
import io
import random
from typing import Any

import numpy as np
import pytest

from gluon_lambda.archive_store.signature import InputDeclaration
from gluon_lambda.batch.formats.csv_rows import NUMBERS, OBJECTS, Columns
from gluon_lambda.batch.formats.rows import Limits
from gluon_lambda.errors import InputMismatch, MalformedBody, ObjectRefused, PayloadTooLarge
from gluon_lambda.services import builtin_tensor, mms_0_4_inputs
from tests.format_samples import ShortReads, body, read


def test_a_row_under_a_header_is_an_object_of_numbers_and_texts() -> None:
    rows = read(b'name,price,"in stock"\nkettle,19.90,3\n"pan, large",5e1,\n', "a.csv")

    assert [body(row) for row in rows] == [
        {"name": "kettle", "price": 19.90, "in stock": 3},
        {"name": "pan, large", "price": 50, "in stock": ""},
    ]


def test_a_comma_in_a_quoted_cell_makes_it_a_text_and_no_two_numbers() -> None:
    assert body(read(b'a\n"1,2"\n', "a.csv")[0]) == {"a": "1,2"}
    assert "which is no number" in str(read(b'1\n"1,2"\n', "a.csv")[1].error)


def test_a_first_line_of_numbers_alone_is_no_header() -> None:
    assert [body(row) for row in read(b"1,2\n-3.5,4\n", "a.csv")] == [[1, 2], [-3.5, 4]]
    assert [body(row) for row in read(b"1\tx\n2\ty\n", "a.tsv")] == [{"1": 2, "x": "y"}]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1", 1),
        ("-0.5", -0.5),
        ("+1.5", 1.5),
        (".5", 0.5),
        ("-.5e-3", -0.0005),
        ("1.", 1),
        (" 2 ", 2),
        ("1E5", 100000.0),
        ("12345678901234567890.125", 12345678901234567890.125),
        ("007", "007"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("٣", "٣"),
        ("1e", "1e"),
        ("-", "-"),
        (".", "."),
        ("", ""),
        ("true", "true"),
        ("null", "null"),
        (" a ", " a "),
        ('"1"', 1),
        ('"a ""b"""', 'a "b"'),
        ("é\U0001f600\\", "é\U0001f600\\"),
    ],
)
def test_a_cell_is_a_number_where_it_is_written_as_one(cell: str, value: Any) -> None:
    (row,) = read(f"a,b\n{cell},x\n".encode(), "a.csv")

    assert body(row) == {"a": value, "b": "x"}
    assert type(body(row)["a"]) is type(value) or isinstance(value, (int, float))


@pytest.mark.parametrize("cell", ["NaN", "nan", "-inf", "Infinity", " +INF "])
def test_what_is_not_finite_is_refused(cell: str) -> None:
    for content in (f"a,b\n1,{cell}\n2,3\n", f"1,2\n1,{cell}\n2,3\n"):
        *_, at_fault, last = read(content.encode(), "a.csv")
        assert isinstance(at_fault.error, InputMismatch)
        assert cell.strip() in str(at_fault.error)
        assert last.error is None


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("1", InputMismatch, "Row 2: it has 1 columns, and the first line has 2"),
        ("1,2,3", InputMismatch, "Row 2: it has 3 columns, and the first line has 2"),
        ("", MalformedBody, "Row 2 is blank"),
        ("  ", MalformedBody, "Row 2 is blank"),
        ('"open,2', MalformedBody, "Row 2: it opens a quote that is not closed"),
        ('"closed"too early,2', MalformedBody, "Row 2: it is not CSV"),
        ("x" * 101 + ",2", PayloadTooLarge, "Row 2: it is longer than the 100 bytes that a row may have"),
        ("\udcff,2", MalformedBody, "Row 2: it is not UTF-8: byte 1 is 0xff"),
    ],
)
def test_a_record_at_fault_costs_itself_only(line: str, kind: type[Exception], message: str) -> None:
    content = f"a,b\n1,2\n{line}\n3,4\n5,6\n".encode(errors="surrogateescape")

    rows = read(content, "a.csv", limits=Limits(row_bytes=100))

    assert [body(row) for row in rows if row.payload] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}, {"a": 5, "b": 6}]
    assert isinstance(rows[1].error, kind)
    assert message in str(rows[1].error)


def test_a_quote_that_stays_open_costs_no_other_line_though_its_record_would_be_all_that_follows() -> None:
    content = b"a,b\n" + b'"open,1\n' + b"2,3\n" * 5000

    rows = read(content, "a.csv", limits=Limits(row_bytes=1000))

    assert len(rows) == 5001
    assert [row.error is None for row in rows[:3]] == [False, True, True]
    assert all(row.error is None for row in rows[1:])


def test_a_record_of_many_lines_is_no_longer_than_a_row_may_be() -> None:
    rows = read(b'a,b\n"' + b"x\n" * 60 + b'",1\n2,3\n', "a.csv", limits=Limits(row_bytes=50))

    assert "opens a quote that is not closed" in str(rows[0].error)
    assert body(rows[-1]) == {"a": 2, "b": 3}


def test_a_cell_may_be_longer_than_pythons_reader_takes_by_itself() -> None:
    (row,) = read(b"a,b\n" + b"x" * 200_000 + b",1\n", "a.csv")

    assert len(body(row)["a"]) == 200_000
    assert csv.field_size_limit() >= Limits().row_bytes


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("a,b,a", "'a' is there twice"),
        ("a,,b", "one name is missing"),
        ('"a,b', "does not parse"),
        ("\udcff,b", "does not parse"),
    ],
)
def test_a_first_line_that_can_be_no_header_is_an_error_of_the_object(header: str, message: str) -> None:
    with pytest.raises(ObjectRefused, match=message):
        read(f"{header}\n1,2,3\n".encode(errors="surrogateescape"), "a.csv")


def test_a_header_alone_has_no_rows() -> None:
    assert read(b"a,b\n\n", "a.csv") == []


@pytest.mark.parametrize("seed", range(30))
def test_any_table_that_pythons_writer_writes_is_read_back(seed: int) -> None:
    random_ = random.Random(seed)
    width = random_.randrange(1, 5)
    # Python's writer does not quote a \r of its own where lines end with \n.
    feed, letters = random_.choice([("\n", 'ab",\n\té'), ("\r\n", 'ab",\n\r\té')])
    table = [["x" + "".join(random_.choices(letters, k=random_.randrange(6))) for _ in range(width)] for _ in range(9)]
    text = io.StringIO()
    quoting: Any = random_.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    csv.writer(text, quoting=quoting, lineterminator=feed).writerows(table)
    names = [f"{at} {name}" for at, name in enumerate(map(str, range(width)))]

    content = ",".join(names).encode() + b"\n" + text.getvalue().encode()
    rows = read(ShortReads(content, random_.randrange(1, 40)), "a.csv")

    assert [list(body(row).values()) for row in rows] == table
    assert {tuple(body(row)) for row in rows} == {tuple(names)}


def declared(*shape: int, name: str = "x") -> InputDeclaration:
    return InputDeclaration(name, shape, "float32", {})


def test_a_net_with_one_input_gets_the_cells_as_its_numbers_whatever_the_columns_are_called() -> None:
    (row,) = read(b"length,width\n1.5,2\n", "a.csv", columns=Columns(("x",), NUMBERS))

    assert row.payload is not None
    inputs = builtin_tensor.read_inputs(row.payload, (declared(0, 2),), first_wins=False)
    np.testing.assert_array_equal(inputs.arrays["x"], [[1.5, 2]])
    assert inputs.batch is None


def test_a_table_without_a_header_is_for_a_net_with_one_input() -> None:
    (row,) = read(b"1.5,2\n", "a.csv")

    assert row.payload is not None
    np.testing.assert_array_equal(
        builtin_tensor.read_inputs(row.payload, (declared(0, 2),), first_wins=True).arrays["x"], [[1.5, 2]]
    )


def test_columns_that_are_called_as_the_inputs_are_the_inputs() -> None:
    inputs = (declared(0, name="a"), declared(0, name="b"))
    (row,) = read(b"b,a\n1,2\n", "a.csv", columns=Columns(("a", "b"), NUMBERS))

    assert row.payload is not None
    arrays = builtin_tensor.read_inputs(row.payload, inputs, first_wins=False).arrays
    assert {name: array.tolist() for name, array in arrays.items()} == {"a": [2], "b": [1]}


def test_a_cell_that_is_no_number_is_named_with_its_column_where_numbers_are_wanted() -> None:
    rows = read(b"length,width\n1,wide\n1,2\n", "a.csv", columns=Columns(("x",), NUMBERS))

    assert str(rows[0].error) == "Row 1: column width is 'wide', which is no number"
    assert body(rows[1]) == [1, 2]


def test_a_service_of_mms_0_4_gets_a_list_of_one_object() -> None:
    (row,) = read(b"title,text\nA,B\n", "a.csv", columns=Columns(("data",), OBJECTS))

    assert row.payload is not None
    assert mms_0_4_inputs.read_inputs(row.payload, ["data"], "application/json") == [[{"title": "A", "text": "B"}]]
