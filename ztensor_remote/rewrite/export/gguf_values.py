"""Values in the header of a GGUF file. Types that Python does not tell apart are the usual ones."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

_U32, _I32, _F32, _BOOL, _STRING, _ARRAY, _U64, _I64, _F64 = 4, 5, 6, 7, 8, 9, 10, 11, 12
_CODES = {_U32: "u4", _I32: "i4", _F32: "f4", _BOOL: "u1", _U64: "u8", _I64: "i8", _F64: "f8"}


def text(given: str | bytes) -> bytes:
    """Return a text behind its length; bytes are one that is no UTF-8, as tokens may be."""
    data = given.encode() if isinstance(given, str) else given
    return struct.pack("<Q", len(data)) + data


def value(given: Any) -> tuple[int, bytes] | None:
    """Return the type of a value and its bytes; None if there is no type for it.

    Integers are 32 bits where that is enough, unsigned where they stand alone, signed in lists;
    so are floats that lose nothing by it. That is what llama.cpp looks for.
    """
    if isinstance(given, list | tuple):
        return _list(given)
    if isinstance(given, str | bytes):
        return _STRING, text(given)
    kind = _number([given], (_U32, _I32, _U64, _I64))
    return None if kind is None else (kind, _packed([given], kind))


def _list(items: Sequence[Any]) -> tuple[int, bytes] | None:
    kind = _number(items, (_I32, _U32, _I64, _U64)) if items else _I32
    if kind is not None:
        return _ARRAY, struct.pack("<IQ", kind, len(items)) + _packed(items, kind)
    encoded = [value(item) for item in items]
    kinds = {each[0] for each in encoded if each is not None}
    if None in encoded or kinds not in ({_STRING}, {_ARRAY}):
        return None
    data = b"".join(each[1] for each in encoded if each is not None)
    return _ARRAY, struct.pack("<IQ", *kinds, len(items)) + data


def _number(items: Sequence[Any], integers: Sequence[int]) -> int | None:
    """Return the type that holds all of these numbers."""
    kinds = {type(item) for item in items}
    if kinds == {bool}:
        return _BOOL
    if kinds == {float}:
        wide = np.array(items, np.float64)
        with np.errstate(over="ignore"):
            narrow = wide.astype(np.float32)
        return _F32 if np.array_equal(narrow, wide, equal_nan=True) else _F64
    if kinds != {int}:
        return None
    least, most = min(items), max(items)
    for kind in integers:
        bounds = np.iinfo(_CODES[kind])
        if bounds.min <= least and most <= bounds.max:
            return kind
    return None


def _packed(items: Sequence[Any], kind: int) -> bytes:
    return np.array(items, f"<{_CODES[kind]}").tobytes()
