"""Framed zstd: independent frames and a table of their sizes at the end (SPEC.md §4.3, §13.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NoReturn

from ..errors import FormatError
from ..types import Bytes
from .zstd import SEEKABLE_MAGIC, SKIPPABLE_MAGIC, decode_into

_FRAME_HEAD = struct.Struct("<II")
_TABLE_END = struct.Struct("<IBI")
_ENTRY = struct.Struct("<II")
_ENTRY_WITH_CHECKSUM = struct.Struct("<II4x")
_MAX_FRAME = 16 << 20


def decode_seekable(data: Bytes, destination: memoryview) -> None:
    """Decode framed zstd so that it fills `destination` exactly, each frame its own piece of it.

    Raises
    ------
    FormatError
        The table is not in order, or a frame is not what its entry says.
    """
    _check_table(data, len(destination))
    _decode_frames(data, destination)


def decode_maybe_seekable(data: Bytes, destination: memoryview) -> None:
    """Decode zstd that may have a seek table; if it is not in order, there is none.

    Raises
    ------
    FormatError
    """
    if bytes(data[-4:]) == struct.pack("<I", SEEKABLE_MAGIC):
        try:
            _check_table(data, len(destination))
        except FormatError:
            pass
        else:
            return _decode_frames(data, destination)
    decode_into(data, destination)


def _decode_frames(data: Bytes, destination: memoryview) -> None:
    view, start, filled = memoryview(data), 0, 0
    for stored, decoded in _entries(data):
        decode_into(view[start : start + stored], destination[filled : filled + decoded])
        start, filled = start + stored, filled + decoded


def _entries(data: Bytes) -> Iterator[tuple[int, int]]:
    """Yield stored and decoded length of each frame, by a table whose end is in order."""
    count, entry = _table_end(data)
    stop = len(data) - _TABLE_END.size
    return entry.iter_unpack(data[stop - count * entry.size : stop])


def _table_end(data: Bytes) -> tuple[int, struct.Struct]:
    """Return how many entries the table has, and of which form."""
    if len(data) < _FRAME_HEAD.size + _TABLE_END.size:
        _reject("there is no seek table")
    count, descriptor, magic = _TABLE_END.unpack(data[-_TABLE_END.size :])
    if magic != SEEKABLE_MAGIC or descriptor & 0x7C:
        _reject("there is no seek table")
    return count, _ENTRY_WITH_CHECKSUM if descriptor & 0x80 else _ENTRY


def _check_table(data: Bytes, decoded_length: int) -> None:
    """Check all that the table says of itself, without making anything of its size."""
    count, entry = _table_end(data)
    body = count * entry.size + _TABLE_END.size
    start = len(data) - body - _FRAME_HEAD.size
    if start < 0 or _FRAME_HEAD.unpack_from(data, start) != (SKIPPABLE_MAGIC, body):
        _reject("the seek table has another size than it states")
    stored_sum = decoded_sum = first = 0
    for number, (stored, decoded) in enumerate(_entries(data), 1):
        first = decoded if number == 1 else first
        if decoded > _MAX_FRAME or (number < count and decoded != first):
            _reject("the frames have unequal or excessive sizes")
        stored_sum, decoded_sum = stored_sum + stored, decoded_sum + decoded
    if stored_sum != start or decoded_sum != decoded_length:
        _reject(
            f"the seek table covers {stored_sum} stored and {decoded_sum} decoded bytes, "
            f"there are {start} and must be {decoded_length}"
        )


def _reject(message: str) -> NoReturn:
    raise FormatError(f"not seekable zstd: {message}", rule="Encoding")
