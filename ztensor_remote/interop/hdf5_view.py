"""A remote HDF5 file as h5py wants to have it: a file to seek in, of which parts are kept."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from ..errors import FormatError, LimitError, ZTensorError
from .peek import Peek

_PAGE = 4 << 10

_STEP = 16
"""Pages of a request for what was not foreseen: h5py asks for some hundred bytes at a time."""

_MOST_PAGES = 65536
_HEAP = b"GCOL"


class View(io.RawIOBase):
    """What h5py takes for a file.

    Attributes
    ----------
    failure : ZTensorError or None
        What a read failed with. It is not raised where it happens: libhdf5 would keep what was
        under way and crash at its end. There are only zeros from then on.
    """

    def __init__(self, peek: Peek) -> None:
        self.failure: ZTensorError | None = None
        self._peek = peek
        self._at = 0
        self._pages: dict[int, memoryview] = {}

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Have the next read begin elsewhere."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._peek.size}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, with zeros behind the end of the file or after a failure."""
        memory = memoryview(buffer).cast("B")
        count = max(0, min(len(memory), self._peek.size - self._at))
        try:
            if self.failure is None:
                self._copy(memory[:count])
                if bytes(memory[:4]) == _HEAP:
                    _check_heap(memory[:count])
        except ZTensorError as error:
            # A traceback would keep the buffer, which is libhdf5's, longer than that has it.
            self.failure = error.with_traceback(None)
        # h5py does not look at how many there were: others would be whatever was in its memory.
        start = count if self.failure is None else 0
        memory[start:] = bytes(len(memory) - start)
        self._at += count
        return count

    def _copy(self, memory: memoryview) -> None:
        done = 0
        while done < len(memory):
            number, start = divmod(self._at + done, _PAGE)
            piece = self._page(number)[start : start + len(memory) - done]
            memory[done : done + len(piece)] = piece
            done += len(piece)

    def _page(self, number: int) -> memoryview:
        if number not in self._pages:
            start = number - number % _STEP
            missing = _rows(set(range(start, start + _STEP)) - self._pages.keys())
            self._read([row for row in missing if number in row])
        return self._pages[number]

    # --- ahead of what h5py asks for ---------------------------------------------------------

    def prefetch(self, spans: Sequence[tuple[int, int]]) -> None:
        """Read many spans side by side, each an offset and a length, as far as they are there.

        Raises
        ------
        LimitError, StoreError
        """
        numbers = {
            number
            for offset, length in spans
            if 0 <= offset < self._peek.size
            for number in range(offset // _PAGE, (offset + length - 1) // _PAGE + 1)
        }
        self._read(_rows(numbers - self._pages.keys()))

    def seen(self, offset: int, length: int) -> bytes:
        """Return as many bytes as are at hand from an offset on."""
        found = b""
        while len(found) < length:
            number, start = divmod(offset + len(found), _PAGE)
            piece = bytes(self._pages.get(number, b"")[start:])
            if not piece:
                break
            found += piece
        return found[:length]

    def _read(self, rows: Sequence[range]) -> None:
        """Read rows of pages, as far as the file has them."""
        last = -(-self._peek.size // _PAGE)
        rows = [range(row.start, min(row.stop, last)) for row in rows if row.start < last]
        if len(self._pages) + sum(map(len, rows)) > _MOST_PAGES:
            most = _MOST_PAGES * _PAGE >> 20
            raise LimitError(f"what the file says of itself is more than {most} MiB")
        spans = []
        for row in rows:
            start, stop = row.start * _PAGE, min(row.stop * _PAGE, self._peek.size)
            spans.append((start, stop - start))
        read = [self._peek.read(*spans[0])] if len(spans) == 1 else self._peek.read_many(spans)
        for row, data in zip(rows, read, strict=True):
            for at, number in enumerate(row):
                self._pages[number] = data[at * _PAGE : (at + 1) * _PAGE]


def _check_heap(heap: memoryview) -> None:
    """Refuse a heap that libhdf5 would never come to the end of.

    Raises
    ------
    FormatError
    """
    end = min(len(heap), int.from_bytes(heap[8:16], "little"))
    at = 16
    while at + 16 <= end:
        is_free = bytes(heap[at : at + 2]) == b"\0\0"
        size = int.from_bytes(heap[at + 8 : at + 16], "little")
        if is_free and not size:
            raise FormatError(
                "not a valid HDF5 file: free space in a heap has no size", rule="HDF5"
            )
        at += size if is_free else 16 + (size + 7 & ~7)


def _rows(numbers: Iterable[int]) -> list[range]:
    """Return numbers as ranges of those that follow each other."""
    rows = []
    for _, each in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        row = [number for _, number in each]
        rows.append(range(row[0], row[-1] + 1))
    return rows
