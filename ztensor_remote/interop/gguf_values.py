"""The values in the header of a GGUF file, one after another."""

from __future__ import annotations

import struct
from typing import Any, NoReturn

import numpy as np

from ..errors import FormatError, LimitError
from .peek import Peek

_LEAST = 1 << 20
"""Bytes worth a request."""

_GROWTH = 4
MOST = 256 << 20
"""Bytes of a header; the vocabulary of a large model takes ten million."""

_DEEPEST = 16
_BOOL, _STRING, _ARRAY = 7, 8, 9
# struct's and NumPy's name of each type of number.
_NUMBERS = {
    0: ("B", "u1"),
    1: ("b", "i1"),
    2: ("H", "u2"),
    3: ("h", "i2"),
    4: ("I", "u4"),
    5: ("i", "i4"),
    6: ("f", "f4"),
    10: ("Q", "u8"),
    11: ("q", "i8"),
    12: ("d", "f8"),
}


class Cursor:
    """A place in the header, which is fetched as it is needed.

    Parameters
    ----------
    peek : Peek
    little : bool
        Whether numbers are little-endian.

    Attributes
    ----------
    at : int
    count_width : int
        Bytes of a count: 4 in version 1, 8 after it.
    """

    def __init__(self, peek: Peek, *, little: bool) -> None:
        self.at = 4
        self.count_width = 8
        self._peek = peek
        self._order = "<" if little else ">"
        self._data = peek.head()

    def take(self, length: int) -> memoryview:
        """Return the bytes that come next."""
        stop = self.at + length
        if stop > len(self._data):
            self._fetch(stop)
        taken = self._data[self.at : stop]
        self.at = stop
        return taken

    def _fetch(self, stop: int) -> None:
        if stop > self._peek.size:
            reject(f"the header goes on to {stop}, the file ends at {self._peek.size}")
        if stop > MOST:
            raise LimitError(f"the header of this GGUF file is longer than {MOST} bytes")
        wanted = max(stop, _LEAST, _GROWTH * len(self._data))
        self._data = self._peek.read(0, min(self._peek.size, wanted))

    def uint(self, width: int) -> int:
        """Return an unsigned integer of so many bytes."""
        return int.from_bytes(self.take(width), "little" if self._order == "<" else "big")

    def count(self, smallest: int) -> int:
        """Return a count of things that take at least so many bytes each."""
        count = self.uint(self.count_width)
        if count * smallest > self._peek.size - self.at:
            reject(f"{count} entries are more than the file has room for")
        return count

    def name(self, what: str) -> str:
        """Return a text that must be one."""
        text = self.text()
        if isinstance(text, bytes):
            reject(f"{what} is no UTF-8")
        return text

    def text(self) -> str | bytes:
        """Return a text; its bytes where they are no UTF-8, as those of a token may be."""
        data = bytes(self.take(self.count(1)))
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data

    def value(self, kind: int, depth: int = 0) -> Any:
        """Return a value of a type."""
        if kind in _NUMBERS:
            code = self._order + _NUMBERS[kind][0]
            return struct.unpack(code, self.take(struct.calcsize(code)))[0]
        if kind == _BOOL:
            return self._bool(self.uint(1))
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            reject(f"the type {kind} of a value is unknown")
        if depth >= _DEEPEST:
            reject(f"arrays are nested deeper than {_DEEPEST} levels")
        return self._array(self.uint(4), depth)

    def _array(self, kind: int, depth: int) -> list[Any]:
        if kind in _NUMBERS:
            dtype = np.dtype(self._order + _NUMBERS[kind][1])
            data = self.take(self.count(dtype.itemsize) * dtype.itemsize)
            numbers: list[Any] = np.frombuffer(data, dtype).tolist()
            return numbers
        smallest = {_BOOL: 1, _STRING: self.count_width, _ARRAY: 4 + self.count_width}.get(kind, 1)
        return [self.value(kind, depth + 1) for _ in range(self.count(smallest))]

    def _bool(self, value: int) -> bool:
        if value > 1:
            reject("a bool is neither 0 nor 1")
        return bool(value)


def reject(message: str) -> NoReturn:
    """Raise FormatError."""
    raise FormatError(f"not a valid GGUF file: {message}", rule="GGUF")
