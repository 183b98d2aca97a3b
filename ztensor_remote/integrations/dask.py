"""Stored tensors as Dask collections: chunks that follow the storage, read where they are used."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..reader import LazyTensor, Reader
from ..reader.handle import Handle
from .chunking import chunks_of, groups_of
from .extras import import_extra
from .opening import opened
from .stored_tensor import StoredTensor, token_of

if TYPE_CHECKING:
    from dask.array import Array as DaskArray
    from dask.bag import Bag
    from dask.delayed import Delayed


import_dask = partial(import_extra, library="Dask")


def array(tensor: LazyTensor, chunks: Any = "auto") -> DaskArray:
    """Return a tensor as a Dask array; its tasks read the bytes of their chunks.

    Nothing is read here, but for the seek table of a compressed tensor. The same content has the
    same name in every process. Each process of a cluster opens the file once, with the options
    that the reader was given, and refuses another version of it.

    Parameters
    ----------
    tensor : LazyTensor
    chunks : optional
        As for ``dask.array.from_array``. "auto" cuts dense tensors into runs of whole rows of at
        most Dask's ``array.chunk-size``, at the frames of compressed ones.

    Raises
    ------
    UnsupportedError
        The tensor is not dense and `chunks` is "auto".
    MissingDependencyError
        Dask is not installed.
    """
    da, core = import_dask("dask.array"), import_dask("dask.array.core")
    if isinstance(chunks, str) and chunks == "auto":
        chunks = chunks_of(tensor, _chunk_size())
    sizes = core.normalize_chunks(chunks, shape=tensor.shape, dtype=tensor.dtype)
    return da.from_array(
        StoredTensor(tensor),
        chunks=sizes,
        name=_name(tensor._reader, tensor.name, tensor.dtype.name, sizes),
        meta=np.empty((0,) * tensor.ndim, tensor.dtype),
        asarray=False,
        inline_array=True,
    )


def delayed(source: Any, names: Iterable[str] | None = None, **options: Any) -> dict[str, Delayed]:
    """Return each tensor of a file as a delayed value.

    Parameters
    ----------
    source : Reader, or a location as `Reader` takes it
    names : iterable of str, optional
        All by default.
    **options
        Keyword arguments of `Reader`.

    Returns
    -------
    dict of str to Delayed
        That compute to what `Reader.load` gives: arrays, SciPy matrices of sparse tensors.

    Raises
    ------
    TensorNotFoundError, FormatError, StoreError, MissingDependencyError
    """
    wrap = import_dask("dask").delayed
    with opened(source, options) as reader:
        handle = reader._handle
        chosen = [reader[name].name for name in (reader if names is None else names)]
        keys = {name: _name(reader, name, "tensor", ()) for name in chosen}
    load = wrap(_load_one, pure=True)
    return {name: load(handle, name, dask_key_name=key) for name, key in keys.items()}


def bag(
    source: Any,
    names: Iterable[str] | None = None,
    *,
    partition_size: int | None = None,
    **options: Any,
) -> Bag:
    """Return the tensors of a file as a bag of ``(name, array)``.

    Parameters
    ----------
    source, names, **options
        As for `delayed`.
    partition_size : int, optional
        Bytes of tensors that one task reads, in one plan; by default Dask's ``array.chunk-size``.

    Raises
    ------
    TensorNotFoundError, FormatError, StoreError, MissingDependencyError
    """
    wrap, bags = import_dask("dask").delayed, import_dask("dask.bag")
    with opened(source, options) as reader:
        handle = reader._handle
        sizes = {name: reader[name].nbytes for name in (reader if names is None else names)}
        groups = groups_of(sizes, partition_size or _chunk_size())
        keys = [_name(reader, "partition", "items", group) for group in groups]
    load = wrap(_load_many, pure=True)
    parts = [
        load(handle, group, dask_key_name=key) for group, key in zip(groups, keys, strict=True)
    ]
    return bags.from_delayed(parts) if parts else bags.from_sequence([], npartitions=1)


def _load_one(handle: Handle, name: str) -> Any:
    return handle.reader().load([name])[name]


def _load_many(handle: Handle, names: list[str]) -> list[tuple[str, Any]]:
    return list(handle.reader().load(names).items())


def _chunk_size() -> int:
    size = import_dask("dask").config.get("array.chunk-size")
    return int(import_dask("dask.utils").parse_bytes(size))


def _name(reader: Reader, tensor: str, dtype: str, chunks: Any) -> str:
    """Return a key of content: Dask itself would take all dtypes of ml_dtypes for one."""
    token = import_dask("dask.base").tokenize(token_of(reader), tensor, dtype, chunks)
    return f"ztensor-{tensor}-{token}"
