"""Sparse tensors: their arrays checked, then as SciPy, torch, JAX or dense (SPEC.md §3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import FormatError, LimitError, MissingDependencyError, UnsupportedError
from .arrays import Array, import_jax, import_torch, is_foreign, to_jax, to_torch

if TYPE_CHECKING:
    from torch import Tensor as TorchTensor


@dataclass(frozen=True, slots=True)
class CSR:
    """A matrix in compressed sparse row form, whose indices have been checked.

    Attributes
    ----------
    shape : tuple of int
    values : array, shape (nnz,)
    indices : integer array, shape (nnz,)
        Column of each value.
    indptr : integer array, shape (rows + 1,)
        Where each row begins among the values.
    """

    shape: tuple[int, ...]
    values: Array
    indices: Array
    indptr: Array

    def check(self, *, sorted_rows: bool) -> None:
        """Check every index.

        Parameters
        ----------
        sorted_rows : bool
            Whether columns must ascend strictly within a row (version 2 demands it).

        Raises
        ------
        FormatError
        """
        rows, columns = self.shape
        nnz = len(self.indices)
        indptr = _signed(self.indptr, limit=nnz, what="a row pointer")
        if len(indptr) != rows + 1 or len(self.values) != nnz:
            _reject(
                f"{rows} rows, {len(indptr)} row pointers, {nnz} indices, {len(self.values)} values"
            )
        if indptr[0] != 0 or indptr[-1] != nnz or (np.diff(indptr) < 0).any():
            _reject("row pointers must ascend from 0 to the number of values")
        indices = _signed(self.indices, limit=columns - 1, what="a column index")
        if sorted_rows and nnz:
            rises = np.diff(indices) > 0
            begins = indptr[(indptr > 0) & (indptr < nnz)]
            rises[begins - 1] = True
            if not rises.all():
                _reject("column indices must ascend strictly within each row")

    def coordinates(self) -> tuple[Array, ...]:
        """Return the row and the column of each value."""
        counts: Array = np.diff(self.indptr.astype(np.int64))
        rows = np.repeat(np.arange(self.shape[0]), counts)
        return rows, self.indices.astype(np.int64)

    def scipy(self, kind: Literal["array", "matrix"]) -> Any:
        """Return a ``csr_array`` or ``csr_matrix``."""
        sparse = _import_scipy()
        make = sparse.csr_array if kind == "array" else sparse.csr_matrix
        index = _index_dtype(max(*self.shape, len(self.values)))
        parts = (_for_scipy(self.values), self.indices.astype(index), self.indptr.astype(index))
        return make(parts, shape=self.shape)

    def torch(self) -> TorchTensor:
        """Return a ``sparse_csr`` tensor."""
        torch = import_torch()
        indptr, indices = (to_torch(a.astype(np.int64)) for a in (self.indptr, self.indices))
        made: TorchTensor = torch.sparse_csr_tensor(
            indptr,
            indices,
            to_torch(self.values.copy()),
            size=self.shape,
            check_invariants=False,  # they were checked; unless told so, torch warns
        )
        return made

    def jax(self, device: Any = None) -> Any:
        """Return a ``jax.experimental.sparse.BCSR``."""
        index = _index_dtype(max(*self.shape, len(self.values)))
        arrays = self.values, self.indices.astype(index), self.indptr.astype(index)
        parts = tuple(to_jax(array, device) for array in arrays)
        return _import_jax_sparse().BCSR(parts, shape=self.shape)


@dataclass(frozen=True, slots=True)
class COO:
    """A tensor as a list of coordinates, which have been checked.

    Attributes
    ----------
    shape : tuple of int
    values : array, shape (nnz,)
    coords : integer array, shape (ndim, nnz)
    """

    shape: tuple[int, ...]
    values: Array
    coords: Array

    def check(self, *, unique: bool) -> None:
        """Check every coordinate.

        Parameters
        ----------
        unique : bool
            Whether no cell may be named twice (version 2 demands it).

        Raises
        ------
        FormatError
        """
        if self.coords.shape[1] != len(self.values):
            _reject(f"{self.coords.shape[1]} coordinates for {len(self.values)} values")
        axes = [
            _signed(axis, limit=size - 1, what="a coordinate")
            for axis, size in zip(self.coords, self.shape, strict=True)
        ]
        if unique and len(np.unique(np.stack(axes), axis=1).T) != len(self.values):
            _reject("two values have the same coordinates")

    def coordinates(self) -> tuple[Array, ...]:
        """Return the position of each value, an array a dimension."""
        return tuple(self.coords.astype(np.int64))

    def scipy(self, kind: Literal["array", "matrix"]) -> Any:
        """Return a ``coo_array`` of any rank, or a ``coo_matrix``."""
        sparse = _import_scipy()
        if kind == "matrix" and len(self.shape) != 2:
            raise UnsupportedError("scipy.sparse.coo_matrix has two dimensions; use .scipy()")
        make = sparse.coo_array if kind == "array" else sparse.coo_matrix
        index = _index_dtype(max(self.shape))
        return make((_for_scipy(self.values), tuple(self.coords.astype(index))), shape=self.shape)

    def torch(self) -> TorchTensor:
        """Return a ``sparse_coo`` tensor."""
        torch = import_torch()
        made: TorchTensor = torch.sparse_coo_tensor(
            to_torch(self.coords.astype(np.int64)),
            to_torch(self.values.copy()),
            size=self.shape,
            check_invariants=False,  # they were checked; unless told so, torch warns
        )
        return made

    def jax(self, device: Any = None) -> Any:
        """Return a ``jax.experimental.sparse.BCOO``."""
        cells = np.ascontiguousarray(self.coords.T, _index_dtype(max(self.shape)))
        parts = to_jax(self.values, device), to_jax(cells, device)
        return _import_jax_sparse().BCOO(parts, shape=self.shape)


def dense(sparse: CSR | COO, *, limit: int) -> Array:
    """Return the tensor with its zeros; values of one cell add up, as in SciPy.

    Raises
    ------
    LimitError
        It would take more than `limit` bytes.
    """
    nbytes = int(np.prod(sparse.shape, dtype=object)) * sparse.values.itemsize
    if nbytes > limit:
        raise LimitError(f"as a dense array it takes {nbytes} bytes, the limit is {limit}")
    out = np.zeros(sparse.shape, sparse.values.dtype)
    where = sparse.coordinates()
    if out.dtype == bool:
        out[where] = sparse.values
    else:
        np.add.at(out, where, sparse.values)
    return out


def split_csr_0_1(data: Array, dtype: np.dtype[Any], shape: tuple[int, ...]) -> CSR:
    """Take apart the one blob of a version-0.1 CSR tensor: indptr, indices, values."""
    if len(shape) != 2:
        _reject(f"CSR needs two dimensions, not {shape}")
    head = (shape[0] + 1) * 8
    nnz, rest = divmod(len(data) - head, 8 + dtype.itemsize)
    if rest or nnz < 0:
        _reject(f"{len(data)} bytes are no CSR payload of shape {shape}")
    indptr, indices = data[:head].view("<u8"), data[head : head + nnz * 8].view("<u8")
    return CSR(shape, data[head + nnz * 8 :].view(dtype), indices, indptr)


def split_coo_0_1(data: Array, dtype: np.dtype[Any], shape: tuple[int, ...]) -> COO:
    """Take apart the one blob of a version-0.1 COO tensor: records of coordinates and value."""
    width = len(shape) * 8
    if len(data) % (width + dtype.itemsize):
        _reject(f"{len(data)} bytes are no COO payload of shape {shape}")
    records = data.reshape(-1, width + dtype.itemsize)
    coords = np.ascontiguousarray(records[:, :width]).view("<u8").reshape(-1, len(shape))
    values = np.ascontiguousarray(records[:, width:]).view(dtype).ravel()
    return COO(shape, values, np.ascontiguousarray(coords.T))


def _signed(index: Array, *, limit: int, what: str) -> Array:
    """Return indices as int64, all of them from 0 to `limit`."""
    if index.size and (index.min() < 0 or int(index.max()) > limit):
        _reject(f"{what} lies outside the shape")
    return index.astype(np.int64)


def _reject(message: str) -> None:
    raise FormatError(f"the sparse tensor is inconsistent: {message}", rule="LayoutData")


def _index_dtype(largest: int) -> type[np.signedinteger[Any]]:
    if largest > np.iinfo(np.int64).max:
        raise UnsupportedError(f"indices of 64 bits can't count to {largest}; use the components")
    return np.int32 if largest <= np.iinfo(np.int32).max else np.int64


def _for_scipy(values: Array) -> Array:
    if is_foreign(values.dtype) or values.dtype == np.float16:
        raise UnsupportedError(
            f"SciPy's sparse types can't hold {values.dtype.name}; use .numpy(), .torch() or the "
            "components"
        )
    # SciPy works in place: it sorts, adds up, scales. Mapped values can't be written to.
    return values if values.flags.writeable else values.copy()


def _import_jax_sparse() -> Any:
    import_jax()
    import jax.experimental.sparse

    return jax.experimental.sparse


def _import_scipy() -> Any:
    try:
        import scipy.sparse
    except ImportError:
        raise MissingDependencyError(
            "sparse tensors need SciPy: pip install 'ztensor-remote[scipy]'"
        ) from None
    return scipy.sparse
