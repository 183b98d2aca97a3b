"""Tensors as a row of arrays that fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..manifest import STREAMS, ZSTD
from .arrays import Array
from .tensor import LazyTensor

Key = tuple[int | slice, ...]

_BLOCK = 8 << 20


class Blocks:
    """A dense tensor, of which a part at a time is in memory.

    zstd without a seek table, and streams of other formats, can only be decoded as a whole, and
    are; of arrays in chunks, a row of chunks is in memory.
    """

    def __init__(self, tensor: LazyTensor) -> None:
        self._tensor = tensor
        is_whole = tensor._tensor.components["data"].encoding in (ZSTD, *STREAMS)
        self._array = tensor.numpy() if is_whole else None

    def __getitem__(self, key: Key) -> Array:
        return np.asarray((self._tensor if self._array is None else self._array)[key])


def chunk_of(tensor: LazyTensor) -> tuple[int, ...]:
    """Return the shape of what of a dense tensor has to be decoded to have any of it."""
    grid = tensor._tensor.components["data"].grid
    return (1,) * tensor.ndim if grid is None else grid.chunk


def keys(shape: tuple[int, ...], itemsize: int, chunk: tuple[int, ...]) -> Iterator[Key]:
    """Yield the keys of blocks that make up an array, in C order, no chunk in two of them."""
    if not shape or math.prod(shape) * itemsize <= _BLOCK:
        yield ()
        return
    row = math.prod(shape[1:]) * itemsize
    rows = max(_BLOCK // row // chunk[0], chunk[0] > 1) * chunk[0]
    if rows:
        for start in range(0, shape[0], rows):
            yield (slice(start, start + rows),)
        return
    for index in range(shape[0]):
        for key in keys(shape[1:], itemsize, chunk[1:]):
            yield (index, *key)


def blocks(tensor: LazyTensor) -> Iterator[Array]:
    """Yield all elements of a dense tensor, in C order.

    Raises
    ------
    UnsupportedError, FormatError, StoreError
    """
    parts = Blocks(tensor)
    for key in keys(tensor.shape, tensor.dtype.itemsize, chunk_of(tensor)):
        yield parts[key]
