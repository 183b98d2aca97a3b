"""Memory that one range of an object goes to."""

from __future__ import annotations

from collections.abc import Sequence

from ..types import Bytes
from .control import Control

_MOST_ROOMS = 256
"""The kernel takes 1024 at once, but more than these are seldom worth the list."""


class Scatter:
    """Pieces of memory that are filled one after another, from front to back.

    Parameters
    ----------
    pieces : sequence of memoryview
        Writable, of format ``"B"``.
    control : Control
        Asked at each step whether to go on.

    Attributes
    ----------
    length : int
        Bytes of all pieces.
    filled : int
        Bytes that have arrived.
    """

    def __init__(self, pieces: Sequence[memoryview], control: Control) -> None:
        self.length = sum(map(len, pieces))
        self.filled = 0
        self._control = control
        self._pieces = [piece for piece in reversed(pieces) if len(piece)]

    @property
    def missing(self) -> int:
        """Bytes that have not arrived."""
        return self.length - self.filled

    def rooms(self, most: int) -> list[memoryview]:
        """Return the memory to fill next, in order, of `most` bytes or fewer."""
        rooms = []
        for piece in reversed(self._pieces[-_MOST_ROOMS:]):
            rooms.append(piece[:most])
            most -= len(piece)
            if most <= 0:
                break
        return rooms

    def advance(self, count: int) -> None:
        """Note that the first `count` bytes of `rooms` are filled."""
        self._control.check()
        self.filled += count
        while count:
            piece = self._pieces.pop()
            if count < len(piece):
                self._pieces.append(piece[count:])
            count -= min(count, len(piece))

    def write(self, data: Bytes) -> None:
        """Copy bytes in; what is more than was announced is nobody's."""
        rest = memoryview(data)[: self.missing]
        while rest:
            room = self.rooms(len(rest))[0]
            room[:] = rest[: len(room)]
            self.advance(len(room))
            rest = rest[len(room) :]
