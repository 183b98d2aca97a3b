"""What has been seen of a file, and what a parser has to fetch beyond."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import FormatError
from ..stores import End, Limits, Runs, Source, fetches_of, transfer


class Peek:
    """A source of which one end has been read.

    Parameters
    ----------
    source : Source
    piece : memoryview
        Its first or last bytes.
    end : {"head", "tail"}
        Which of them.
    limits : Limits, optional
        Of what is read beyond it.
    """

    def __init__(
        self, source: Source, piece: memoryview, end: End, limits: Limits | None = None
    ) -> None:
        self.source = source
        self._limits = limits or Limits()
        self.size = source.identity.size
        start = 0 if end == "head" else self.size - len(piece)
        self._pieces = [(start, piece)]

    def seen(self, offset: int, length: int) -> bytes | None:
        """Return bytes that need no request; None for others."""
        if self._ends_before(offset, length):
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
        if self._ends_before(offset, length):
            raise FormatError(
                f"the file is cut off: it has {self.size} bytes, and says that there are {length} "
                f"at {offset}",
                rule="Truncated",
            )
        found = self._at_hand(offset, length)
        return self._fetch(offset, length) if found is None else found

    def _fetch(self, offset: int, length: int) -> memoryview:
        memory = memoryview(bytearray(length))
        have, stop = 0, length
        for start, piece in self._pieces:
            if start <= offset < start + len(piece):
                near = piece[offset - start :]
                memory[: len(near)] = near
                have = len(near)
            elif offset < start < offset + length <= start + len(piece):
                stop = start - offset
                memory[stop:] = piece[: length - stop]
        self.source.read_into(offset + have, memory[have:stop])
        self._pieces = [
            each
            for each in self._pieces
            if not offset <= each[0] <= each[0] + len(each[1]) <= offset + length
        ] + [(offset, memory)]
        return memory

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return the bytes of many ranges, each an offset and a length, read side by side.

        Raises
        ------
        FormatError
            The file ends before.
        StoreError
        """
        pieces = [None if self._ends_before(*each) else self._at_hand(*each) for each in ranges]
        missing = [number for number, piece in enumerate(pieces) if piece is None]
        for number in missing:
            offset, length = ranges[number]
            if self._ends_before(offset, length):
                self.read(offset, length)  # refuses
        lengths = np.array([ranges[number][1] for number in missing], np.int64)
        offsets = np.array([ranges[number][0] for number in missing], np.int64)
        memory = [np.empty(length, np.uint8).data for length in lengths.tolist()]
        runs = Runs(offsets, lengths, np.cumsum(lengths) - lengths)
        fetches = fetches_of(self.source, runs, memory, limits=self._limits)
        if missing:
            transfer(fetches, [self.source], limits=self._limits)
        found = iter(memory)
        return [next(found) if piece is None else piece for piece in pieces]

    def _ends_before(self, offset: int, length: int) -> bool:
        return offset + length > self.size

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
