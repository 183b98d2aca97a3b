"""Put the components of a sparse tensor together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import FormatError
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
    is_of_0_1 = tensor.format in ("sparsecsr", "sparsecoo")
    sparse = _of_one_blob(tensor, blobs) if is_of_0_1 else _of_roles(tensor)
    if isinstance(sparse, CSR):
        sparse.check(sorted_rows=blobs.is_exact(tensor._tensor))
    else:
        sparse.check(unique=blobs.is_exact(tensor._tensor))
    return sparse


def _of_roles(tensor: LazyTensor) -> CSR | COO:
    if tensor.layout == "sparse_csr":
        indices, indptr = (tensor.components[role].numpy() for role in ("indices", "indptr"))
        return CSR(tensor.shape, _values(tensor, len(indices)), indices, indptr)
    coords = tensor.components["coords"].numpy()
    if coords.size % tensor.ndim:
        raise FormatError(
            f"{coords.size} coordinates are no whole cells of {tensor.ndim} dimensions",
            rule="LayoutRule",
        )
    cells = coords.reshape(tensor.ndim, -1)
    return COO(tensor.shape, _values(tensor, cells.shape[1]), cells)


def _values(tensor: LazyTensor, count: int) -> Array:
    """Return the values, without what fills up the last byte of packed ones."""
    values = tensor.components["values"].numpy()
    if not tensor._value_part.element.is_packed or len(values) != count + 1:
        return values
    if values[count:].view(np.uint8).any():
        raise FormatError("final odd f4 nibble must be zero", rule="LayoutData")
    return values[:count]


def _of_one_blob(tensor: LazyTensor, blobs: Blobs) -> CSR | COO:
    """Take apart what version 0.1 stores as one run of bytes (SPEC.md §3.4)."""
    part = tensor._tensor.components["data"]
    data = np.frombuffer(blobs.decoded(part, None), np.uint8)
    split = split_csr_0_1 if tensor.layout == "sparse_csr" else split_coo_0_1
    return split(data, part.element.numpy(), tensor.shape)
