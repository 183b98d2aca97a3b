"""The bytes of a pickle, one after another; long payloads are passed over, not read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from ...errors import FormatError, LimitError

Read = Callable[[int, int], bytes | memoryview]
"""Returns bytes, by offset and length."""

MOST = 256 << 20
"""Bytes that are read to understand a file: all but the payloads of arrays."""

_FIRST, _LARGEST = 64 << 10, 4 << 20
_FAR = 1 << 20
"""From how many bytes on passing over is worth another request."""


class Stream:
    """A place in a run of bytes that is fetched as it is needed.

    Parameters
    ----------
    read : callable
    start, stop : int
        Where the run begins and ends, as `read` counts.

    Attributes
    ----------
    at : int
    """

    def __init__(self, read: Read, start: int, stop: int) -> None:
        self.at = start
        self.stop = stop
        self._read = read
        self._start, self._window = start, b""
        self._next, self._total = _FIRST, 0

    def take(self, length: int) -> bytes:
        """Return the bytes that come next."""
        begin = self.at - self._start
        if begin + length > len(self._window):
            self._fetch(length)
            begin = 0
        self.at += length
        return self._window[begin : begin + length]

    def byte(self) -> int:
        """Return the byte that comes next."""
        begin = self.at - self._start
        if begin >= len(self._window):
            self._fetch(1)
            begin = 0
        self.at += 1
        return self._window[begin]

    def uint(self, width: int) -> int:
        """Return an unsigned little-endian integer of so many bytes."""
        return int.from_bytes(self.take(width), "little")

    def line(self) -> bytes:
        """Return the bytes up to the end of a line, which is passed over."""
        while (found := self._window.find(b"\n", self.at - self._start)) < 0:
            have = self._start + len(self._window) - self.at
            if self.at + have >= self.stop:
                reject("it is cut off")
            self._fetch(min(have + self._next, self.stop - self.at))
        line = self._window[self.at - self._start : found]
        self.at = self._start + found + 1
        return line

    def skip(self, length: int) -> None:
        """Pass over bytes, without reading them if they are many."""
        if self.at + length > self.stop:
            reject("it is cut off")
        self.at += length
        if length >= _FAR:
            self._next = _FIRST

    def _fetch(self, length: int) -> None:
        """Put the bytes from here on into the window, at least so many."""
        if self.at + length > self.stop:
            reject("it is cut off")
        kept = self._window[self.at - self._start :] if self.at >= self._start else b""
        wanted = min(max(length, self._next), self.stop - self.at)
        self._total += wanted - len(kept)
        if self._total > MOST:
            raise LimitError(f"the pickle has more than {MOST} bytes beside those of its arrays")
        self._window = kept + bytes(self._read(self.at + len(kept), wanted - len(kept)))
        self._start = self.at
        self._next = min(4 * self._next, _LARGEST)


def reject(message: str) -> NoReturn:
    """Raise FormatError."""
    raise FormatError(f"not a valid pickle: {message}", rule="Pickle")
