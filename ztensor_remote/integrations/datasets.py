"""Data sets of PyTorch over files of tensors and over logs, for any number of workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ..log import CheckpointLog
from ..reader import Reader
from .rows import row_count

Row = dict[str, torch.Tensor]


class RowDataset(Dataset[Row]):
    """The rows of tensors that have as many: row `i` is the `i`-th of each.

    A batch is read in one plan. It pickles, and survives a fork, so `DataLoader` may have workers
    of any kind.

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
    TensorNotFoundError, StoreError
    """

    def __init__(self, source: Any, names: Iterable[str] | None = None, **options: Any) -> None:
        self._reader = source if isinstance(source, Reader) else Reader(source, **options)
        self._names = list(self._reader if names is None else names)
        self._length = row_count(self._reader, self._names)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Row:
        """Return one row."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Row]:
        """Return many rows, read in one plan; `DataLoader` asks for its batches by this."""
        chosen = np.asarray(indices, np.int64)
        slices = dict.fromkeys(self._names, chosen)
        loaded = self._reader.load(self._names, slices=slices, to="torch")
        return [
            {name: tensor[number] for name, tensor in loaded.items()}
            for number in range(len(chosen))
        ]


class StepDataset(IterableDataset[tuple[int, Row]]):
    """The steps of a log, ascending, each with its tensors; workers share them out.

    Parameters
    ----------
    source : CheckpointLog, or a location as `CheckpointLog` takes it
    names : iterable of str, optional
        All tensors by default.
    **options
        Keyword arguments of `CheckpointLog`, where it is opened here.

    Raises
    ------
    TensorNotFoundError, StoreError
        As a step is read.
    """

    def __init__(self, source: Any, names: Iterable[str] | None = None, **options: Any) -> None:
        is_log = isinstance(source, CheckpointLog)
        self._log = source if is_log else CheckpointLog(source, **options)
        self._names = None if names is None else list(names)

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        worker = get_worker_info()
        first, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for step in self._log.steps()[first::count]:
            with self._log[step] as reader:
                yield step, reader.load(self._names, to="torch")
