"""Memory that one range of an object goes to."""

from __future__ import annotations

from collections.abc import Sequence

from ..types import Bytes
from .control import Control


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

    def next(self, most: int) -> memoryview:
        """Return the memory to fill next, `most` bytes or fewer; none when all is filled."""
        return self._pieces[-1][:most] if self._pieces else memoryview(b"")

    def advance(self, count: int) -> None:
        """Note that the first `count` bytes of `next` are filled."""
        self._control.check()
        self.filled += count
        if count == len(self._pieces[-1]):
            self._pieces.pop()
        else:
            self._pieces[-1] = self._pieces[-1][count:]

    def write(self, data: Bytes) -> None:
        """Copy bytes in; what is more than was announced is nobody's."""
        rest = memoryview(data)[: self.missing]
        while rest:
            room = self.next(len(rest))
            room[:] = rest[: len(room)]
            self.advance(len(room))
            rest = rest[len(room) :]
