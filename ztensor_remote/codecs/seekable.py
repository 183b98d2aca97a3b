"""The seek table at the end of framed zstd: where each frame lies (SPEC.md §4.3, §13.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ..errors import FormatError
from ..types import Bytes
from .zstd import FRAME_SIZE, SEEKABLE_MAGIC, SKIPPABLE_MAGIC

TABLE_END = 9
"""Bytes from which the size of the table shows: the last of it."""

_HEAD = struct.Struct("<II")
_END = struct.Struct("<IBI")
_MAX_FRAME = 16 << 20
_LIKELY_MOST = 64 << 10


@dataclass(frozen=True, slots=True, eq=False)
class SeekTable:
    """Where the frames of a blob lie, and what they decode to.

    Attributes
    ----------
    stored, decoded : int64 arrays, shape (frames + 1,)
        Where each frame begins in the blob and in the decoded bytes; last, where all have ended.
    """

    stored: npt.NDArray[np.int64]
    decoded: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.stored) - 1

    @property
    def decoded_length(self) -> int:
        """Decoded bytes of all frames."""
        return int(self.decoded[-1])

    def touched(self, offsets: Any, lengths: Any) -> npt.NDArray[np.int64]:
        """Return the numbers of the frames that decoded byte runs lie in, ascending."""
        first = np.searchsorted(self.decoded, offsets, side="right") - 1
        last = np.searchsorted(self.decoded, offsets + lengths, side="left")
        edges = np.zeros(len(self.decoded) + 1, np.int64)
        np.add.at(edges, first[lengths > 0], 1)
        np.add.at(edges, last[lengths > 0], -1)
        return np.flatnonzero(np.cumsum(edges) > 0)


def likely_table_length(length: int, decoded: int | None) -> int:
    """Return how many bytes at the end of a blob hold its table, if it has one.

    Parameters
    ----------
    length : int
        Of the blob.
    decoded : int or None
        Decoded bytes, where they are known.
    """
    entries = 12 * -(-(decoded or 0) // FRAME_SIZE)
    likely = max(_HEAD.size + entries + _END.size, min(length >> 8, _LIKELY_MOST))
    return min(likely, length)


def table_length(tail: Bytes) -> int:
    """Return how many bytes the table takes whose end this is.

    Raises
    ------
    FormatError
        There is no table.
    """
    count, entry = _shape(tail)
    return _HEAD.size + count * entry + _END.size


def read_table(tail: Bytes, length: int, decoded: int | None) -> SeekTable:
    """Return the seek table that the end of a blob holds, and check all that it says of itself.

    Parameters
    ----------
    tail : bytes-like
        The end of the blob, or all of it.
    length : int
        Of the blob.
    decoded : int or None
        How many bytes it must decode to.

    Raises
    ------
    FormatError
        There is no table, or it is not in order.
    """
    count, entry = _shape(tail)
    size = table_length(tail)
    if size > len(tail) or _HEAD.unpack_from(tail, len(tail) - size) != (
        SKIPPABLE_MAGIC,
        size - _HEAD.size,
    ):
        _reject("the seek table has another size than it states")
    start = len(tail) - size + _HEAD.size
    rows = np.frombuffer(tail, "<u4", count * entry // 4, start).reshape(count, entry // 4)
    decoded_lengths = rows[:, 1].astype(np.int64)
    if (
        decoded_lengths.max(initial=0) > _MAX_FRAME
        or (decoded_lengths[:-1] != decoded_lengths[:1]).any()
    ):
        _reject("the frames have unequal or excessive sizes")
    table = SeekTable(
        np.cumsum(np.append(0, rows[:, 0]), dtype=np.int64),
        np.cumsum(np.append(0, decoded_lengths), dtype=np.int64),
    )
    if table.stored[-1] != length - size or decoded not in (None, table.decoded_length):
        _reject(
            f"the seek table covers {table.stored[-1]} stored and {table.decoded_length} decoded "
            f"bytes, there are {length - size} and must be {decoded}"
        )
    return table


def _shape(tail: Bytes) -> tuple[int, int]:
    """Return how many entries the table has, and the bytes of each."""
    if len(tail) < _HEAD.size + _END.size:
        _reject("there is no seek table")
    count, descriptor, magic = _END.unpack(tail[-_END.size :])
    if magic != SEEKABLE_MAGIC or descriptor & 0x7C:
        _reject("there is no seek table")
    return count, 12 if descriptor & 0x80 else 8


def _reject(message: str) -> NoReturn:
    raise FormatError(f"not seekable zstd: {message}", rule="Encoding")
