"""Check the chunks of a raw component that a slice lies in (SPEC.md §13.5)."""

from __future__ import annotations

import numpy as np

from ..codecs import Hasher, compare_digests
from ..manifest import ChunkDigests, Component
from ..stores import Control, Runs
from .output import Picking


class Checking:
    """A raw component whose chunks are compared with their digests as they come.

    Parameters
    ----------
    part : Component
    chunks : ChunkDigests
    runs : Runs
        What is wanted.
    output : Picking
        What takes it, once it was compared.

    Attributes
    ----------
    pieces : list of (int, int)
        The stored bytes that `take` must be given: whole chunks.
    is_ordered : bool
        False: they may come in any order.
    """

    is_ordered = False

    def __init__(self, part: Component, chunks: ChunkDigests, runs: Runs, output: Picking) -> None:
        self._output = output
        self._sums = np.frombuffer(chunks.values, "<u4")
        wanted = runs.where(runs.lengths > 0)
        edges = np.zeros(len(self._sums) + 1, np.int64)
        np.add.at(edges, wanted.offsets // chunks.size, 1)
        np.add.at(edges, -(-(wanted.offsets + wanted.lengths) // chunks.size), -1)
        self._numbers = np.flatnonzero(np.cumsum(edges) > 0).tolist()
        self.pieces = [
            (number * chunks.size, min((number + 1) * chunks.size, part.length))
            for number in self._numbers
        ]

    def take(self, number: int, data: memoryview, control: Control | None) -> None:
        """Compare a chunk with its digest, and copy what is wanted of it.

        Raises
        ------
        DigestError
        """
        hasher = Hasher("crc32c")
        hasher.update(data)
        compare_digests(hasher.text(), f"crc32c:0x{self._sums[self._numbers[number]]:08X}")
        self._output.take(self.pieces[number][0], data)
