"""How a stored tensor is cut for workers: by runs of its rows, or by what is decoded as one."""

from __future__ import annotations

import math

from ..errors import UnsupportedError, located
from ..reader import LazyTensor

Chunks = tuple[int, ...]


def chunks_of(tensor: LazyTensor, most: int) -> Chunks:
    """Return the sizes of chunks that are each one run of stored bytes, or whole stored chunks.

    Parameters
    ----------
    tensor : LazyTensor
        Dense. The seek table of a compressed one is fetched; without one it is a single chunk.
    most : int
        Bytes of a chunk, where the tensor's shape lets it be so small.

    Raises
    ------
    UnsupportedError
        The tensor is not dense.
    FormatError, StoreError
    """
    with located(url=tensor._reader.url, tensor=tensor.name):
        if tensor.layout != "dense":
            raise UnsupportedError(
                f"layout {tensor.format!r} can't be read in chunks; read it whole, with delayed()"
            )
        grid = tensor._tensor.components["data"].grid
        if grid is not None:
            return grid_chunks(tensor.shape, tensor.dtype.itemsize, most, grid.chunk)
        frame = _frame(tensor)
    if frame is None:
        return tensor.shape
    return row_chunks(tensor.shape, tensor.dtype.itemsize, most, frame)


def _frame(tensor: LazyTensor) -> int | None:
    """Return the decoded bytes that are read as one; None if only all can be."""
    [want] = tensor._wants()
    if want.part.is_raw:
        return 1
    tables = tensor._blobs.seek_tables
    tables.find([want])
    table = tables.known(want.part)
    if table is None or len(table) < 2:
        return None
    return max(1, int(table.decoded[1] - table.decoded[0]))


def row_chunks(shape: tuple[int, ...], itemsize: int, most: int, frame: int = 1) -> Chunks:
    """Return chunk sizes: whole at the inner axes, one at the outer ones, fitted between.

    Parameters
    ----------
    shape : tuple of int
    itemsize : int
    most : int
        Bytes of a chunk; a single element may have more.
    frame : int
        Bytes, of which chunks are multiples where they can be.
    """
    if not math.prod(shape):
        return shape
    row = math.prod(shape) * itemsize
    for axis, size in enumerate(shape):
        row //= size
        if row <= most or axis == len(shape) - 1:
            count = min(size, max(1, most // row))
            step = math.lcm(row, frame) // row
            if step <= count < size:
                count -= count % step
            return (1,) * axis + (count,) + shape[axis + 1 :]
    return shape


def grid_chunks(shape: Chunks, itemsize: int, most: int, stored: Chunks) -> Chunks:
    """Return sizes that are multiples of the stored chunks', the inner axes whole where they fit.

    Parameters
    ----------
    shape : tuple of int
    itemsize : int
    most : int
        Bytes of a chunk; a single stored one may have more.
    stored : tuple of int
        The shape of the stored chunks.
    """
    sizes = list(map(min, shape, stored))
    for axis in reversed(range(len(shape))):
        slab = math.prod(sizes) // sizes[axis] * itemsize
        fit = most // slab
        if fit < shape[axis]:
            sizes[axis] = max(sizes[axis], fit - fit % stored[axis])
            break
        sizes[axis] = shape[axis]
    return tuple(sizes)


def groups_of(sizes: dict[str, int], most: int) -> list[list[str]]:
    """Return names in groups of neighbours that are together no larger than wanted.

    Parameters
    ----------
    sizes : dict of str to int
        In bytes. A larger one is a group of its own.
    most : int
    """
    groups: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if size > room or not groups:
            groups.append([])
            room = most
        groups[-1].append(name)
        room -= size
    return groups
