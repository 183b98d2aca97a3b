"""Sources of Ray Data: the rows of stored tensors, or the tensors themselves as rows."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from ray.data import DataContext
from ray.data.block import BlockAccessor, BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from ..errors import UnsupportedError, located
from ..manifest.dtypes import dtype_named
from ..reader import Reader
from ..reader.arrays import Array
from ..reader.handle import Handle
from .chunking import chunks_of, groups_of
from .opening import opened
from .rows import row_count

Block: TypeAlias = "pa.Table"
Span: TypeAlias = "tuple[int, int]"

_TENSORS = pa.schema(
    {
        "name": pa.string(),
        "dtype": pa.string(),
        "shape": pa.list_(pa.int64()),
        "data": pa.large_binary(),
    }
)


class _Tensors(Datasource):  # type: ignore[misc]
    """Tensors of a file, in pieces of which each is a block, and read in one plan.

    Parameters
    ----------
    source : Reader, or a location as `Reader` takes it
    names : iterable of str, optional
        All tensors by default.
    **options
        Keyword arguments of `Reader`, where it is opened here.
    """

    def __init__(self, source: Any, names: Iterable[str] | None = None, **options: Any) -> None:
        super().__init__()
        with opened(source, options) as reader:
            self._handle = reader._handle
            self._names = [reader[name].name for name in (reader if names is None else names)]
            self._sizes = {name: reader[name].nbytes for name in self._names}
            self._check(reader)

    def estimate_inmemory_data_size(self) -> int:
        """Return the bytes of all elements."""
        return sum(self._sizes.values())

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """Return tasks that read neighbouring pieces, as many as are wanted if there are."""
        context = data_context or DataContext.get_current()
        share = -(-self.estimate_inmemory_data_size() // max(1, parallelism))
        pieces = self._pieces(max(1, min(share, context.target_max_block_size or share)))
        cuts = np.linspace(0, len(pieces), min(parallelism, len(pieces)) + 1).astype(int).tolist()
        return [
            self._task(pieces[start:stop], per_task_row_limit) for start, stop in pairwise(cuts)
        ]

    def _task(self, pieces: Sequence[Any], row_limit: int | None) -> ReadTask:
        rows, nbytes = map(sum, zip(*map(self._extent, pieces), strict=True))
        return ReadTask(
            partial(_blocks, self._read, self._handle, pieces),
            BlockMetadata(num_rows=rows, size_bytes=nbytes, input_files=None, exec_stats=None),
            schema=self._schema,
            per_task_row_limit=row_limit,
        )

    _schema: Any
    """Of all blocks, as Ray has it."""

    @abstractmethod
    def _check(self, reader: Reader) -> None:
        """Refuse what can't be read like this."""

    @abstractmethod
    def _pieces(self, most: int) -> Sequence[Any]:
        """Cut the tensors into pieces of about so many bytes."""

    @abstractmethod
    def _extent(self, piece: Any) -> tuple[int, int]:
        """Return the rows and bytes of a piece."""

    @property
    @abstractmethod
    def _read(self) -> Any:
        """Return what reads a block: a function of a reader and a piece."""


def _blocks(read: Any, handle: Handle, pieces: Sequence[Any]) -> Iterator[Block]:
    reader = handle.reader()
    return (read(reader, piece) for piece in pieces)


class RowDatasource(_Tensors):
    """The rows of tensors that have as many: row `i` has the `i`-th of each, in its column.

    ``ray.data.read_datasource(RowDatasource(url))`` makes a dataset. Its blocks are runs of rows,
    whole frames of compressed tensors where they can be.

    Parameters
    ----------
    source : Reader, or a location as `Reader` takes it
    names : iterable of str, optional
        All tensors by default.
    **options
        Keyword arguments of `Reader`, where it is opened here.

    Raises
    ------
    InvalidInputError
        The tensors are not dense, or have different numbers of rows.
    UnsupportedError
        Arrow, of which Ray's datasets are made, has no such dtype.
    TensorNotFoundError, FormatError, StoreError
    """

    def _check(self, reader: Reader) -> None:
        self._rows = row_count(reader, self._names)
        columns = {}
        for name in self._names:
            shape, dtype = reader[name].shape, reader[name].dtype
            with located(url=reader.url, tensor=name):
                _check_has(dtype)
            columns[name] = np.empty((0, *shape[1:]), dtype)
        self._schema = BlockAccessor.for_block(_table(columns)).schema()

    def _pieces(self, most: int) -> list[Span]:
        reader = self._handle.reader()
        largest = max(self._names, key=self._sizes.__getitem__)
        total = max(1, self.estimate_inmemory_data_size())
        share = math.ceil(most * self._sizes[largest] / total)
        step = max(1, chunks_of(reader[largest], max(1, share))[0])
        return [(start, min(start + step, self._rows)) for start in range(0, self._rows, step)] or [
            (0, 0)
        ]

    def _extent(self, piece: Span) -> tuple[int, int]:
        count = piece[1] - piece[0]
        return count, count * self.estimate_inmemory_data_size() // max(1, self._rows)

    @property
    def _read(self) -> Any:
        return partial(_read_rows, self._names)


def _check_has(dtype: np.dtype[Any]) -> None:
    """Refuse a dtype that Arrow lacks: Ray would make pickled objects of the rows."""
    try:
        pa.from_numpy_dtype(dtype)
    except pa.ArrowNotImplementedError:
        raise UnsupportedError(
            f"Arrow, of which Ray's datasets are made, has no {dtype.name}; leave it out, by "
            "names=, or take a TensorDatasource"
        ) from None


def _read_rows(names: Sequence[str], reader: Reader, span: Span) -> Block:
    return _table(reader.load(names, slices=dict.fromkeys(names, slice(*span))))


def _table(columns: Mapping[str, Array]) -> Block:
    if any(len(column) for column in columns.values()):
        return BlockAccessor.batch_to_block(columns)
    # Ray would make objects of them, instead of what other blocks have.
    row = {name: np.zeros((1, *array.shape[1:]), array.dtype) for name, array in columns.items()}
    return BlockAccessor.batch_to_block(row).slice(0, 0)


class TensorDatasource(_Tensors):
    """Tensors as rows of four columns: `name`, `dtype`, `shape` and `data`, the bytes.

    ``ray.data.read_datasource(TensorDatasource(url))`` makes a dataset; `array` makes an array of
    a row. Small neighbours share a block.

    Parameters
    ----------
    source : Reader, or a location as `Reader` takes it
    names : iterable of str, optional
        All tensors by default.
    **options
        Keyword arguments of `Reader`, where it is opened here.

    Raises
    ------
    UnsupportedError
        A tensor is not dense.
    TensorNotFoundError, FormatError, StoreError
    """

    _schema = _TENSORS

    def _check(self, reader: Reader) -> None:
        for name in self._names:
            if reader[name].layout != "dense":
                raise UnsupportedError(
                    f"layout {reader[name].format!r} has no row; leave it out, by names=, or take "
                    "ray.load()",
                    tensor=name,
                    url=reader.url,
                )

    def _pieces(self, most: int) -> list[list[str]]:
        return groups_of(self._sizes, most) or [[]]

    def _extent(self, piece: list[str]) -> tuple[int, int]:
        return len(piece), sum(self._sizes[name] for name in piece)

    @property
    def _read(self) -> Any:
        return _read_tensors


def _read_tensors(reader: Reader, names: Sequence[str]) -> Block:
    """Fetch tensors right into the memory of a block."""
    tensors = [reader[name] for name in names]
    edges = np.cumsum([0, *(tensor.nbytes for tensor in tensors)])
    memory = np.empty(edges[-1], np.uint8)
    arrays = {
        tensor.name: memory[start:stop].view(tensor.dtype).reshape(tensor.shape)
        for tensor, start, stop in zip(tensors, edges, edges[1:], strict=False)
    }
    reader.read_into(arrays)
    columns = [
        pa.array(names, pa.string()),
        pa.array([tensor.dtype.name for tensor in tensors], pa.string()),
        pa.array([list(tensor.shape) for tensor in tensors], _TENSORS.field("shape").type),
        pa.Array.from_buffers(
            pa.large_binary(), len(names), [None, pa.py_buffer(edges), pa.py_buffer(memory)]
        ),
    ]
    return pa.Table.from_arrays(columns, schema=_TENSORS)


def array(row: Mapping[str, Any]) -> Array:
    """Return the array that a row of a `TensorDatasource` stands for, a read-only view of it.

    Parameters
    ----------
    row : mapping
        With ``"dtype"``, ``"shape"`` and ``"data"``.
    """
    dtype = dtype_named(row["dtype"]).numpy()
    made: Array = np.frombuffer(row["data"], np.uint8).view(dtype).reshape(row["shape"])
    return made
