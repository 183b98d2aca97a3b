"""Load distributed checkpoints: of each tensor just what a rank needs."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any, TypeAlias

import torch
from torch.distributed.checkpoint import storage
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, LoadPlanner, ReadItem
from torch.futures import Future

from ...errors import FormatError, located
from ...reader import Reader
from ...stores import locate
from ..staging import fill
from .files import ROOT
from .metadata import KEY, metadata_of
from .values import from_attribute

_Part: TypeAlias = tuple[str, ReadItem, torch.Tensor]

_BATCH = 64 << 20
"""Bytes of the parts of tensors that are held at once."""


class StorageReader(storage.StorageReader):
    """Load checkpoints that `StorageWriter` has saved, on any number of ranks.

    Parameters
    ----------
    url : str, PathLike or UPath
        The folder. ``checkpoint_id=`` takes its place, where that is given.
    **options
        Keyword arguments of `Reader`: ``storage_options=``, ``fs=``, ``cache=``, ``limits=``, …

    Raises
    ------
    NotFoundError
        There is no checkpoint, or none that was finished.
    FormatError, DigestError, StoreError

    Examples
    --------
    >>> dcp.load(state, storage_reader=StorageReader("s3://bucket/step-7"))  # doctest: +SKIP
    """

    def __init__(self, url: Any = None, **options: Any) -> None:
        self._url = url
        self._options = options
        self._reader: Reader | None = None
        self._names: dict[Any, str] = {}

    # --- the steps of a load, as torch calls them ---------------------------------------------

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Take another folder, if one is given, and look anew at what is there."""
        if checkpoint_id is not None:
            self._url = checkpoint_id
        self._close()

    def _opened(self) -> Reader:
        if self._reader is None:
            options = dict(self._options)
            place = {key: options.pop(key, None) for key in ("storage_options", "fs", "mmap")}
            self._reader = Reader(locate(self._url, **place).child(ROOT), **options)
        return self._reader

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Return what the root tells; one request."""
        reader = self._opened()
        with located(url=reader.url):
            metadata = metadata_of(reader.attributes)
        metadata.storage_meta = StorageMeta()
        return metadata

    def set_up_storage_reader(
        self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any
    ) -> None:
        """Take the names of the chunks."""
        self._names = metadata.storage_data

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """Leave the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """Leave the plans as they are."""
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Read what the plan asks for, into the tensors that it names."""
        reader = self._opened()
        tensors = [item for item in plan.items if item.type is LoadItemType.TENSOR]
        targets = [planner.resolve_tensor(item) for item in tensors]
        self._read(reader, list(zip(tensors, targets, strict=True)))
        for item, target in zip(tensors, targets, strict=True):
            planner.commit_tensor(item, target)
        values = reader.attributes[KEY]["values"]
        for item in plan.items:
            if item.type is LoadItemType.BYTE_IO:
                planner.load_bytes(item, _as_torch_saves(values, item.storage_index.fqn))
        self._close()
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _read(self, reader: Reader, items: list[tuple[ReadItem, torch.Tensor]]) -> None:
        whole, parts = {}, []
        for item, target in items:
            name = self._names[item.storage_index]
            if tuple(item.lengths) == reader[name].shape and name not in whole:
                whole[name] = target
            else:
                parts.append((name, item, target))
        fill(reader, whole)
        for batch in _batches(parts):
            _read_parts(reader, batch)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Say that any path and any URL will do."""
        return isinstance(checkpoint_id, str | os.PathLike)


def _batches(parts: list[_Part]) -> Iterator[dict[str, _Part]]:
    """Group parts that are read in one plan: none too much, and no tensor twice."""
    batch: dict[str, _Part] = {}
    size = 0
    for part in parts:
        name, _, target = part
        if batch and (name in batch or size + target.nbytes > _BATCH):
            yield batch
            batch, size = {}, 0
        batch[name] = part
        size += target.nbytes
    if batch:
        yield batch


def _read_parts(reader: Reader, batch: dict[str, _Part]) -> None:
    slices = {name: _key_of(item) for name, item, _ in batch.values()}
    loaded = reader.load(batch, slices=slices, to="torch")
    with torch.no_grad():
        for name, _, target in batch.values():
            target.detach().copy_(loaded[name])


def _key_of(item: ReadItem) -> tuple[slice, ...]:
    return tuple(
        slice(start, start + length)
        for start, length in zip(item.storage_offsets, item.lengths, strict=True)
    )


def _as_torch_saves(values: Any, fqn: str) -> io.BytesIO:
    """Return a value the way planners take it: pickled here, from what is no pickle."""
    if fqn not in values:
        raise FormatError("the checkpoint has no such value", tensor=fqn)
    data = io.BytesIO()
    torch.save(from_attribute(values[fqn]), data)
    data.seek(0)
    return data
