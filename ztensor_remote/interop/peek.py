"""What has been seen of a file, and what a parser has to fetch beyond."""

from __future__ import annotations

from ..errors import FormatError
from ..stores import End, Source


class Peek:
    """A source of which one end has been read.

    Parameters
    ----------
    source : Source
    piece : memoryview
        Its first or last bytes.
    end : {"head", "tail"}
        Which of them.
    """

    def __init__(self, source: Source, piece: memoryview, end: End) -> None:
        self.source = source
        self.size = source.identity.size
        start = 0 if end == "head" else self.size - len(piece)
        self._pieces = [(start, piece)]

    def seen(self, offset: int, length: int) -> bytes | None:
        """Return bytes that need no request; None for others."""
        if offset + length > self.size:
            return None
        found = self._at_hand(offset, length)
        return None if found is None else bytes(found)

    def _at_hand(self, offset: int, length: int) -> memoryview | None:
        for start, piece in self._pieces:
            if start <= offset and offset + length <= start + len(piece):
                return piece[offset - start : offset - start + length]
        return self.source.view(offset, length) if length else memoryview(b"")

    def read(self, offset: int, length: int) -> memoryview:
        """Return bytes, asking only for the part that is not at hand.

        Raises
        ------
        FormatError
            The file ends before.
        StoreError
        """
        if offset + length > self.size:
            raise FormatError(
                f"the file is cut off: it has {self.size} bytes, and says that there are {length} "
                f"at {offset}",
                rule="Truncated",
            )
        found = self._at_hand(offset, length)
        return self._fetch(offset, length) if found is None else found

    def _fetch(self, offset: int, length: int) -> memoryview:
        memory = memoryview(bytearray(length))
        have = 0
        for start, piece in self._pieces:
            if start <= offset < start + len(piece):
                near = piece[offset - start :]
                memory[: len(near)] = near
                have = len(near)
                break
        self.source.read_into(offset + have, memory[have:])
        self._pieces = [
            each
            for each in self._pieces
            if not offset <= each[0] <= each[0] + len(each[1]) <= offset + length
        ] + [(offset, memory)]
        return memory

    def head(self) -> memoryview:
        """Return the first bytes, as many as are at hand."""
        whole = self.source.view(0, self.size) if self.size else None
        if whole is not None:
            return whole
        return next((piece for start, piece in self._pieces if not start), memoryview(b""))

    def tail(self, window: int) -> memoryview:
        """Return the last `window` bytes, or all."""
        length = min(window, self.size)
        return self.read(self.size - length, length)
