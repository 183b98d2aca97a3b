"""Datasets of HDF5 files that lie in chunks, or of which nothing was ever written."""

from __future__ import annotations

import math
from array import array
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import LimitError
from ..manifest import ChunkGrid
from ..manifest.fields import reject
from ..manifest.grid import check_grid

_Rows: TypeAlias = "npt.NDArray[np.uint64]"

_MOST_CHUNKS = 1 << 22
"""Of all datasets of a file: 28 bytes of memory each."""

_LARGEST = 1 << 62
"""Chunks, or bytes of one."""

_NAMES = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf", 32015: "zstd"}
"""What we can undo, by the numbers that HDF5 has for filters."""

_OTHERS = {
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    307: "bzip2",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32017: "sz",
    32024: "sz3",
    32026: "blosc2",
}


class ChunkIndex:
    """What a file says of its chunks, dataset by dataset.

    Parameters
    ----------
    size : int
        Of the file, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._room = _MOST_CHUNKS

    def grid_of(self, dataset: Any, dtype: np.dtype[Any]) -> ChunkGrid:
        """Return the chunks of a dataset whose filters are known.

        Raises
        ------
        FormatError, LimitError
        """
        properties = dataset.id.get_create_plist()
        shape, chunk = dataset.shape, properties.get_chunk()
        if len(chunk) != len(shape) or 0 in chunk:
            reject(f"an array of the shape {shape} has no chunks of {chunk}", rule="HDF5")
        counts = tuple(-(-n // size) for n, size in zip(shape, chunk, strict=True))
        if max(math.prod(counts), math.prod(chunk) * dtype.itemsize) > _LARGEST:
            reject(f"{shape} in chunks of {chunk} is more than there can be", rule="HDF5")
        begins, rows = self._stored(dataset, math.prod(counts))
        is_inside = (begins < np.array(shape, np.uint64)).all(axis=1)
        places, rest = np.divmod(begins[is_inside], np.array(chunk, np.uint64))
        if rest.any():
            reject("a chunk does not begin where chunks begin", rule="HDF5")
        numbers = np.ravel_multi_index(tuple(places.astype(np.int64).T), counts)
        order = np.argsort(numbers)
        grid = ChunkGrid(
            *(shape, chunk, dtype.itemsize, _filters(properties), _fill(dataset, dtype)),
            numbers[order],
            *rows.astype(np.int64)[is_inside][order].T.copy(),
        )
        check_grid(grid, self._size)
        return grid

    def _stored(self, dataset: Any, most: int) -> tuple[_Rows, _Rows]:
        """Return the first positions of the stored chunks, and of each its place, size and mask."""
        begins, rows = array("Q"), array("Q")
        most = min(most, self._size)  # each has a byte
        left, problem = min(most, self._room), None

        def note(chunk: Any) -> bool | None:
            nonlocal left
            if not left:
                left = -1
                return True  # that is enough
            left -= 1
            if chunk.byte_offset is not None:
                begins.extend(chunk.chunk_offset)
                rows.extend((chunk.byte_offset, chunk.size, chunk.filter_mask))
            return None

        try:
            dataset.id.chunk_iter(note)
        except (OSError, RuntimeError, ValueError) as error:
            problem = str(error)[:300]
        if problem is not None:  # raised without that error, whose frames hold what is libhdf5's
            reject(f"its chunks can't be found: {problem}", rule="HDF5")
        if left < 0 and most <= self._room:
            reject(f"it has more than {most} chunks, which is the most there can be", rule="HDF5")
        if left < 0:
            raise LimitError(f"the datasets of the file have more than {_MOST_CHUNKS} chunks")
        self._room -= len(rows) // 3
        return _table(begins, len(dataset.shape)), _table(rows, 3)


def _table(values: array[int], columns: int) -> _Rows:
    return np.frombuffer(values, np.uint64).reshape(-1, columns)


def nothing_stored(shape: tuple[int, ...], dataset: Any, dtype: np.dtype[Any]) -> ChunkGrid:
    """Return the grid of a dataset that was never written: all of it is what it is filled with."""
    none = np.empty(0, np.int64)
    fill = _fill(dataset, dtype)
    return ChunkGrid(shape, shape, dtype.itemsize, (), fill, none, none, none, none)


def unknown_filter(properties: Any) -> str | None:
    """Return the name of a filter that we can't undo; None if there is none."""
    for number in range(properties.get_nfilters()):
        code = properties.get_filter(number)[0]
        if code not in _NAMES:
            return _OTHERS.get(code, str(code))
    return None


def _filters(properties: Any) -> tuple[tuple[str, int], ...]:
    found = []
    for number in range(properties.get_nfilters()):
        code, _, values, _ = properties.get_filter(number)
        name = _NAMES[code]
        found.append((name, values[0] if name == "shuffle" and values else 0))
    return tuple(found)


def _fill(dataset: Any, dtype: np.dtype[Any]) -> bytes:
    """Return an element of what was never written."""
    try:
        return np.asarray(dataset.fillvalue, dtype).tobytes()
    except (RuntimeError, TypeError, ValueError, OverflowError):
        return bytes(dtype.itemsize)  # there is none: anything would do
