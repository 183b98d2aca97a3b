"""Values to CBOR: definite lengths, shortest heads, shortest floats (SPEC.md §9.3)."""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInputError

MAX_DEPTH = 32
"""Levels below the root (SPEC.md §9.3)."""

WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
"""Bytes that follow a head, by what its low bits say."""

FLOATS = {25: ">e", 26: ">f", 27: ">d"}


def encode(value: Any, *, sort_keys: bool, depth: int = 0) -> bytes:
    """Return `value` as CBOR with definite lengths, shortest heads and shortest floats.

    With `sort_keys` maps are ordered by their encoded keys, which makes it the deterministic
    encoding of RFC 8949 §4.2.1; otherwise they keep their order (1.x has a fixed field order).
    `depth` is how many levels of the manifest lie above the value.

    Raises
    ------
    InvalidInputError
        A value that the format has no form for, or nesting that a reader would refuse.
    """
    return _encode(value, sort_keys, depth)


def _encode(value: Any, sort_keys: bool, depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise InvalidInputError(f"attributes are nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        text = value.encode()
        return _encode_head(3, len(text)) + text
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if isinstance(value, float):
        return shortest_float(value)
    if hasattr(value, "__index__"):  # int, and NumPy's integers
        return _encode_int(operator.index(value))
    if isinstance(value, bytes | bytearray):
        return _encode_head(2, len(value)) + value
    if isinstance(value, list | tuple):
        items = [_encode(item, sort_keys, depth + 1) for item in value]
        return _encode_head(4, len(items)) + b"".join(items)
    if isinstance(value, Mapping):
        pairs = [
            (_encode(key, sort_keys, depth + 1), _encode(item, sort_keys, depth + 1))
            for key, item in value.items()
        ]
        if sort_keys:
            pairs.sort()
        return _encode_head(5, len(pairs)) + b"".join(part for pair in pairs for part in pair)
    raise InvalidInputError(
        f"a value of type {type(value).__name__} can't be stored as an attribute; "
        "use None, bool, int, float, str, bytes, list or dict"
    )


def _encode_int(value: int) -> bytes:
    if not -(1 << 64) <= value < (1 << 64):
        raise InvalidInputError(f"integer {value} does not fit 64 bits")
    return _encode_head(0, value) if value >= 0 else _encode_head(1, -1 - value)


def _encode_head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    for info, width in WIDTHS.items():
        if argument < 1 << (8 * width):
            return bytes((major << 5 | info,)) + argument.to_bytes(width)
    raise InvalidInputError(f"a length of {argument} does not fit 64 bits")


def shortest_float(value: float) -> bytes:
    """Return the shortest encoding that keeps the value; every NaN has the same one."""
    if math.isnan(value):
        return b"\xf9\x7e\x00"
    for head, form in ((b"\xf9", ">e"), (b"\xfa", ">f")):
        try:
            packed = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.unpack(form, packed)[0] == value:
            return head + packed
    return b"\xfb" + struct.pack(">d", value)
