"""CRC-32C, and the CRC-32 of zip files, of bytes whose parts were digested apart from each other.

The parts of a blob arrive in any order and side by side; their checksums make that of the whole.
The method is that of zlib's ``crc32_combine``: appending zeros multiplies by a power of x, modulo
the polynomial of RFC 3720 §12.1, or that of zlib.
"""

from __future__ import annotations

from functools import cache

from .types import Bytes

CRC_32C = 0x82F63B78
CRC_32 = 0xEDB88320
"""Polynomials, the lowest power in the highest bit."""

_ONE = 1 << 31


def crc32c(data: Bytes, before: int = 0) -> int:
    """Return the CRC-32C of bytes that come behind others, of which it is given."""
    import crc32c

    return crc32c.crc32c(data, before)


def combine(first: int, second: int, length: int, polynomial: int = CRC_32C) -> int:
    """Return the checksum of two byte strings after each other.

    Given that of both instead of the second, it returns the second: it is its own inverse.

    Parameters
    ----------
    first, second : int
        Their checksums.
    length : int
        Bytes of the second.
    polynomial : int
    """
    return _product(_power(8 * length, polynomial), first, polynomial) ^ second


def _product(a: int, b: int, polynomial: int) -> int:
    """Multiply two polynomials whose highest bit is that of x^0."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ (polynomial if b & 1 else 0)
    return product


@cache
def _square(number: int, polynomial: int) -> int:
    """Return x to the power of 2^number."""
    half = _square(number - 1, polynomial) if number else 0
    return _product(half, half, polynomial) if number else _ONE >> 1


@cache
def _power(exponent: int, polynomial: int) -> int:
    product = _ONE
    for number in range(exponent.bit_length()):
        if exponent >> number & 1:
            product = _product(_square(number, polynomial), product, polynomial)
    return product
