"""Save distributed checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch.distributed.checkpoint import storage
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem, WriteItemType
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from ...errors import DuplicateNameError, UnsupportedError, located
from ...manifest import Shard, Tensor
from ...stores import Folder, Location, locate
from ...types import StorageOptions
from ...writer.assembly import Options
from ...writer.elements import elements_of
from .files import ROOT, RankFile, Root, file_of, is_file_of_rank, new_shard
from .metadata import KEY, attribute_of, chunk_name
from .values import to_attribute


@dataclass(frozen=True, slots=True)
class _StoredChunk:
    """What a rank tells the coordinator of a tensor that it has stored."""

    tensor: Tensor
    shard: str
    identity: Shard


@dataclass(frozen=True, slots=True)
class _StoredValue:
    """What is no tensor; it goes into the root."""

    attribute: Any


class StorageWriter(storage.StorageWriter):
    """Save checkpoints of `torch.distributed.checkpoint` in a folder of any filesystem.

    Each rank writes its tensors to a file of its own, and the coordinator a root that refers to
    them, ``checkpoint.zt``, a zTensor file of version 2. The checkpoint is there with the root; one
    that was there before is replaced by it. What is no tensor is stored as plain values.

    Parameters
    ----------
    url : str, PathLike or UPath
        The folder. ``checkpoint_id=`` takes its place, where that is given.
    storage_options, fs
        As for `open`.
    compress : bool or int, default False
        zstd for all tensors, as for `Writer`.

    Raises
    ------
    UnsupportedError
        A value that only pickle could store, or a save without a coordinator.
    StoreError

    Examples
    --------
    >>> dcp.save(state, storage_writer=StorageWriter("s3://bucket/step-7"))  # doctest: +SKIP
    """

    def __init__(
        self,
        url: Any = None,
        *,
        storage_options: StorageOptions | None = None,
        fs: Any = None,
        compress: bool | int = False,
    ) -> None:
        self._url = url
        self._options = {"storage_options": storage_options, "fs": fs}
        self._compress = compress

    @property
    def _folder(self) -> Location:
        return locate(self._url, **self._options)

    # --- the steps of a save, as torch calls them ---------------------------------------------

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Take another folder, if one is given."""
        if checkpoint_id is not None:
            self._url = checkpoint_id

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Make the folder, where a filesystem wants that."""
        if not kwargs.get("use_collectives", True):
            raise UnsupportedError(
                "a checkpoint needs a coordinator; leave no_dist and use_collectives"
            )
        if is_coordinator:
            Folder(self._folder).make()

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Leave the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Tell each rank the name of its file."""
        return [replace(plan, storage_data=new_shard(rank)) for rank, plan in enumerate(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write this rank's tensors; its values travel to the coordinator."""
        results = [
            WriteResult(item.index, 0, _StoredValue(_value_of(item, planner)))
            for item in plan.items
            if item.type is WriteItemType.BYTE_IO
        ]
        items = [item for item in plan.items if item.type is not WriteItemType.BYTE_IO]
        if items:
            results += self._write_tensors(plan.storage_data, items, planner)
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def _write_tensors(
        self, shard: str, items: list[WriteItem], planner: SavePlanner
    ) -> list[WriteResult]:
        file = RankFile(self._folder, shard, Options(self._compress))
        with file.failing_for_good():
            for item in items:
                tensor: Any = planner.resolve_data(item)
                elements = elements_of(tensor.detach().cpu())
                name = _name_of(item)
                file.add(name, elements.shape, "dense", {"data": elements}, Options())
            file.finalize()
        return [
            WriteResult(
                item.index,
                sum(part.length for part in tensor.components.values()),
                _StoredChunk(tensor, shard, file.shard),
            )
            for item, tensor in zip(items, file.tensors.values(), strict=True)
        ]

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write the root, and remove what ranks have left of other attempts."""
        stored = [result for of_rank in results for result in of_rank]
        values = {
            result.index.fqn: result.storage_data.attribute
            for result in stored
            if isinstance(result.storage_data, _StoredValue)
        }
        chunks = [
            result.storage_data
            for result in stored
            if isinstance(result.storage_data, _StoredChunk)
        ]
        shards = {chunk.shard: chunk.identity for chunk in chunks}
        attributes = {KEY: attribute_of(metadata, values)}
        Root(self._folder, _by_name(chunks), shards, attributes).finalize()
        folder = Folder(self._folder)
        kept = {file_of(shard) for shard in shards}
        folder.delete(
            name for name in folder.entries() if is_file_of_rank(name) and name not in kept
        )

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Say that any path and any URL will do."""
        return isinstance(checkpoint_id, str | os.PathLike)

    def __repr__(self) -> str:
        return f"<StorageWriter {self._folder.child(ROOT).url}>"


def _name_of(item: WriteItem) -> str:
    assert item.tensor_data is not None
    chunk = item.tensor_data.chunk
    return chunk_name(item.index.fqn, chunk.offsets, chunk.sizes, item.tensor_data.size)


def _value_of(item: WriteItem, planner: SavePlanner) -> Any:
    # resolve_data would pickle it.
    lookup = getattr(planner, "lookup_object", None)
    if lookup is None:
        raise UnsupportedError(
            f"{type(planner).__name__} has no lookup_object for {item.index.fqn}"
        )
    with located(tensor=item.index.fqn):
        return to_attribute(lookup(item.index))


def _by_name(chunks: list[_StoredChunk]) -> Mapping[str, Tensor]:
    found: dict[str, Tensor] = {}
    for chunk in chunks:
        if chunk.tensor.name in found:
            raise DuplicateNameError("two ranks have stored it", tensor=chunk.tensor.name)
        found[chunk.tensor.name] = chunk.tensor
    return found
