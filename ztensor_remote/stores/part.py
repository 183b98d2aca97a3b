"""Parts of an upload before they are sent: lent by the caller, or filled piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..crc import combine, crc32c
from .sink import Digest

_STEP = 512 << 10
"""Bytes that are copied and digested before the next: they stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is on its way.

    Attributes
    ----------
    number : int
        From 1.
    data : memoryview
    crc : int or None
        Its CRC-32C, where it is known already.
    """

    number: int
    data: memoryview
    crc: int | None = None


class PartMemory:
    """Memory that parts wait in until they are sent, used again for later ones.

    Fresh memory would have to be cleared by the kernel for each part.
    """

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self, size: int) -> memoryview:
        """Return memory of this size; pages that nothing is written to take no room."""
        while self._free:
            memory = self._free.pop()
            if len(memory) == size:  # those of the smaller parts before are dropped
                return memory
        return np.empty(size, np.uint8).data

    def give_back(self, memory: memoryview) -> None:
        """Take back what nobody reads any more."""
        self._free.append(memory)


class Filling:
    """The part that is being filled.

    Parameters
    ----------
    memory : memoryview
        For all of it.
    checked : bool
        Whether its CRC-32C will be asked for.

    Attributes
    ----------
    crc : int or None
        The CRC-32C of what it holds, if it is checked.
    """

    def __init__(self, memory: memoryview, *, checked: bool) -> None:
        self.memory = memory
        self.crc = 0 if checked else None
        self._filled = 0

    @property
    def data(self) -> memoryview:
        """What it holds."""
        return self.memory[: self._filled]

    @property
    def is_full(self) -> bool:
        """Whether nothing more fits."""
        return self._filled == len(self.memory)

    def take(self, data: memoryview, digest: Digest | None) -> int:
        """Copy as much as fits; return how much that was."""
        room = self.memory[self._filled :][: len(data)]
        self._filled += len(room)
        if self.crc is None and digest is None:
            _copy(room, data)
            return len(room)
        crc = _copy_checked(room, data)
        if self.crc is not None:
            self.crc = combine(self.crc, crc, len(room))
        if digest is not None:
            digest.append(crc, len(room))
        return len(room)


def _copy(room: memoryview, data: memoryview) -> None:
    # Assigning to a memoryview would stop all other threads, those that send among them.
    np.copyto(np.frombuffer(room, np.uint8), np.frombuffer(data[: len(room)], np.uint8))


def _copy_checked(room: memoryview, data: memoryview) -> int:
    """Return the CRC-32C of what is copied."""
    crc = 0
    for at in range(0, len(room), _STEP):
        step = room[at : at + _STEP]
        _copy(step, data[at:])
        crc = crc32c(step, crc)
    return crc
