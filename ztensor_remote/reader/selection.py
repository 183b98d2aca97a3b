"""What an index expression needs: byte runs to fetch, and the index to apply to them. Pure."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from ..errors import InvalidInputError
from ..manifest.fields import c_strides, normal_strides
from ..stores import Offsets, Runs

Positions: TypeAlias = "range | Offsets"
"""Of one axis, ascending."""

_CLOSE = 512
"""Bytes: strided pieces that begin closer than this are read with what lies between them."""

_MOST_RUNS = 1 << 20


@dataclass(frozen=True, slots=True)
class Selection:
    """A plan to read part of a dense tensor.

    Attributes
    ----------
    runs : Runs
        Byte runs, relative to the tensor's first byte, packed in the destination.
    shape : tuple of int
        Of the fetched elements.
    strides : tuple of int or None
        Of them, in elements; None where they are in C order.
    index : tuple
        What to index the fetched array with to get what was asked for.
    nbytes : int
        Size of the destination.
    axes : tuple of range or int64 array, or None
        Of an array in chunks, what stands instead of the runs: the positions on each axis.
    """

    runs: Runs
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    index: tuple[Any, ...]
    nbytes: int
    axes: tuple[Positions, ...] | None = None


def select_of_chunks(shape: tuple[int, ...], itemsize: int, key: Any) -> Selection:
    """Return how to read ``tensor[key]`` where the tensor is stored in chunks.

    Parameters
    ----------
    shape : tuple of int
    itemsize : int
        Bytes of an element.
    key : index expression
        As for `select`.

    Raises
    ------
    IndexError, InvalidInputError
    """
    items, axes = _axes(key, shape)
    fetched = tuple(len(axis.wanted) for axis in axes)
    index = _index(items, axes, [None] * len(axes))
    wanted = tuple(axis.wanted for axis in axes)
    nothing = Runs.packed(np.empty(0, np.int64), 0)
    return Selection(nothing, fetched, None, index, math.prod(fetched) * itemsize, wanted)


def select(
    shape: tuple[int, ...], bits: int, key: Any, strides: tuple[int, ...] | None = None
) -> Selection:
    """Return how to read ``tensor[key]``.

    Parameters
    ----------
    shape : tuple of int
    bits : int
        Stored bits of an element. Packed elements are selected by whole rows of the last axis.
    key : index expression
        Integers, slices with any step, ``...``, ``None``; on the first axis also an integer
        array or a boolean mask.
    strides : tuple of int, optional
        Of the stored elements, in elements; C order by default.

    Raises
    ------
    IndexError
        Out of bounds, or too many indices.
    InvalidInputError
        A form of indexing that is not supported.
    """
    items, axes = _axes(key, shape)
    if strides is not None:
        return _of_strided(shape, strides, bits, items, axes)
    runs, fetched, origins = _layout(shape, bits, axes, _innermost(shape, axes, bits))
    return _selection(runs, fetched, None, _index(items, axes, origins))


def _of_strided(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    bits: int,
    items: list[Any],
    axes: list[_Axis],
) -> Selection:
    """Select from elements in another order: that of C over other axes, or one with gaps."""
    order = sorted(range(len(shape)), key=lambda axis: (shape[axis] == 1, -strides[axis], axis))
    inner = tuple(shape[axis] for axis in order)
    is_dense = normal_strides(inner, tuple(strides[axis] for axis in order)) is None
    if is_dense or not all(len(axis.wanted) for axis in axes):
        near = [axes[axis] for axis in order]
        runs, fetched, origins = _layout(inner, bits, near, _innermost(inner, near, bits))
        back = sorted(range(len(order)), key=order.__getitem__)
        by = c_strides(fetched)
        index = _index(items, axes, [origins[at] for at in back])
        return _selection(
            runs, tuple(fetched[at] for at in back), tuple(by[at] for at in back), index
        )
    parent = _parent(shape, strides, order, axes)
    if parent is not None:
        depth = _innermost(parent.shape, parent.axes, bits)
        if depth == _deepest_partial(parent.shape, parent.axes):  # no row of it as a whole
            return _of_parent(parent, depth, bits, items, axes)
    # With elements that are there twice, or at odd places: all from the first to the last.
    firsts = [int(axis.wanted[0]) for axis in axes]
    spans = tuple(
        int(axis.wanted[-1]) + 1 - first for axis, first in zip(axes, firsts, strict=True)
    )
    start = sum(first * by for first, by in zip(firsts, strides, strict=True))
    count = 1 + sum((n - 1) * by for n, by in zip(spans, strides, strict=True))
    run = Runs.single(start * bits // 8, count * bits // 8)
    return _selection(run, spans, strides, _index(items, axes, list(firsts)))


@dataclass(frozen=True, slots=True)
class _Parent:
    """An array in C order of which elements with gaps are a part.

    Attributes
    ----------
    shape : tuple of int
    axes : list of _Axis
        What is wanted of it.
    axis_of : list of int
        Which axes of the part they are; its others have a single position.
    """

    shape: tuple[int, ...]
    axes: list[_Axis]
    axis_of: list[int]


def _parent(
    shape: tuple[int, ...], strides: tuple[int, ...], order: list[int], axes: list[_Axis]
) -> _Parent | None:
    """Return the array that elements with gaps were cut out of; None if there is none."""
    kept = [axis for axis in order if shape[axis] > 1]
    last = kept[-1]
    if not strides[last]:
        return None
    units = [*(strides[axis] for axis in kept[:-1]), 1]
    lengths = [*(shape[axis] for axis in kept[:-1]), (shape[last] - 1) * strides[last] + 1]
    sizes = [lengths[0]]
    for unit, inner, length in zip(units, units[1:], lengths[1:], strict=False):
        size, rest = divmod(unit, inner)
        if rest or length > size:
            return None
        sizes.append(size)
    near = [*(axes[axis] for axis in kept[:-1]), axes[last].spread(strides[last])]
    return _Parent(tuple(sizes), near, kept)


def _of_parent(
    parent: _Parent, depth: int, bits: int, items: list[Any], axes: list[_Axis]
) -> Selection:
    runs, fetched, origins = _layout(parent.shape, bits, parent.axes, depth)
    shape, strides = [1] * len(axes), [0] * len(axes)
    starts: list[int | None] = [None] * len(axes)
    near = list(axes)
    by = c_strides(fetched)
    for at, axis in enumerate(parent.axis_of):
        shape[axis], strides[axis], starts[axis] = fetched[at], by[at], origins[at]
        near[axis] = parent.axes[at]
    return _selection(runs, tuple(shape), tuple(strides), _index(items, near, starts))


def _selection(
    runs: Runs, shape: tuple[int, ...], strides: tuple[int, ...] | None, index: tuple[Any, ...]
) -> Selection:
    return Selection(runs, shape, strides, index, int(runs.lengths.sum()))


def _index(items: list[Any], axes: list[_Axis], origins: Sequence[int | None]) -> tuple[Any, ...]:
    """Return the index into what was fetched."""
    local = iter([axis.local(origin) for axis, origin in zip(axes, origins, strict=True)])
    return tuple(item if item is None or item is Ellipsis else next(local) for item in items)


@dataclass(frozen=True, slots=True)
class _Axis:
    """The wanted positions of one axis, ascending, and how the caller orders them."""

    wanted: Positions
    form: Literal["one", "forward", "reversed"] | np.ndarray[Any, np.dtype[np.int64]]

    def local(self, origin: int | None) -> Any:
        """Return the index into what was fetched.

        Parameters
        ----------
        origin : int or None
            First position fetched, where all that follow it were too; None where just the
            wanted positions were.
        """
        wanted = self.wanted
        if isinstance(self.form, np.ndarray):
            return self.form if origin is None else np.asarray(wanted)[self.form] - origin
        assert isinstance(wanted, range)
        if origin is None:
            near = range(len(wanted))
        else:
            near = range(wanted.start - origin, wanted.stop - origin, wanted.step)
        if self.form == "one":
            return near[0]
        if self.form == "forward" or not near:
            return slice(near.start, near.stop, near.step)
        return slice(near[-1], None if near[0] == 0 else near[0] - 1, -near.step)

    def spread(self, by: int) -> _Axis:
        """Return the axis with so many positions in place of each, of which the first is wanted."""
        wanted = self.wanted
        if isinstance(wanted, range):
            return _Axis(range(wanted.start * by, wanted[-1] * by + 1, wanted.step * by), self.form)
        return _Axis(wanted * by, self.form)


def _axes(key: Any, shape: tuple[int, ...]) -> tuple[list[Any], list[_Axis]]:
    """Return the items of a key, and what is wanted of each axis."""
    items = _expanded(key, len(shape))
    sizes = iter(shape)
    return items, [_axis(item, next(sizes), number) for number, item in _numbered(items)]


def _expanded(key: Any, rank: int) -> list[Any]:
    """Return one item an axis, and what stands between them for NumPy alone."""
    items = list(key) if isinstance(key, tuple) else [key]
    used = sum(item is not None and item is not Ellipsis for item in items)
    if sum(item is Ellipsis for item in items) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if used > rank:
        raise IndexError(f"too many indices: the tensor has {rank} dimensions, {used} were given")
    fill = [slice(None)] * (rank - used)
    for at, item in enumerate(items):
        if item is Ellipsis:
            # An ellipsis that stands for nothing still separates index arrays from integers.
            return items[:at] + (fill or [Ellipsis]) + items[at + 1 :]
    return items + fill


def _numbered(items: list[Any]) -> Iterable[tuple[int, Any]]:
    return enumerate(item for item in items if item is not None and item is not Ellipsis)


def _axis(item: Any, size: int, number: int) -> _Axis:
    if isinstance(item, slice):
        wanted = range(*item.indices(size))
        return _Axis(wanted, "forward") if wanted.step > 0 else _Axis(wanted[::-1], "reversed")
    if isinstance(item, list | bool | np.bool_) or np.ndim(item):
        if number:
            raise InvalidInputError(
                "arrays can only index the first axis; read the rows, then index the result"
            )
        return _array_axis(np.asarray(item), size)
    try:
        position = operator.index(item)
    except TypeError:
        raise IndexError(
            "only integers, slices, '...', None, and integer or boolean arrays on the first axis "
            f"are valid indices, not {type(item).__name__}"
        ) from None
    if not -size <= position < size:
        raise IndexError(f"index {position} is out of bounds for an axis of size {size}")
    position %= size
    return _Axis(range(position, position + 1), "one")


def _array_axis(item: np.ndarray[Any, Any], size: int) -> _Axis:
    if item.dtype == bool:
        if item.shape != (size,):
            raise IndexError(f"a mask of shape {item.shape} does not fit an axis of size {size}")
        item = np.flatnonzero(item)
    elif item.size and item.dtype.kind not in "iu":
        raise IndexError(f"index arrays must be of integer or boolean type, not {item.dtype}")
    positions = item.astype(np.int64)
    if positions.size and (positions.min() < -size or positions.max() >= size):
        raise IndexError(f"an index is out of bounds for an axis of size {size}")
    wanted, places = np.unique(positions % max(size, 1), return_inverse=True)
    return _Axis(wanted, places.reshape(positions.shape))


def _deepest_partial(shape: tuple[int, ...], axes: list[_Axis]) -> int:
    """Return the last axis that is not wanted as a whole; -1 if all are."""
    partial = [at for at, axis in enumerate(axes) if len(axis.wanted) != shape[at]]
    return max(partial, default=-1)


def _innermost(shape: tuple[int, ...], axes: list[_Axis], bits: int) -> int:
    """Return the axis within which a run lies (-1: the whole); axes after it are fetched whole."""
    if not all(len(axis.wanted) for axis in axes):
        return len(shape) - 1  # nothing is fetched
    depth = _deepest_partial(shape, axes)
    if bits % 8 and depth >= 0:
        # Packed elements: a run has to begin and end on a byte, so rows are the smallest unit.
        depth = min(depth, len(shape) - 2) if shape[-1] * bits % 8 == 0 else -1
    while depth > 0 and math.prod(len(axis.wanted) for axis in axes[:depth]) > _MOST_RUNS:
        depth -= 1
    return depth


def _layout(
    shape: tuple[int, ...], bits: int, axes: list[_Axis], depth: int
) -> tuple[Runs, tuple[int, ...], list[int | None]]:
    """Return what is fetched, its shape, and the first position of each axis read as a whole."""
    fetched = [len(axis.wanted) for axis in axes[: depth + 1]] + list(shape[depth + 1 :])
    origins: list[int | None] = [None] * (depth + 1) + [0] * (len(shape) - depth - 1)
    starts, length = np.zeros(1, np.int64), (math.prod(shape) * bits + 7) // 8
    if any(not len(axis.wanted) for axis in axes):
        starts, length = np.empty(0, np.int64), 0
    elif depth >= 0:
        block = math.prod(shape[depth + 1 :]) * bits // 8
        starts, length, span = _within(axes[depth], block)
        if span is not None:
            origins[depth], fetched[depth] = span.start, len(span)
        for at in reversed(range(depth)):
            block *= shape[at + 1]
            outer = np.asarray(axes[at].wanted, np.int64) * block
            starts = np.add.outer(outer, starts).ravel()
    return Runs.packed(starts, length), tuple(fetched), origins


def _within(axis: _Axis, block: int) -> tuple[np.ndarray[Any, Any], int, range | None]:
    """Return run starts and the run length on the innermost axis, and the span if one is read."""
    wanted = axis.wanted
    if isinstance(wanted, range) and (wanted.step == 1 or block * wanted.step < _CLOSE):
        span = range(wanted[0], wanted[-1] + 1)
        return np.array([span.start * block], np.int64), len(span) * block, span
    return np.asarray(wanted, np.int64) * block, block, None
