"""Sparse input, checked and in the form that files hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import FormatError, InvalidInputError
from ..reader.arrays import Array
from ..reader.sparse import COO, CSR
from .elements import elements_of, is_torch


def csr_of(
    values: Any, indices: Any, indptr: Any, shape: Sequence[int] | None, *, sorted_rows: bool
) -> CSR:
    """Return a checked CSR matrix from its three arrays, or from one SciPy or torch object.

    Raises
    ------
    InvalidInputError
    """
    if _is_scipy(values):
        matrix = values.tocsr()
        if sorted_rows:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        values, indices, indptr, shape = matrix.data, matrix.indices, matrix.indptr, matrix.shape
    elif indices is None and is_torch(values):
        shape = tuple(values.shape)
        indices, indptr = values.col_indices(), values.crow_indices()
        values = values.values()
    if indices is None or indptr is None or shape is None:
        raise InvalidInputError("CSR needs values, indices, indptr and shape, or one SciPy matrix")
    matrix = CSR(
        tuple(int(size) for size in shape),
        elements_of(values).array,
        _indices(indices, "indices"),
        _indices(indptr, "indptr"),
    )
    _check_values(matrix.values)
    if len(matrix.shape) != 2:
        raise InvalidInputError(f"CSR needs two dimensions, not {matrix.shape}; use .tocoo()")
    try:
        matrix.check(sorted_rows=sorted_rows)
    except FormatError as error:
        raise InvalidInputError(error.message) from None
    return matrix


def coo_of(values: Any, indices: Any, shape: Sequence[int] | None, *, unique: bool) -> COO:
    """Return a checked COO tensor from its arrays, or from one SciPy or torch object.

    `indices` has shape (ndim, nnz), or is that array flattened.

    Raises
    ------
    InvalidInputError
    """
    if _is_scipy(values):
        matrix = values.tocoo()
        if unique:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        indices = np.stack(getattr(matrix, "coords", None) or (matrix.row, matrix.col))
        values, shape = matrix.data, matrix.shape
    elif indices is None and is_torch(values):
        tensor = values.coalesce()
        values, indices, shape = tensor.values(), tensor.indices(), tuple(tensor.shape)
    if indices is None or not shape:
        raise InvalidInputError("COO needs values, indices and shape, or one SciPy matrix")
    sizes = tuple(int(size) for size in shape)
    coords = _indices(indices, "indices", flat=False)
    if coords.ndim == 1 and coords.size % len(sizes) == 0:
        coords = coords.reshape(len(sizes), -1)
    if coords.ndim != 2 or len(coords) != len(sizes):
        raise InvalidInputError(
            f"indices of shape {coords.shape} do not fit {len(sizes)} dimensions; give (ndim, nnz)"
        )
    tensor = COO(sizes, elements_of(values).array, coords)
    _check_values(tensor.values)
    try:
        tensor.check(unique=unique)
    except FormatError as error:
        raise InvalidInputError(error.message) from None
    return tensor


def _is_scipy(value: Any) -> bool:
    return hasattr(value, "tocsr") and hasattr(value, "tocoo")


def _indices(value: Any, what: str, *, flat: bool = True) -> Array:
    array = elements_of(value).array
    if array.dtype.kind not in "iu" or (flat and array.ndim != 1):
        raise InvalidInputError(f"{what} must be integers{' in one dimension' if flat else ''}")
    if array.size and array.min() < 0:
        raise InvalidInputError(f"{what} must not be negative")
    return array.astype(np.uint64)


def _check_values(values: Array) -> None:
    if values.ndim != 1:
        raise InvalidInputError(f"values must have one dimension, not shape {values.shape}")
