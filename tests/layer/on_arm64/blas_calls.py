"""Calls every function of the library that stands for Arm Performance Libraries, as MXNet would, and holds it against NumPy. Runs on arm64.

    python blas_calls.py LIBRARY

Prints a JSON object: for each function that was called, whether what it answered is right.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY = ctypes.CDLL(sys.argv[1])
TYPES: dict[str, Any] = {"s": np.float32, "d": np.float64, "c": np.complex64, "z": np.complex128}
TOLERANCE = {"s": 2e-4, "d": 1e-10, "c": 2e-4, "z": 1e-10}
ROW, COLUMN = 101, 102
PLAIN, TRANSPOSED, CONJUGATED = 111, 112, 113
UPPER, LOWER = 121, 122
NOT_UNIT, UNIT = 131, 132
LEFT, RIGHT = 141, 142
# What nobody may write over.
UNTOUCHED = 77

Array = NDArray[Any]


def numbers(letter: str, *shape: int, seed: int = 0) -> Array:
    """Random numbers of the type, complex where it is, which are no symmetric matrix."""
    random = np.random.default_rng([seed, *shape])
    imaginary = 1j * random.standard_normal(shape) if letter in "cz" else 0
    return np.asarray(random.standard_normal(shape) + imaginary, dtype=TYPES[letter])


def definite(letter: str, n: int) -> Array:
    """A positive definite matrix."""
    a = numbers(letter, n, n)
    return np.asarray(a @ a.T + n * np.eye(n), TYPES[letter])


def padded(array: Array, columns: int) -> Array:
    """The same with untouched columns at the right: the leading dimension is not the number of columns."""
    wide = np.full((array.shape[0], columns), UNTOUCHED, array.dtype)
    wide[:, : array.shape[1]] = array
    return wide


def close(found: Any, expected: Any, letter: str) -> bool:
    return bool(np.allclose(found, expected, rtol=TOLERANCE[letter], atol=TOLERANCE[letter]))


def scalar(letter: str, value: float) -> Any:
    """A scalar as CBLAS takes it: by value where it is real, else by pointer."""
    if letter in "sd":
        return (ctypes.c_float if letter == "s" else ctypes.c_double)(value)
    return np.array([value], TYPES[letter])


def by_value(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return ctypes.c_char(argument) if isinstance(argument, bytes) else argument


def call(name: str, *arguments: Any, result: Any = ctypes.c_int) -> Any:
    """A function of C's: integers of 32 bits by value, and arrays."""
    function = LIBRARY[name]
    function.restype = result
    return function(*(by_value(each) for each in arguments))


def fortran(name: str, *arguments: Any) -> int:
    """A function of Fortran's: everything by pointer, info comes last and is returned."""
    info = ctypes.c_int(UNTOUCHED)
    pointed_at = [ctypes.byref(ctypes.c_int(each)) if isinstance(each, int) else each for each in arguments]
    LIBRARY[name](
        *(by_value(each) if isinstance(each, np.ndarray) else each for each in pointed_at), ctypes.byref(info)
    )
    return info.value


def transposed(a: Array, transpose: int) -> Array:
    return {PLAIN: a, TRANSPOSED: a.T, CONJUGATED: a.conj().T}[transpose]


# ---- CBLAS ----


def axpy(letter: str) -> bool:
    """With a negative step: a sign that is lost in widening would show."""
    x, y = numbers(letter, 14), numbers(letter, 7, seed=1)
    expected = y + TYPES[letter](2.5) * x[12::-2]
    call(f"cblas_{letter}axpy", 7, scalar(letter, 2.5), x, -2, y, 1, result=None)
    return close(y, expected, letter)


def dot(letter: str) -> bool:
    x, y = numbers(letter, 14), numbers(letter, 7, seed=1)
    found = call(f"cblas_{letter}dot", 7, x, -2, y, 1, result=ctypes.c_float if letter == "s" else ctypes.c_double)
    return close(found, x[12::-2] @ y, letter)


def ger(letter: str) -> bool:
    x, y, a = numbers(letter, 5), numbers(letter, 12), numbers(letter, 5, 6)
    to = padded(a, 9)
    call(f"cblas_{letter}ger", ROW, 5, 6, scalar(letter, 1.5), x, 1, y, -2, to, 9, result=None)
    return close(to, padded(a + 1.5 * np.outer(x, y[10::-2]), 9), letter)


def gemm(letter: str) -> bool:
    return all(
        _gemm(letter, *each) for each in product((ROW, COLUMN), (PLAIN, TRANSPOSED, CONJUGATED), (PLAIN, TRANSPOSED))
    )


def _gemm(letter: str, order: int, of_a: int, of_b: int) -> bool:
    m, n, k = 4, 5, 6
    a = numbers(letter, *((m, k) if of_a == PLAIN else (k, m)))
    b = numbers(letter, *((k, n) if of_b == PLAIN else (n, k)), seed=1)
    c = numbers(letter, m, n, seed=2)
    stored = [padded(each if order == ROW else each.T, 8) for each in (a, b, c)]
    call(
        *(f"cblas_{letter}gemm", order, of_a, of_b, m, n, k, scalar(letter, 2), stored[0], 8, stored[1], 8),
        *(scalar(letter, -0.5), stored[2], 8),
        result=None,
    )
    expected = 2 * transposed(a, of_a) @ transposed(b, of_b) - 0.5 * c
    return close(stored[2], padded(expected if order == ROW else expected.T, 8), letter)


def syrk(letter: str) -> bool:
    return all(_syrk(letter, *each) for each in product((UPPER, LOWER), (PLAIN, TRANSPOSED)))


def _syrk(letter: str, triangle: int, transpose: int) -> bool:
    a, c = numbers(letter, *((4, 3) if transpose == PLAIN else (3, 4))), numbers(letter, 4, 4, seed=1)
    full = 2 * transposed(a, transpose) @ transposed(a, transpose).T + 3 * c
    inside = (np.triu if triangle == UPPER else np.tril)(np.ones((4, 4), bool))
    to = c.copy()
    call(
        *(f"cblas_{letter}syrk", ROW, triangle, transpose, 4, 3, scalar(letter, 2), a, a.shape[1]),
        *(scalar(letter, 3), to, 4),
        result=None,
    )
    return close(to, np.where(inside, full, c), letter)


_TRIANGULAR = tuple(product((LEFT, RIGHT), (UPPER, LOWER), (PLAIN, TRANSPOSED), (NOT_UNIT, UNIT)))


def triangular(letter: str, name: str, side: int, triangle: int, transpose: int, diagonal: int) -> tuple[Array, ...]:
    """What trmm or trsm makes of b, b itself, and op(a) as it is meant."""
    n = 4 if side == LEFT else 6
    a, b = definite(letter, n), numbers(letter, 4, 6, seed=1)
    part = (np.triu if triangle == UPPER else np.tril)(a)
    if diagonal == UNIT:
        np.fill_diagonal(part, 1)
    to = b.copy()
    call(
        *(f"cblas_{letter}{name}", ROW, side, triangle, transpose, diagonal, 4, 6, scalar(letter, 2), a, n, to, 6),
        result=None,
    )
    return to, b, transposed(part, transpose)


def trmm(letter: str) -> bool:
    def right(side: int, *more: int) -> bool:
        found, b, a = triangular(letter, "trmm", side, *more)
        return close(found, 2 * (a @ b if side == LEFT else b @ a), letter)

    return all(right(*each) for each in _TRIANGULAR)


def trsm(letter: str) -> bool:
    def right(side: int, *more: int) -> bool:
        found, b, a = triangular(letter, "trsm", side, *more)
        return close(a @ found if side == LEFT else found @ a, 2 * b, letter)

    return all(right(*each) for each in _TRIANGULAR)


# ---- LAPACKE ----


def geev(letter: str) -> bool:
    a = numbers(letter, 5, 5)
    real, imaginary, left, right = (np.zeros(shape, TYPES[letter]) for shape in (5, 5, (5, 5), (5, 5)))
    info = call(*(f"LAPACKE_{letter}geev", ROW, b"N", b"V", 5, a.copy(), 5, real, imaginary, left, 5, right, 5))
    values = real + 1j * imaginary
    return info == 0 and close(np.sort_complex(values), np.sort_complex(np.linalg.eigvals(a)), letter)


def gelqf(letter: str) -> bool:
    found = _lq(letter)
    return close(np.abs(found[0]), np.abs(np.linalg.qr(found[2].T)[1].T), letter)


def orglq(letter: str) -> bool:
    lower, q, a = _lq(letter)
    return close(lower @ q, a, letter) and close(q @ q.T, np.eye(3), letter)


def _lq(letter: str) -> tuple[Array, Array, Array]:
    a, tau = numbers(letter, 3, 5), np.zeros(3, TYPES[letter])
    worked = padded(a, 7)
    assert call(f"LAPACKE_{letter}gelqf", ROW, 3, 5, worked, 7, tau) == 0
    lower = np.tril(worked[:, :3])
    assert call(f"LAPACKE_{letter}orglq", ROW, 3, 5, 3, worked, 7, tau) == 0
    assert (worked[:, 5:] == UNTOUCHED).all()
    return lower, worked[:, :5], a


def gesdd(letter: str) -> bool:
    a = numbers(letter, 4, 6)
    s, u, vt = (np.zeros(shape, TYPES[letter]) for shape in (4, (4, 4), (4, 6)))
    info = call(f"LAPACKE_{letter}gesdd", ROW, b"S", 4, 6, a.copy(), 6, s, u, 4, vt, 6)
    return info == 0 and close((u * s) @ vt, a, letter) and close(s, np.linalg.svd(a)[1], letter)


def gesvd(letter: str) -> bool:
    a = numbers(letter, 4, 6)
    s, u, vt, superb = (np.zeros(shape, TYPES[letter]) for shape in (4, (4, 4), (4, 6), 3))
    info = call(f"LAPACKE_{letter}gesvd", ROW, b"S", b"S", 4, 6, a.copy(), 6, s, u, 4, vt, 6, superb)
    return info == 0 and close((u * s) @ vt, a, letter) and close(s, np.linalg.svd(a)[1], letter)


def pivots_for(count: int) -> Array:
    """Room for that many pivots, and what nobody may write over after them."""
    return np.full(count + 3, UNTOUCHED, np.int32)


def gesv(letter: str) -> bool:
    """And a singular system, whose first zero pivot is told."""
    a, b, pivots = numbers(letter, 5, 5), numbers(letter, 5, 2, seed=1), pivots_for(5)
    x = b.copy()
    info = call(f"LAPACKE_{letter}gesv", ROW, 5, 2, a.copy(), 5, pivots, x, 2)
    singular = a.copy()
    singular[:, 2] = 0
    refused = call(f"LAPACKE_{letter}gesv", ROW, 5, 2, singular, 5, pivots_for(5), b.copy(), 2)
    untouched = (pivots[5:] == UNTOUCHED).all()
    return info == 0 and close(a @ x, b, letter) and untouched and refused == 3


def from_factors(factors: Array, pivots: Array) -> Array:
    """The matrix that was factored."""
    m, n = factors.shape
    k = min(m, n)
    product_ = (np.tril(factors, -1)[:, :k] + np.eye(m, k)) @ np.triu(factors[:k])
    for row in reversed(range(k)):
        other = pivots[row] - 1
        product_[[row, other]] = product_[[other, row]]
    return np.asarray(product_)


def getrf(letter: str) -> bool:
    return all(_getrf(letter, m, n) for m, n in ((6, 4), (4, 6)))


def _getrf(letter: str, m: int, n: int) -> bool:
    a, pivots = numbers(letter, m, n), pivots_for(4)
    factors = a.copy()
    info = call(f"LAPACKE_{letter}getrf", ROW, m, n, factors, n, pivots)
    return info == 0 and close(from_factors(factors, pivots), a, letter) and bool((pivots[4:] == UNTOUCHED).all())


def getri(letter: str) -> bool:
    """With the pivots of getrf, which it reads: rows are exchanged in this matrix."""
    a, pivots = numbers(letter, 5, 5), pivots_for(5)
    found = a.copy()
    assert call(f"LAPACKE_{letter}getrf", ROW, 5, 5, found, 5, pivots) == 0
    assert pivots[:5].tolist() != [1, 2, 3, 4, 5]
    kept = pivots.copy()
    info = call(f"LAPACKE_{letter}getri", ROW, 5, found, 5, pivots)
    return info == 0 and close(found @ a, np.eye(5), letter) and (kept == pivots).all()


def potrf(letter: str) -> bool:
    """And what it refuses: a matrix that is not positive definite, a negative dimension."""
    a = definite(letter, 5)
    found = a.copy()
    info = call(f"LAPACKE_{letter}potrf", ROW, b"L", 5, found, 5)
    indefinite = np.diag([1, 1, -1, 1, 1]).astype(TYPES[letter])
    refused = [call(f"LAPACKE_{letter}potrf", ROW, b"L", n, indefinite, 5) for n in (5, -5)]
    return info == 0 and close(np.tril(found), np.linalg.cholesky(a), letter) and refused == [3, -3]


def potri(letter: str) -> bool:
    a = definite(letter, 5)
    found = np.linalg.cholesky(a)
    info = call(f"LAPACKE_{letter}potri", ROW, b"L", 5, found, 5)
    return info == 0 and close(np.tril(found), np.tril(np.linalg.inv(a)), letter)


def syevd(letter: str) -> bool:
    a, values = definite(letter, 6), np.zeros(6, TYPES[letter])
    vectors = a.copy()
    info = call(f"LAPACKE_{letter}syevd", ROW, b"V", b"L", 6, vectors, 6, values)
    return info == 0 and close((vectors * values) @ vectors.T, a, letter)


# ---- LAPACK ----


def column_major(array: Array) -> Array:
    return np.array(array, order="F")


def length(work: Array) -> int:
    """What a query answered."""
    return int(work[0])


def gels_(letter: str) -> bool:
    a, b, work = numbers(letter, 6, 4), numbers(letter, 6, 2, seed=1), np.zeros(1, TYPES[letter])
    found, factored = column_major(b), column_major(a)
    assert fortran(f"{letter}gels_", b"N", 6, 4, 2, factored, 6, found, 6, work, -1) == 0
    room = np.zeros(length(work), TYPES[letter])
    info = fortran(f"{letter}gels_", b"N", 6, 4, 2, factored, 6, found, 6, room, len(room))
    return info == 0 and close(found[:4], np.linalg.lstsq(a, b, rcond=None)[0], letter)


def geqrf_(letter: str) -> bool:
    a, tau, work = numbers(letter, 6, 4), np.zeros(4, TYPES[letter]), np.zeros(1, TYPES[letter])
    found = column_major(a)
    assert fortran(f"{letter}geqrf_", 6, 4, found, 6, tau, work, -1) == 0
    room = np.zeros(length(work), TYPES[letter])
    info = fortran(f"{letter}geqrf_", 6, 4, found, 6, tau, room, len(room))
    return info == 0 and close(np.abs(np.triu(found[:4])), np.abs(np.linalg.qr(a)[1]), letter)


def gesdd_(letter: str) -> bool:
    """With as many integers to work in as LAPACK asks for, and no more."""
    a, work = numbers(letter, 40, 30), np.zeros(1, TYPES[letter])
    s, u, vt = (column_major(np.zeros(shape, TYPES[letter])) for shape in (30, (40, 30), (30, 30)))
    integers = np.full(8 * 30 + 3, UNTOUCHED, np.int32)
    worked = column_major(a)
    assert fortran(f"{letter}gesdd_", b"S", 40, 30, worked, 40, s, u, 40, vt, 30, work, -1, integers) == 0
    room = np.zeros(length(work), TYPES[letter])
    info = fortran(f"{letter}gesdd_", b"S", 40, 30, worked, 40, s, u, 40, vt, 30, room, len(room), integers)
    return info == 0 and close((u * s) @ vt, a, letter) and bool((integers[-3:] == UNTOUCHED).all())


def gesv_(letter: str) -> bool:
    a, b, pivots = numbers(letter, 5, 5), numbers(letter, 5, 2, seed=1), pivots_for(5)
    x = column_major(b)
    info = fortran(f"{letter}gesv_", 5, 2, column_major(a), 5, pivots, x, 5)
    refused = fortran(f"{letter}gesv_", -5, 2, column_major(a), 5, pivots_for(5), x.copy(order="F"), 5)
    return info == 0 and close(a @ x, b, letter) and bool((pivots[5:] == UNTOUCHED).all()) and refused == -1


def getrf_(letter: str) -> bool:
    a, pivots = numbers(letter, 6, 4), pivots_for(4)
    factors = column_major(a)
    info = fortran(f"{letter}getrf_", 6, 4, factors, 6, pivots)
    return info == 0 and close(from_factors(factors, pivots), a, letter) and bool((pivots[4:] == UNTOUCHED).all())


def posv_(letter: str) -> bool:
    a, b = definite(letter, 5), numbers(letter, 5, 2, seed=1)
    x = column_major(b)
    info = fortran(f"{letter}posv_", b"L", 5, 2, column_major(a), 5, x, 5)
    return info == 0 and close(a @ x, b, letter)


def potrf_(letter: str) -> bool:
    a = definite(letter, 5)
    found = column_major(a)
    info = fortran(f"{letter}potrf_", b"U", 5, found, 5)
    return info == 0 and close(np.triu(found), np.linalg.cholesky(a).T, letter)


CBLAS: tuple[tuple[Callable[[str], bool], str], ...] = (
    *((axpy, "s"), (dot, "sd"), (ger, "sd"), (gemm, "sdcz"), (syrk, "sd"), (trmm, "sd"), (trsm, "sd")),
)
LAPACKE = (geev, gelqf, gesdd, gesv, gesvd, getrf, getri, orglq, potrf, potri, syevd)
FORTRAN = (gels_, geqrf_, gesdd_, gesv_, getrf_, posv_, potrf_)


def checks() -> Iterator[tuple[str, bool]]:
    """Each function's name, and whether it is right."""
    for check, letters in CBLAS:
        yield from ((f"cblas_{letter}{check.__name__}", check(letter)) for letter in letters)
    for check in LAPACKE:
        yield from ((f"LAPACKE_{letter}{check.__name__}", check(letter)) for letter in "sd")
    for check in FORTRAN:
        yield from ((f"{letter}{check.__name__}", check(letter)) for letter in "sd")


if __name__ == "__main__":
    print(json.dumps({name: bool(right) for name, right in checks()}))
