"""What a tensor of a load needs, and what is made of it once it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..manifest.dtypes import DType
from ..types import Framework
from .arrays import check_shape, to_jax, to_torch
from .selection import Selection, select, select_of_chunks
from .want import Want

if TYPE_CHECKING:
    from .tensor import LazyTensor

Finish = Callable[[Sequence[memoryview], Framework], Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """One tensor, or a selection of its elements.

    Attributes
    ----------
    wants : sequence of Want
        What has to be loaded; nothing where the elements are mapped.
    finish : callable
        Makes the array of what was loaded, in that order.
    is_light : bool
        Whether that takes less time than it takes to have another thread do it.
    """

    wants: Sequence[Want]
    finish: Finish
    is_light: bool = False


def reading_all(tensor: LazyTensor) -> Reading:
    """Return how to read all elements, as `read_tensor` does."""
    if tensor._has_gaps:
        return reading_some(tensor, ...)
    wants = tensor._wants()
    is_dense = tensor.layout == "dense"
    strides = tensor._tensor.strides

    def finish(loaded: Sequence[memoryview], to: Framework) -> Any:
        if is_dense and (to == "numpy" or not tensor._is_view):
            element = wants[0].part.element
            array = tensor._array(loaded[0], element, tensor.shape, strides)
            return _returned_as(to, array, element)
        return tensor._with(tensor._blobs.holding(wants, loaded))._read(to)

    is_looked_at = not is_dense or strides or wants[0].part.element.is_encoded
    return Reading(wants, finish, is_light=not is_looked_at)


def reading_some(tensor: LazyTensor, key: Any) -> Reading:
    """Return how to read the selected elements.

    Raises
    ------
    ClosedError, IndexError, InvalidInputError, UnsupportedError, FormatError
    """
    tensor._reader._check_open()
    tensor._check_layout()
    check_shape(tensor.shape)
    part, blobs = tensor._value_part, tensor._blobs
    is_dense = tensor.layout == "dense"
    strides = tensor._tensor.strides
    if part.grid is not None:
        selection = select_of_chunks(tensor.shape, part.grid.itemsize, key)
    else:
        selection = select(tensor.shape, part.element.bits if is_dense else 8, key, strides)
    if not is_dense or selection.nbytes == tensor._stored_bytes(part.element):
        return _reading_all_for(tensor, key)
    # Of what a cache has, only the part that is selected should be touched.
    view = blobs.view(part, whole=False) if blobs.is_mapped(part) else None
    # Checking or unpacking all elements would touch all of a file that may be large.
    if view is not None and not (part.element.is_encoded or blobs.checks_slices_of(part)):
        shown = tensor._array(view, part.element, tensor.shape, strides)[key]
        return Reading([], lambda _, to: _returned_as(to, shown, part.element))

    def finish(loaded: Sequence[memoryview], to: Framework) -> Any:
        memory = loaded[0] if loaded else memoryview(b"")
        return _returned_as(to, _chosen(tensor, selection, memory), part.element)

    if not selection.nbytes:
        return Reading([], finish)
    [want] = tensor._wants()
    if selection.axes is not None:
        return Reading([replace(want, length=selection.nbytes, axes=selection.axes)], finish)
    return Reading([replace(want, runs=selection.runs)], finish)


def _reading_all_for(tensor: LazyTensor, key: Any) -> Reading:
    wants = tensor._wants()

    def finish(loaded: Sequence[memoryview], to: Framework) -> Any:
        whole = tensor._with(tensor._blobs.holding(wants, loaded))._numpy()
        return _returned_as(to, whole[key], tensor._value_part.element)

    return Reading(wants, finish)


def _chosen(tensor: LazyTensor, selection: Selection, memory: memoryview) -> Any:
    element = tensor._value_part.element
    fetched = tensor._array(memory, element, selection.shape, selection.strides)
    chosen = fetched[selection.index]
    # A view would keep alive what was only read over.
    return chosen.copy() if chosen.nbytes * 2 < len(memory) else chosen


def _returned_as(to: Framework, array: Any, element: DType) -> Any:
    if to in ("numpy", "scipy"):
        return array
    whole = np.array(array) if np.ndim(array) == 0 else np.ascontiguousarray(array)
    return to_torch(whole, element) if to == "torch" else to_jax(whole)
