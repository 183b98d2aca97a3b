"""How two files differ: names, shapes, dtypes, attributes, values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import InvalidInputError, UnsupportedError
from ..manifest.cbor import encode
from ..reader import LazyTensor
from ..reader.arrays import Array
from ..reader.blocks import Blocks, chunk_of, keys
from ..reader.show import dtype_text
from ..reader.sparse import CSR
from ..rewrite.places import opened
from ..types import StorageOptions

Kind = Literal["missing", "shape", "dtype", "layout", "attributes", "values"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same in two files.

    Attributes
    ----------
    tensor : str or None
        None for the file as a whole.
    kind : {"missing", "shape", "dtype", "layout", "attributes", "values"}
    first, second : object
        What each file has; None for a tensor that it lacks. For values: how many elements differ,
        and the largest absolute difference, if there is one.
    """

    tensor: str | None
    kind: Kind
    first: Any
    second: Any


def diff(
    first: Any,
    second: Any,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    storage_options: StorageOptions | None = None,
) -> list[Difference]:
    """Compare two files; how they are stored does not matter.

    Parameters
    ----------
    first, second : path, URL, bytes or Reader
    rtol, atol : float
        Elements may differ by ``atol + rtol * abs(second)``, and NaN is NaN, where one of them is
        not 0; otherwise their bytes must be the same. With a tolerance, values are compared
        although dtypes differ.
    storage_options : mapping, optional
        For both.

    Returns
    -------
    list of Difference
        By name; empty where all is the same.

    Raises
    ------
    FormatError, StoreError
    """
    if rtol < 0 or atol < 0:
        raise InvalidInputError("rtol and atol can't be negative")
    with opened([first, second], storage_options) as [one, other]:
        found = list(_differing_attributes(None, one.attributes, other.attributes))
        for name in sorted({*one, *other}):
            if name in one and name in other:
                found += _compare(one[name], other[name], rtol, atol)
            else:
                there = (_text(one[name]), None) if name in one else (None, _text(other[name]))
                found.append(Difference(name, "missing", *there))
        return found


def _text(tensor: LazyTensor) -> str:
    return f"{dtype_text(tensor._tensor)} {list(tensor.shape)}"


def _differing_attributes(
    name: str | None, first: Mapping[str, Any], second: Mapping[str, Any]
) -> Iterator[Difference]:
    for key in sorted({*first, *second}):
        pair = ({key: each[key]} if key in each else {} for each in (first, second))
        ours, theirs = pair
        if encode(ours, sort_keys=True, depth=0) != encode(theirs, sort_keys=True, depth=0):
            yield Difference(name, "attributes", ours, theirs)


def _compare(
    first: LazyTensor, second: LazyTensor, rtol: float, atol: float
) -> Iterator[Difference]:
    name = first.name
    yield from _differing_attributes(name, first.attributes, second.attributes)
    if first.shape != second.shape:
        yield Difference(name, "shape", list(first.shape), list(second.shape))
        return
    if first.layout != second.layout:
        yield Difference(name, "layout", first.layout, second.layout)
        return
    texts = [dtype_text(tensor._tensor) for tensor in (first, second)]
    if texts[0] != texts[1]:
        yield Difference(name, "dtype", *texts)
        if not (rtol or atol):
            return
    unequal, largest = 0, 0.0
    for ours, theirs in _pairs(first, second):
        count, distance = _unequal(ours, theirs, rtol, atol)
        unequal, largest = unequal + count, max(largest, distance)
    if unequal:
        yield Difference(name, "values", unequal, largest)


def _pairs(first: LazyTensor, second: LazyTensor) -> Iterator[tuple[Array, Array]]:
    if first.layout == "dense":
        try:
            itemsize = max(first.dtype.itemsize, second.dtype.itemsize)
        except UnsupportedError:  # of an unknown type: only its bytes can be compared
            yield from _components(first, second)
            return
        parts = Blocks(first), Blocks(second)
        chunk = tuple(map(max, chunk_of(first), chunk_of(second)))
        for key in keys(first.shape, itemsize, chunk):
            yield parts[0][key], parts[1][key]
    elif first.layout in ("sparse_csr", "sparse_coo"):
        one, other = first.sparse(), second.sparse()
        if isinstance(one, CSR) and isinstance(other, CSR):
            yield one.indptr, other.indptr
            yield one.indices, other.indices
        elif not isinstance(one, CSR) and not isinstance(other, CSR):
            yield one.coords, other.coords
        yield one.values, other.values
    else:
        yield from _components(first, second)


def _components(first: LazyTensor, second: LazyTensor) -> Iterator[tuple[Array, Array]]:
    for role in sorted({*first.components, *second.components}):
        pair = [
            np.frombuffer(tensor.components[role].read(), np.uint8)
            if role in tensor.components
            else np.empty(0, np.uint8)
            for tensor in (first, second)
        ]
        yield pair[0], pair[1]


def _unequal(first: Array, second: Array, rtol: float, atol: float) -> tuple[int, float]:
    """Return how many elements differ, and the largest distance between two of them."""
    if first.shape != second.shape:
        return max(first.size, second.size), float("inf")
    if first.dtype.kind in "iu" and second.dtype.kind in "iu":
        unequal = first != second  # index arrays may have other widths
        if not (rtol or atol):
            return int(np.count_nonzero(unequal)), _distance(first[unequal], second[unequal])
    if not (rtol or atol):
        unequal = _bytes(first) != _bytes(second)
        unequal = unequal.any(axis=-1)
        return int(unequal.sum()), _distance(
            first.reshape(-1)[unequal], second.reshape(-1)[unequal]
        )
    ours, theirs = _wide(first), _wide(second)
    close = np.isclose(ours, theirs, rtol=rtol, atol=atol, equal_nan=True)
    return int((~close).sum()), _distance(first[~close], second[~close])


def _bytes(array: Array) -> Array:
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.uint8).reshape(flat.size, flat.itemsize)


def _wide(array: Array) -> Array:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _distance(first: Array, second: Array) -> float:
    with np.errstate(invalid="ignore"):
        distances = np.abs(_wide(first) - _wide(second))
    finite = distances[~np.isnan(distances)]
    return float(finite.max()) if finite.size else float("nan") if distances.size else 0.0
