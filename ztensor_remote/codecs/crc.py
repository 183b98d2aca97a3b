"""CRC-32C of bytes whose parts were digested apart from each other.

The parts of a blob arrive in any order and side by side; their checksums make that of the whole.
The method is that of zlib's ``crc32_combine``: appending zeros multiplies by a power of x, modulo
the polynomial of RFC 3720 §12.1.
"""

from __future__ import annotations

from functools import cache

_POLYNOMIAL = 0x82F63B78
_ONE = 1 << 31


def combine(first: int, second: int, length: int) -> int:
    """Return the checksum of two byte strings after each other.

    Parameters
    ----------
    first, second : int
        Their checksums.
    length : int
        Bytes of the second.
    """
    return _product(_power(8 * length), first) ^ second


def _product(a: int, b: int) -> int:
    """Multiply two polynomials whose highest bit is that of x^0."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return product


@cache
def _square(number: int) -> int:
    """Return x to the power of 2^number."""
    half = _square(number - 1) if number else 0
    return _product(half, half) if number else _ONE >> 1


@cache
def _power(exponent: int) -> int:
    product = _ONE
    for number in range(exponent.bit_length()):
        if exponent >> number & 1:
            product = _product(_square(number), product)
    return product
