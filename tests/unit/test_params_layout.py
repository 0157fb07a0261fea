"""Params files of every age: their lengths add up, and damaged ones do not."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from gluon_lambda.errors import ArchiveCorrupt
from gluon_lambda.runtime.params_layout import check_layout
from tests.net_samples import NO_PARAMETERS, numpy_semantics

CPU = struct.pack("<ii", 1, 0)
VALUES = np.arange(6, dtype="<f4")


def shape(*sizes: int, size: str = "q") -> bytes:
    return struct.pack(f"<i{len(sizes)}{size}", len(sizes), *sizes)


def file_of(*arrays: bytes, names: tuple[bytes, ...] = (b"arg:w",)) -> bytes:
    listed = b"".join(struct.pack("<Q", len(name)) + name for name in names)
    return struct.pack("<QQQ", 0x112, 0, len(arrays)) + b"".join(arrays) + struct.pack("<Q", len(names)) + listed


def elements(sizes: bytes) -> bytes:
    return sizes + CPU + struct.pack("<i", 0) + VALUES.tobytes()


STORED = struct.pack("<Ii", 0xF993FAC9, 0) + elements(shape(2, 3))
AGES = {
    "today": STORED,
    "before storage types": struct.pack("<I", 0xF993FAC8) + elements(shape(2, 3)),
    "before magic numbers": elements(shape(2, 3, size="I")),
}


@pytest.mark.parametrize("array", AGES.values(), ids=AGES)
def test_files_of_every_age_add_up_as_mxnet_reads_them(array: bytes, mx: Any) -> None:
    whole = file_of(array)
    assert mx.nd.load_frombuffer(whole)["arg:w"].asnumpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    check_layout(whole, where="net")


@pytest.mark.parametrize("array", AGES.values(), ids=AGES)
def test_a_file_cut_anywhere_does_not_add_up(array: bytes) -> None:
    whole = file_of(array, array, names=(b"arg:w", b"arg:v"))
    for length in range(len(whole)):
        with pytest.raises(ArchiveCorrupt, match=rf"net: not a readable params file \({length} bytes\)"):
            check_layout(whole[:length], where="net")


def test_an_empty_list_adds_up() -> None:
    check_layout(NO_PARAMETERS, where="net")


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint8", "int32", "int64", "bool"])
def test_arrays_of_every_type_add_up(mx: Any, tmp_path: Any, dtype: str) -> None:
    path = str(tmp_path / "x.params")
    mx.nd.save(path, {"a": mx.nd.ones((3, 1, 2), dtype=dtype), "b": mx.nd.ones((7,), dtype=dtype)})
    check_layout((tmp_path / "x.params").read_bytes(), where="net")


def test_numbers_and_empty_arrays_of_numpys_semantics_add_up(mx: Any, tmp_path: Any) -> None:
    with numpy_semantics():
        mx.npx.save(str(tmp_path / "x.params"), {"a": mx.np.array(2.5), "b": mx.np.zeros((0, 3))})
    check_layout((tmp_path / "x.params").read_bytes(), where="net")


def test_sparse_arrays_are_left_to_mxnet(mx: Any, tmp_path: Any) -> None:
    mx.nd.save(str(tmp_path / "x.params"), {"a": mx.nd.ones((3, 2)).tostype("csr")})
    check_layout((tmp_path / "x.params").read_bytes(), where="net")


DAMAGED = {
    "another kind of file": (b"PK\x03\x04" + bytes(60), "begins with"),
    "too many arrays": (STORED[:0] + struct.pack("<QQQ", 0x112, 0, 1 << 40) + file_of(STORED)[24:], "array 1 "),
    "too many axes": (file_of(STORED[:8] + shape(*[1] * 40) + STORED[28:]), "array 0 has 40 axes"),
    "a size too large": (file_of(struct.pack("<Ii", 0xF993FAC9, 0) + elements(shape(2, 1 << 50))), "past the end"),
    "a size below zero": (file_of(struct.pack("<Ii", 0xF993FAC9, 0) + elements(shape(2, -3))), r"shape \(2, -3\)"),
    "a type that is none": (file_of(STORED[:36] + struct.pack("<i", 99) + STORED[40:]), "elements of type 99"),
    "a magic number that is none": (file_of(b"\x00\x00\x00\x79" + STORED[4:]), "axes"),
    "a storage that is none": (file_of(STORED[:4] + struct.pack("<i", 64) + STORED[8:]), "storage 64"),
    "too many names": (file_of(STORED)[:-13] + struct.pack("<Q", 1 << 40) + file_of(STORED)[-13:], "past the end"),
    "a name too long": (file_of(STORED)[:-13] + struct.pack("<Q", 1 << 40) + b"arg:w", "name 0 goes on past the end"),
}


@pytest.mark.parametrize("case", DAMAGED.values(), ids=DAMAGED)
def test_damage_is_named(case: tuple[bytes, str]) -> None:
    content, said = case
    with pytest.raises(ArchiveCorrupt, match=said):
        check_layout(content, where="net")
