"""Put an array together of the chunks that it is stored in, or of those that a part of it needs."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..codecs import unfilter
from ..errors import LimitError
from ..manifest import ChunkGrid, Component
from ..stores import Budget, Control, Limits, Offsets
from .memory import allocate
from .selection import Positions

_Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class _Touched:
    """The stored chunks that have wanted positions, as arrays of one row a chunk.

    Attributes
    ----------
    rows : int64 array, shape (n,)
        Which of those that the grid tells of.
    origins, starts, stops : int64 arrays, shape (n, dimensions)
        The first position of the chunk on each axis, and which of the wanted ones lie in it.
    is_all : bool
        Whether there are no others: none that were never stored.
    """

    rows: Offsets
    origins: Offsets
    starts: Offsets
    stops: Offsets
    is_all: bool


class Tiling:
    """A component in chunks, of which those that are touched are decoded into their places.

    Parameters
    ----------
    part : Component
    axes : tuple of range or int64 array, optional
        Which positions are wanted on each axis, ascending; all by default.
    destination : memoryview, optional
        Where the elements go; new memory otherwise.
    budget : Budget
        Bounds the memory that chunks are decoded in.
    limits : Limits

    Attributes
    ----------
    pieces : list of (int, int)
        The stored bytes that `take` must be given, relative to the first of all: whole chunks.
    is_ordered : bool
        False: they may come in any order.

    Raises
    ------
    LimitError
        A chunk by itself is larger than what may be decoded.
    """

    is_ordered = False

    def __init__(
        self,
        part: Component,
        axes: tuple[Positions, ...] | None,
        destination: memoryview | None,
        *,
        budget: Budget,
        limits: Limits,
    ) -> None:
        grid = part.grid
        assert grid is not None
        self._grid = grid
        self._axes = tuple(map(range, grid.shape)) if axes is None else axes
        self._touched = _touched(grid, self._axes)
        if len(self._touched.rows) and grid.chunk_length > limits.max_decoded:
            raise LimitError(
                f"decoding a chunk of it needs {grid.chunk_length} bytes, the limit is "
                f"{limits.max_decoded}; if the file is trusted, open it with "
                "limits=Limits(max_decoded=...)"
            )
        starts = grid.offsets[self._touched.rows] - grid.start
        stops = starts + grid.lengths[self._touched.rows]
        self.pieces = list(zip(starts.tolist(), stops.tolist(), strict=True))
        self._stored_dtype = _dtype(part, grid.itemsize)
        self._destination = destination
        self._filled: _Array | None = None
        self._budget = budget
        self._lock = threading.Lock()

    @property
    def memory(self) -> memoryview:
        """The elements, little-endian, with the fill value wherever no chunk was put yet."""
        return self._array.reshape(-1).view(np.uint8).data

    @property
    def _array(self) -> _Array:
        with self._lock:
            if self._filled is None:
                self._filled = self._made()
            return self._filled

    def _made(self) -> _Array:
        """Return the array that chunks are put in, begun when the first of them is there."""
        shape = tuple(map(len, self._axes))
        dtype = self._stored_dtype.newbyteorder("<")
        is_zero = not any(self._grid.fill)
        memory = self._destination
        if memory is None:
            nbytes = math.prod(shape) * dtype.itemsize
            memory = allocate(nbytes, zeroed=is_zero and not self._touched.is_all)
        made: _Array = np.ndarray(shape, dtype, buffer=memory)
        if not self._touched.is_all and not (is_zero and self._destination is None):
            made[...] = np.frombuffer(self._grid.fill, self._stored_dtype)[0]
        return made

    def take(self, number: int, data: memoryview, control: Control | None) -> None:
        """Decode a chunk, and copy what is wanted of it.

        Parameters
        ----------
        number : int
            Its place among `pieces`.
        data : memoryview
        control : Control or None
            Breaks the wait for memory; None for bytes that are at hand.

        Raises
        ------
        FormatError, DigestError
        """
        grid = self._grid
        if not grid.filters:
            self._put(number, data)
            return
        needed = 2 * grid.chunk_length
        self._budget.borrow(needed, control or Control())
        try:
            mask = int(grid.masks[self._touched.rows[number]])
            self._put(number, unfilter(data, grid.filters, mask, grid.chunk_length))
        finally:
            self._budget.give_back(needed)

    def _put(self, number: int, data: Any) -> None:
        touched = self._touched
        chunk = np.ndarray(self._grid.chunk, self._stored_dtype, buffer=data)
        each = zip(
            self._axes,
            touched.origins[number].tolist(),
            touched.starts[number].tolist(),
            touched.stops[number].tolist(),
            strict=True,
        )
        there, here = [], []
        for axis, origin, start, stop in each:
            there.append(slice(start, stop))
            here.append(_within(axis[start:stop], origin))
        self._array[tuple(there)] = chunk[tuple(here)]


def _within(wanted: Positions, origin: int) -> Any:
    """Return the index of positions in a chunk that begins at `origin`."""
    if isinstance(wanted, range):
        return slice(wanted[0] - origin, wanted[-1] - origin + 1, wanted.step)
    return wanted - origin


def _touched(grid: ChunkGrid, axes: tuple[Positions, ...]) -> _Touched:
    if not all(len(axis) for axis in axes):
        none = np.empty((0, len(axes)), np.int64)
        return _Touched(none[:, 0] if axes else np.empty(0, np.int64), none, none, none, True)
    rows = _rows_near(grid, axes)
    rest, columns = grid.numbers[rows], []
    is_touched = np.ones(len(rows), np.bool_)
    for axis, size, by in zip(axes, grid.chunk, grid.strides, strict=True):
        place, rest = np.divmod(rest, by)
        start, stop = _before(axis, place * size), _before(axis, (place + 1) * size)
        is_touched &= start < stop
        columns.append((place * size, start, stop))
    spans = np.array(columns, np.int64).reshape(len(axes), 3, len(rows))[..., is_touched]
    origins, starts, stops = spans.transpose(1, 2, 0)
    needed = math.prod(map(_chunks_of, axes, grid.chunk))
    rows = rows[is_touched]
    return _Touched(rows, origins, starts, stops, len(rows) == needed)


def _rows_near(grid: ChunkGrid, axes: tuple[Positions, ...]) -> Offsets:
    """Return the rows of a grid from the first position of the first axis on to the last."""
    if not axes:
        return np.arange(len(grid.numbers))
    first, last = int(axes[0][0]) // grid.chunk[0], int(axes[0][-1]) // grid.chunk[0]
    edges = first * grid.strides[0], (last + 1) * grid.strides[0]
    begin, end = np.searchsorted(grid.numbers, edges)
    return np.arange(begin, end)


def _before(axis: Positions, positions: Offsets) -> Offsets:
    """Return how many of the wanted positions of an axis come before each of others."""
    if isinstance(axis, range):
        counts: Offsets = -((axis.start - positions) // axis.step)
        return np.clip(counts, 0, len(axis))
    return np.searchsorted(axis, positions)


def _chunks_of(axis: Positions, size: int) -> int:
    """Return how many chunks of an axis have wanted positions."""
    if not isinstance(axis, range):
        return len(np.unique(axis // size))
    return len(axis) if axis.step >= size else axis[-1] // size - axis[0] // size + 1


def _dtype(part: Component, itemsize: int) -> np.dtype[Any]:
    """Return a dtype whose elements are copied bit by bit, in the order that they need."""
    kind = "c" if (part.logical or "").startswith("complex") else "u"
    return np.dtype(f"{'>' if part.big_endian else '<'}{kind}{itemsize}")
