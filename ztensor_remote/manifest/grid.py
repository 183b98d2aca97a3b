"""An array that is stored in chunks, each of them filtered by itself: HDF5's datasets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .fields import c_strides, reject

_EXPANSION = {"deflate": 1032, "zstd": 32768, "lzf": 88}
"""Most bytes that one stored byte stands for. LZF: a match of 264 bytes takes three."""

_SUM = {"fletcher32": 4}
"""Bytes that a filter adds."""


@dataclass(frozen=True, eq=False)
class ChunkGrid:
    """Where the chunks of an array lie, and what was done to them.

    Attributes
    ----------
    shape : tuple of int
        Of the array.
    chunk : tuple of int
        Of a chunk, none of them 0. Those at the end of an axis stick out over it.
    itemsize : int
        Bytes of an element.
    filters : tuple of (str, int)
        In the order in which they were applied: ``"shuffle"`` with the bytes of an element,
        ``"deflate"``, ``"zstd"``, ``"lzf"``, ``"fletcher32"``.
    fill : bytes
        An element of a chunk that is not stored, in the order of bytes of those that are.
    numbers : int64 array, shape (n,)
        Which chunks are stored, ascending: their places in the grid, counted in C order.
    offsets, lengths : int64 arrays, shape (n,)
        Where they are in the file.
    masks : int64 array, shape (n,)
        Bit ``i`` is set where the filter ``i`` was left out.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    itemsize: int
    filters: tuple[tuple[str, int], ...]
    fill: bytes
    numbers: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    masks: npt.NDArray[np.int64]

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks on each axis, stored or not."""
        return tuple(-(-n // size) for n, size in zip(self.shape, self.chunk, strict=True))

    @property
    def strides(self) -> tuple[int, ...]:
        """By how much the number of a chunk differs from the next one's on each axis."""
        return c_strides(self.counts)

    @property
    def chunk_length(self) -> int:
        """Decoded bytes of a chunk."""
        return math.prod(self.chunk) * self.itemsize

    @cached_property
    def start(self) -> int:
        """The first byte that is stored."""
        return int(self.offsets.min(initial=np.iinfo(np.int64).max)) if len(self.offsets) else 0

    @cached_property
    def span(self) -> int:
        """Bytes from there to the last one, with what lies between chunks."""
        return int((self.offsets + self.lengths).max(initial=self.start)) - self.start

    @cached_property
    def length(self) -> int:
        """Bytes that are stored."""
        return int(self.lengths.sum())


def check_grid(grid: ChunkGrid, size: int) -> None:
    """Check that stored chunks are in the grid and in the file, and can be what they must be.

    Parameters
    ----------
    grid : ChunkGrid
    size : int
        Of the file, in bytes.

    Raises
    ------
    FormatError
    """
    ends = grid.offsets + np.minimum(grid.lengths, size + 1)
    outside = (grid.offsets < 0) | (grid.lengths < 0) | (grid.offsets > size) | (ends > size)
    if outside.any():
        at = int(np.flatnonzero(outside)[0])
        reject(
            f"a chunk has {grid.lengths[at]} bytes at {grid.offsets[at]}, the file ends at {size}",
            rule="BlobBounds",
        )
    if (np.diff(grid.numbers) <= 0).any():
        reject("two chunks have the same place in the array", rule="BlobOverlap")
    for mask in np.unique(grid.masks).tolist():
        used = [name for n, (name, _) in enumerate(grid.filters) if not mask >> n & 1]
        least = grid.chunk_length + sum(_SUM.get(name, 0) for name in used)
        most_of_one = math.prod(_EXPANSION.get(name, 1) for name in used)
        lengths = grid.lengths[grid.masks == mask]
        shortest, longest = int(lengths.min()), int(lengths.max())
        if shortest * most_of_one < least or (most_of_one == 1 and longest > least):
            reject(
                f"chunks of {grid.chunk} have {least} bytes; {shortest} to {longest} stored bytes "
                "can't hold them",
                rule="DecodedLength",
            )
