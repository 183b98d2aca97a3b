"""Where decoded bytes go: all to one place, some of them to theirs, or to memory that grows."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np

from ..codecs import too_long, too_short
from ..errors import LimitError
from ..stores import Landing, Request, Runs
from ..types import Bytes
from .memory import allocate


class Output(Protocol):
    """What takes the decoded bytes of one component."""

    def room(self, start: int, stop: int) -> memoryview | None:
        """Return the memory that this span is to be decoded into; None if into none of its own."""

    def take(self, start: int, data: Bytes) -> None:
        """Copy what is wanted of the bytes that begin at `start`."""

    def end(self, length: int) -> None:
        """Check that a stream which ended after so many bytes was long enough."""


class Filling:
    """All bytes, one after another.

    Parameters
    ----------
    length : int
    memory : memoryview, optional
        Where to put them; new memory otherwise, once the first of them are there.
    """

    def __init__(self, length: int, memory: memoryview | None = None) -> None:
        self.length = length
        self._memory = memory
        self._lock = threading.Lock()

    @property
    def memory(self) -> memoryview:
        """The bytes."""
        with self._lock:
            if self._memory is None:
                self._memory = allocate(self.length)
            return self._memory

    def room(self, start: int, stop: int) -> memoryview:
        """Return the span's place."""
        return self.memory[start:stop]

    def take(self, start: int, data: Bytes) -> None:
        """Copy the bytes to their place."""
        if start + len(data) > self.length:
            raise too_long(self.length)
        np.frombuffer(self.memory, np.uint8)[start : start + len(data)] = np.frombuffer(
            data, np.uint8
        )

    def end(self, length: int) -> None:
        """Refuse a stream that ends early."""
        if length < self.length:
            raise too_short(length, self.length)


class Growing:
    """All bytes of a component whose length nothing states.

    Parameters
    ----------
    most : int
        The most that they may become.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._grown = bytearray()

    @property
    def memory(self) -> memoryview:
        """The bytes."""
        return memoryview(self._grown)

    def room(self, start: int, stop: int) -> None:
        """Return None."""

    def take(self, start: int, data: Bytes) -> None:
        """Append the bytes, which must come in order."""
        self._grown += data
        if len(self._grown) > self._most:
            raise LimitError(f"a zstd stream decodes to more than the limit of {self._most} bytes")

    def end(self, length: int) -> None:
        """Take any length."""


class Picking:
    """Some runs of the bytes; the others are dropped as soon as they are decoded.

    Parameters
    ----------
    length : int
        Of all decoded bytes.
    runs : Runs
        In the order of their offsets.
    memory : memoryview
        Where they go.
    """

    def __init__(self, length: int, runs: Runs, memory: memoryview) -> None:
        self.length = length
        self._runs = runs
        self._ends = runs.offsets + runs.lengths
        self.memory = memory
        self._landing = Landing([memory])

    def room(self, start: int, stop: int) -> memoryview | None:
        """Return the span's place, if all of it is wanted and stays together."""
        number = int(np.searchsorted(self._ends, stop, side="left"))
        if number == len(self._ends) or self._runs.offsets[number] > start:
            return None
        at = int(self._runs.targets[number] + start - self._runs.offsets[number])
        return self.memory[at : at + stop - start]

    def take(self, start: int, data: Bytes) -> None:
        """Copy what the runs want."""
        stop = start + len(data)
        if stop > self.length:
            raise too_long(self.length)
        first = int(np.searchsorted(self._ends, start, side="right"))
        last = int(np.searchsorted(self._runs.offsets, stop, side="left"))
        if first >= last:
            return
        # Only the outer two can be cut, and the rest may be regular enough to be copied at once.
        inner = first + (self._runs.offsets[first] < start), last - (self._ends[last - 1] > stop)
        for begin, end in ((first, inner[0]), inner, (max(inner), last)):
            if begin < end:
                runs = _cut_to(self._runs.between(begin, end), start, stop)
                self._landing.place(Request(start, len(data), runs), memoryview(data))

    def end(self, length: int) -> None:
        """Refuse a stream that ends early."""
        if length < self.length:
            raise too_short(length, self.length)


def _cut_to(runs: Runs, start: int, stop: int) -> Runs:
    offsets = np.maximum(runs.offsets, start)
    ends = np.minimum(runs.offsets + runs.lengths, stop)
    return Runs(offsets, ends - offsets, runs.targets + offsets - runs.offsets)
