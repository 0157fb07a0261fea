"""``.npy`` and ``.npz``: a row is an entry of the first axis, as a ``.npy`` file that a request could send."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gluon_lambda.archive_store.signature import InputDeclaration
from gluon_lambda.batch.formats.rows import Limits
from gluon_lambda.batch_records import Row
from gluon_lambda.errors import ObjectRefused
from gluon_lambda.services import builtin_tensor
from tests.format_samples import npy, npz, read, zipped


def parts(row: Row) -> dict[str, Any]:
    assert row.payload is not None
    assert {part.content_type for part in row.payload.parts} == {"application/x-npy"}
    return {part.name: np.load(io.BytesIO(part.value)) for part in row.payload.parts}


@pytest.mark.parametrize("dtype", ["float32", ">f8", "uint8", "int64", "bool", "float16"])
@pytest.mark.parametrize("shape", [(5,), (5, 3), (2, 3, 4), (1, 1, 1, 1)])
def test_a_row_is_an_entry_of_the_first_axis_with_its_shape_and_type(shape: tuple[int, ...], dtype: str) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)

    for saved in (array, np.asfortranarray(array)):
        entries = [parts(row)["body"] for row in read(npy(saved), "a.npy")]
        assert all(entry.dtype == array.dtype and entry.shape == shape[1:] for entry in entries)
        np.testing.assert_array_equal(np.stack(entries), array)


def test_an_array_without_axes_is_one_row_and_one_without_entries_none() -> None:
    (row,) = read(npy(np.float32(1.5)), "a.npy")

    assert parts(row)["body"] == 1.5
    assert read(npy(np.zeros((0, 3))), "a.npy") == []


def test_headers_of_version_2_are_read() -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.arange(6).reshape(3, 2), version=(2, 0))  # type: ignore[no-untyped-call]

    assert [parts(row)["body"].tolist() for row in read(stream.getvalue(), "a.npy")] == [[0, 1], [2, 3], [4, 5]]


def test_a_net_reads_an_entry_as_one_example() -> None:
    array = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)

    for at, row in enumerate(read(npy(array), "a.npy")):
        assert row.payload is not None
        read_back = builtin_tensor.read_inputs(
            row.payload, (InputDeclaration("x", (0, 4), "float32", {}),), first_wins=False
        )
        np.testing.assert_array_equal(read_back.arrays["x"], array[at : at + 1])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_arrays_of_a_npz_are_the_inputs_side_by_side(save: Any) -> None:
    first, second = np.arange(600_000.0).reshape(6, 100_000), np.arange(6)

    rows = read(npz(save, first=first, second=second), "a.npz")

    assert [row.number for row in rows] == list(range(6))
    for at, row in enumerate(rows):
        np.testing.assert_array_equal(parts(row)["first"], first[at])
        assert parts(row)["second"] == at


def test_the_only_array_of_a_npz_is_for_a_nets_only_input_whatever_it_is_called() -> None:
    stream = io.BytesIO()
    np.savez(stream, np.ones((1, 4)))  # arr_0
    (row,) = read(stream.getvalue(), "a.npz")

    assert row.payload is not None
    inputs = (InputDeclaration("x", (0, 4), "float32", {}),)
    assert builtin_tensor.read_inputs(row.payload, inputs, first_wins=False).arrays["x"].shape == (1, 4)


class Touched:
    """A pickle of it leaves a file behind when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def test_python_objects_are_not_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "unpickled"
    harmful = npy(np.array([Touched(str(mark))], dtype=object))

    for content, key in ((harmful, "a.npy"), (zipped({"x.npy": harmful}), "a.npz")):
        with pytest.raises(ObjectRefused, match="holds Python objects"):
            read(content, key)
    assert not mark.exists()


WHOLE = npy(np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x93NUMPY\x03\x00" + WHOLE[8:], "version 1 or 2"),
        (b"no array", "version 1 or 2"),
        (WHOLE[:9], "damaged or cut short"),
        (WHOLE[:60], "damaged or cut short"),
        (WHOLE.replace(b"'descr'", b"'desc(' "), "damaged or cut short"),
        (WHOLE[:8] + b"\xff\xff" + WHOLE[10:], "longer than that of any array"),
        (WHOLE[:-1], "breaks off in row 3 of 3"),
        (npy(np.asfortranarray(np.zeros((3, 2))))[:-1], "breaks off in row 1 of 3"),
        (WHOLE + WHOLE, "something follows the array"),
        (WHOLE.replace(b"(3, 2)", b"(3,-2)"), "its rows are empty"),
        (npy(np.zeros((3, 0))), "its rows are empty"),
        (npy(np.zeros((2, 200))), "a row takes 1,600 bytes, over the limit of 1,000"),
        (npy(np.asfortranarray(np.zeros((200, 100), np.int8))), "Fortran's order"),
    ],
)
def test_a_file_that_is_no_whole_array_is_an_error_of_the_object(content: bytes, message: str) -> None:
    with pytest.raises(ObjectRefused, match=message):
        read(content, "a.npy", limits=Limits(row_bytes=1000, file_bytes=10_000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npz(x=np.zeros(3), y=np.zeros(4)), "x.npy has 3 rows, y.npy has 4 rows"),
        (npz(), "it has none"),
        (zipped({"x.npy": WHOLE, "notes.txt": b"?"}), "'notes.txt' is no array"),
        (zipped({"x.npy": WHOLE[:-1]}), "x.npy: the array breaks off in row 3 of 3"),
        (npz(x=np.zeros(3))[:-30], "cut short or garbled"),
    ],
)
def test_a_npz_whose_arrays_do_not_go_together_is_an_error_of_the_object(content: bytes, message: str) -> None:
    with pytest.raises(ObjectRefused, match=message):
        read(content, "a.npz")


def test_a_damaged_npz_is_told_by_its_checksum() -> None:
    content = bytearray(npz(x=np.arange(1000.0)))
    content[4000] ^= 1

    with pytest.raises(ObjectRefused, match="damaged"):
        read(bytes(content), "a.npz")
