"""Dask arrays to a file that all workers write: each stores shards, the root comes last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ..errors import InvalidInputError, located
from ..manifest.dtypes import dtype_named
from ..stores import locate
from ..types import StorageOptions
from ..writer import Writer
from ..writer.assembly import DEFAULT, Options
from ..writer.elements import dtype_name
from ..writer.rules import Checksum
from .chunking import groups_of
from .dask import import_dask
from .sharded import Job, Written, discarding, publish, write_shard

_Header: TypeAlias = "tuple[str, tuple[int, ...], Any]"

SHARD_SIZE = 256 << 20


def to_zt(
    arrays: Mapping[str, Any],
    url: Any,
    *,
    storage_options: StorageOptions | None = None,
    fs: Any = None,
    compress: bool | int = False,
    checksum: Checksum | str | None = DEFAULT,
    attributes: Mapping[str, Any] | None = None,
    shard_size: int = SHARD_SIZE,
) -> None:
    """Compute arrays and store them as one model of version 2, written by the workers.

    Each worker stores shards, files beside `url` that begin with its name. The root, `url`, is
    written at the end by the caller's process: before that nothing appears, and after an error
    the shards are deleted. Those of a model that `url` was before stay where they are.

    Parameters
    ----------
    arrays : mapping of str to dask.array.Array
        Others are converted. The elements of a tensor, and of a shard of small ones, are together
        in the memory of one worker for a moment.
    url : str, PathLike or UPath
        On a filesystem that all workers reach.
    storage_options, fs, compress, checksum, attributes
        As for `Writer`; `attributes` are those of the file.
    shard_size : int
        Bytes of tensors that go to one shard. A larger tensor gets one of its own.

    Raises
    ------
    InvalidInputError, UnsupportedError
        Before anything is computed: a name, a dtype, or a shape that is not known.
    StoreError, MissingDependencyError
    """
    dask, da = import_dask("dask"), import_dask("dask.array")
    options = Options(compress, checksum, attributes)
    job = Job.to(locate(url, storage_options=storage_options, fs=fs), arrays, options)
    taken = {name: _checked(job, name, da.asarray(array)) for name, array in arrays.items()}
    write = dask.delayed(_write, pure=False)
    shards = [
        write(
            job,
            [_header(name, taken[name]) for name in group],
            [_blocks(taken[name]) for name in group],
        )
        for group in groups_of({name: array.nbytes for name, array in taken.items()}, shard_size)
    ]
    with discarding(job):
        publish(job, dask.compute(*shards), taken)


def _checked(job: Job, name: str, array: Any) -> Any:
    with located(url=job.place.url, tensor=name):
        if any(size != size for size in array.shape):
            raise InvalidInputError(
                "its shape is not known before it is computed; call compute_chunk_sizes() first"
            )
        dtype_named(dtype_name(array.dtype))
    return array


def _header(name: str, array: Any) -> _Header:
    return name, array.shape, array.dtype


def _blocks(array: Any) -> list[Any]:
    """Return the chunks as delayed values: cut along the first axis alone, so in C order."""
    rows = array.rechunk({axis: -1 for axis in range(1, array.ndim)})
    return list(rows.to_delayed().ravel())


def _write(job: Job, headers: Sequence[_Header], blocks: Sequence[list[Any]]) -> Written:
    def add(writer: Writer) -> None:
        for header, arrays in zip(headers, blocks, strict=True):
            with writer.stream_tensor(*header) as part:
                for array in arrays:
                    part.write(array)

    return write_shard(job, add)
