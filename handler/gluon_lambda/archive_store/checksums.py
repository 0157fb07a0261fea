"""CRC-32 of content that comes in pieces, in any order.

A CRC is the remainder of a polynomial over two elements (PKWARE's APPNOTE.TXT 6.3.10, section 4.4.7, names which). To append n bytes
multiplies it by x to the power of 8n, so the CRC of two pieces follows from theirs and the second one's length.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

# As zlib keeps them: bit 31 is the coefficient of 1, bit 0 that of x to the power of 31.
ONE, X = 1 << 31, 1 << 30
POLYNOMIAL = 0xEDB88320


class Piece(NamedTuple):
    """Some of the content: its CRC-32, and how many bytes it has."""

    crc: int
    size: int


def joined(pieces: Iterable[Piece]) -> int:
    """The CRC-32 of all pieces one after the other."""
    crc = 0
    for piece in pieces:
        crc = product(crc, power(8 * piece.size)) ^ piece.crc
    return crc


def product(first: int, second: int) -> int:
    """Two polynomials' product, modulo the CRC's."""
    result = 0
    for bit in range(31, -1, -1):
        if first >> bit & 1:
            result ^= second
        second = second >> 1 ^ (POLYNOMIAL if second & 1 else 0)
    return result


@cache
def power(exponent: int) -> int:
    """x to the power of ``exponent``, modulo the CRC's polynomial; most pieces have the same size."""
    result, square = ONE, X
    while exponent:
        if exponent & 1:
            result = product(result, square)
        square = product(square, square)
        exponent >>= 1
    return result
