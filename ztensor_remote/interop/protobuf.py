"""The fields of a protobuf message, without a schema, and without fetching those that are long.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from ..errors import FormatError, LimitError
from .peek import Peek

_LEAST = 16 << 10
_LARGEST = 4 << 20
"""Bytes worth a request: few after a field that was passed over, more where all are looked at."""

_MOST_FIELDS = 10_000_000
_LONGEST_NUMBER = 10
_NUMBER, _EIGHT_BYTES, _SPAN, _FOUR_BYTES = 0, 1, 2, 5
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message.

    Attributes
    ----------
    number : int
    value : int or None
        Of an integer; None for what is a span of bytes.
    start, stop : int
        Where it is in the file.
    is_span : bool
        Whether it says how long it is: text, bytes, a message, or many numbers.
    """

    number: int
    value: int | None
    start: int
    stop: int
    is_span: bool


class Fields:
    """A file of which fields are looked at, in the order in which they lie there."""

    def __init__(self, peek: Peek) -> None:
        self._peek = peek
        self._data = peek.head()
        self._start = 0
        self._window = _LEAST
        self._seen = 0

    def of(self, start: int, stop: int) -> Iterator[Field]:
        """Yield the fields of the message that lies there.

        Raises
        ------
        FormatError, LimitError, StoreError
        """
        at = start
        while at < stop:
            field = self._field(at, stop)
            yield field
            at = field.stop

    def _field(self, at: int, stop: int) -> Field:
        self._seen += 1
        if self._seen > _MOST_FIELDS:
            raise LimitError(f"the file has more than {_MOST_FIELDS} fields")
        tag, at = self._varint(at, stop)
        number, kind = tag >> 3, tag & 7
        if not number:
            reject(f"there is no field at {at}")
        if kind == _NUMBER:
            value, end = self._varint(at, stop)
            return Field(number, value, at, end, False)
        if kind == _SPAN:
            length, at = self._varint(at, stop)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            reject(f"a field at {at} is of the type {kind}")
        if length > stop - at:
            reject(f"a field has {length} bytes at {at}, what it is in ends at {stop}")
        return Field(number, None, at, at + length, kind == _SPAN)

    def integers(self, field: Field) -> Iterator[int]:
        """Yield the integers of a field that has one, or many."""
        if field.value is not None:
            yield field.value
            return
        at = field.start
        while at < field.stop:
            value, at = self._varint(at, field.stop)
            yield value

    def text(self, field: Field, most: int) -> str:
        """Return the text of a field.

        Raises
        ------
        FormatError
            It is longer than so many bytes, or none.
        """
        length = field.stop - field.start
        if not field.is_span or length > most:
            reject(f"there is no text of at most {most} bytes at {field.start}")
        self._show(field.start, length)
        at = field.start - self._start
        try:
            return bytes(self._data[at : at + length]).decode()
        except UnicodeDecodeError:
            reject(f"the text at {field.start} is no UTF-8")

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        self._show(at, min(_LONGEST_NUMBER, stop - at))
        value = 0
        for place in range(min(_LONGEST_NUMBER, stop - at)):
            byte = self._data[at - self._start + place]
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value & (1 << 64) - 1, at + place + 1
        reject(f"the integer at {at} does not end")

    def _show(self, at: int, length: int) -> None:
        """Have bytes at hand."""
        stop = self._start + len(self._data)
        if self._start <= at and at + length <= stop:
            return
        is_next = at <= stop + _LEAST
        self._window = min(2 * self._window, _LARGEST) if is_next else _LEAST
        wanted = min(max(length, self._window), self._peek.size - at)
        self._data = self._peek.read(at, max(wanted, length))
        self._start = at


def reject(message: str) -> NoReturn:
    """Raise FormatError."""
    raise FormatError(f"not a valid protobuf message: {message}", rule="Protobuf")
