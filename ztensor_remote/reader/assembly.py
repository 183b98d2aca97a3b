"""Put the components of a sparse tensor together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .arrays import Array
from .blobs import Blobs
from .sparse import COO, CSR, split_coo_0_1, split_csr_0_1

if TYPE_CHECKING:
    from .tensor import LazyTensor


def assemble(tensor: LazyTensor, blobs: Blobs) -> CSR | COO:
    """Return a sparse tensor as its arrays, the indices checked.

    Raises
    ------
    FormatError
        An index lies outside the shape, or the arrays don't fit together.
    """
    sparse = _of_one_blob(tensor, blobs) if "data" in tensor.components else _of_roles(tensor)
    if isinstance(sparse, CSR):
        sparse.check(sorted_rows=blobs.manifest.is_exact)
    else:
        sparse.check(unique=blobs.manifest.is_exact)
    return sparse


def _of_roles(tensor: LazyTensor) -> CSR | COO:
    if tensor.layout == "sparse_csr":
        indices, indptr = (tensor.components[role].numpy() for role in ("indices", "indptr"))
        return CSR(tensor.shape, _values(tensor, len(indices)), indices, indptr)
    coords = tensor.components["coords"].numpy()
    whole = coords[: coords.size - coords.size % tensor.ndim].reshape(tensor.ndim, -1)
    return COO(tensor.shape, _values(tensor, whole.shape[1]), whole)


def _values(tensor: LazyTensor, count: int) -> Array:
    """Return the values, without what fills up the last byte of packed ones."""
    values = tensor.components["values"].numpy()
    is_packed = tensor._value_part.element.is_packed
    return values[:count] if is_packed and len(values) == count + 1 else values


def _of_one_blob(tensor: LazyTensor, blobs: Blobs) -> CSR | COO:
    """Take apart what version 0.1 stores as one run of bytes (SPEC.md §6)."""
    part = tensor._tensor.components["data"]
    data = np.frombuffer(blobs.decoded(part, None), np.uint8)
    split = split_csr_0_1 if tensor.layout == "sparse_csr" else split_coo_0_1
    return split(data, part.element.numpy(), tensor.shape)
