"""The four functions that stand for GNU Fortran's runtime in a layer, held against the runtime that MXNet's wheel brings."""

from __future__ import annotations

import ctypes
import random
import time
from collections.abc import Callable
from ctypes import POINTER, Structure, byref, c_char_p, c_float, c_int, c_int32, c_ssize_t, c_void_p
from pathlib import Path
from typing import Any

import pytest

from gluon_lambda.runtime.libmxnet import find_libmxnet
from layers import compiler, elf, fortran_runtime
from layers.build import BUILD

pytestmark = pytest.mark.slow

MXNET = Path(find_libmxnet()).parent
TEXTS = [
    b"",
    b" ",
    b"  ",
    b"A",
    b"a",
    b"A ",
    b"A\x01",
    b"A\x01 ",
    b"AB",
    b"B",
    b"\xe9",
    b"DGEQRF",
    b"DGEQR",
    b"DGEQRF  ",
]
INTEGERS = [0, 1, -1, 2, -2, 3, 7, -7, 30, 31, 32, 33, 2**31 - 1, -(2**31), 46_341]
RANDOM = random.Random(2)  # seeded


@pytest.fixture(scope="module")
def wheels_runtime() -> ctypes.CDLL:
    """The library of MXNet's wheel."""
    library = ctypes.CDLL(str(MXNET / fortran_runtime.NAME))
    if not hasattr(library, "_gfortran_st_write"):
        pytest.skip("this MXNet comes from a layer, which has ours")
    return library


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("runtime")
    return ctypes.CDLL(str(fortran_runtime.compile_runtime(compiler.zig(BUILD / "tools"), folder)))


def sign(number: int) -> int:
    return (number > 0) - (number < 0)


def some_texts() -> list[bytes]:
    return TEXTS + [bytes(RANDOM.choices(b" !AZaz\x00\x1f\xff", k=RANDOM.randrange(12))) for _ in range(60)]


def test_texts_are_compared_as_the_runtime_does(ours: ctypes.CDLL, wheels_runtime: ctypes.CDLL) -> None:
    texts = some_texts()
    for one in texts:
        for other in texts:
            found, expected = (
                sign(each._gfortran_compare_string(len(one), one, len(other), other)) for each in (ours, wheels_runtime)
            )
            assert found == expected, (one, other)


@pytest.mark.parametrize("room", [0, 1, 2, 5, 8, 30])
def test_texts_are_put_together_cut_and_filled_up_as_the_runtime_does(
    ours: ctypes.CDLL, wheels_runtime: ctypes.CDLL, room: int
) -> None:
    def joined(library: ctypes.CDLL, one: bytes, other: bytes) -> bytes:
        result = ctypes.create_string_buffer(b"#" * 40, 40)
        library._gfortran_concat_string(room, result, len(one), one, len(other), other)
        return result.raw

    for one in some_texts():
        for other in TEXTS:
            assert joined(ours, one, other) == joined(wheels_runtime, one, other), (one, other)


@pytest.mark.parametrize("base", INTEGERS)
def test_integers_are_raised_to_powers_as_the_runtime_does(
    ours: ctypes.CDLL, wheels_runtime: ctypes.CDLL, base: int
) -> None:
    # 0 to a negative power, which is not defined, divides by 0 there.
    for exponent in (each for each in INTEGERS if base or each >= 0):
        found, expected = (power(each)(base, exponent) for each in (ours, wheels_runtime))
        assert found == expected, exponent


def power(library: ctypes.CDLL) -> Callable[[int, int], int]:
    function = library._gfortran_pow_i4_i4
    function.argtypes, function.restype = [c_int32, c_int32], c_int32
    return function


class Reals(Structure):
    """An array of one dimension, as GCC 4.3 to 7 hand it over."""

    _fields_ = (
        ("first", POINTER(c_float)),
        ("offset", c_ssize_t),
        ("type", c_ssize_t),
        ("stride", c_ssize_t),
        ("lower", c_ssize_t),
        ("upper", c_ssize_t),
    )


@pytest.mark.parametrize("stride", [1, 3])
def test_the_time_that_the_process_took_is_told_in_two_parts(
    ours: ctypes.CDLL, wheels_runtime: ctypes.CDLL, stride: int
) -> None:
    def told(library: ctypes.CDLL) -> tuple[float, list[float]]:
        library._gfortran_etime.restype = c_float
        room = (c_float * 6)(*[-7.0] * 6)
        total: float = library._gfortran_etime(byref(Reals(room, -stride, 0, stride, 1, 2)))
        return total, list(room)

    before = time.process_time()
    (first, parts), (second, others) = told(wheels_runtime), told(ours)
    assert [each == -7 for each in parts] == [each == -7 for each in others]
    assert second == pytest.approx(others[0] + others[stride], rel=1e-5)
    assert before - 0.1 <= first <= second + 0.1 <= time.process_time() + 0.2


def test_it_has_what_mxnets_openblas_asks_for_and_no_more(wheels_runtime: ctypes.CDLL, ours: ctypes.CDLL) -> None:
    blas = (MXNET / "libopenblas.so.0").read_bytes()
    names = {name.partition(b"@")[0] for name in blas.split(b"\0") if name.startswith(b"_gfortran_")}
    assert {name.decode() for name in names} == set(fortran_runtime.FUNCTIONS)
    assert elf.demands(MXNET / "libopenblas.so.0").versions[fortran_runtime.NAME] == {fortran_runtime.VERSION}
    assert all(hasattr(ours, name) and hasattr(wheels_runtime, name) for name in fortran_runtime.FUNCTIONS)
    # libmxnet names it, and takes nothing.
    assert fortran_runtime.NAME in elf.demands(MXNET / "libmxnet.so").needed
    assert b"_gfortran_" not in (MXNET / "libmxnet.so").read_bytes()


def test_its_functions_have_the_version_that_is_asked_for(ours: ctypes.CDLL) -> None:
    dlvsym: Any = ctypes.CDLL(None).dlvsym
    dlvsym.argtypes, dlvsym.restype = [c_void_p, c_char_p, c_char_p], c_void_p
    for name in fortran_runtime.FUNCTIONS:
        assert dlvsym(ours._handle, name.encode(), fortran_runtime.VERSION.encode())
        # Of a library without versions, any will do.
        assert not dlvsym(ours._handle, name.encode(), b"GFORTRAN_1.1")


def test_a_length_is_an_int_whatever_the_register_holds_above_it(ours: ctypes.CDLL) -> None:
    compare: Any = ours._gfortran_compare_string
    compare.argtypes, compare.restype = None, c_int
    garbage = 0x7F << 32
    # Read whole, either length would have "AB" compared beyond its end.
    for one, other in ((b"AB", b"AB "), (b"AB ", b"AB")):
        assert compare(ctypes.c_int64(garbage + len(one)), one, ctypes.c_int64(garbage + len(other)), other) == 0
