"""What torch wants to know of a checkpoint, as an attribute of its root, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from ...errors import FormatError
from .values import from_attribute, to_attribute

KEY = "torch.distributed.checkpoint"
"""The attribute."""


def chunk_name(
    fqn: str, offsets: tuple[int, ...], sizes: tuple[int, ...], of: tuple[int, ...]
) -> str:
    """Return the name of a tensor that is a part of another one, or all of it."""
    if sizes == of:
        return fqn
    ranges = (f"{start}:{start + size}" for start, size in zip(offsets, sizes, strict=True))
    return f"{fqn}[{', '.join(ranges)}]"


def attribute_of(metadata: Metadata, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attribute.

    Parameters
    ----------
    metadata : Metadata
    values : mapping
        What is no tensor, as `to_attribute` returns it.

    Raises
    ------
    UnsupportedError
    """
    tensors = {
        fqn: _of_tensor(stored)
        for fqn, stored in metadata.state_dict_metadata.items()
        if isinstance(stored, TensorStorageMetadata)
    }
    return {
        "version": 1,
        "tensors": tensors,
        "values": dict(values),
        "planner_data": to_attribute(metadata.planner_data),
    }


def _of_tensor(stored: TensorStorageMetadata) -> dict[str, Any]:
    return {
        "dtype": str(stored.properties.dtype).removeprefix("torch."),
        "requires_grad": stored.properties.requires_grad,
        "shape": list(stored.size),
        "chunks": [[list(chunk.offsets), list(chunk.sizes)] for chunk in stored.chunks],
    }


def metadata_of(attributes: Mapping[str, Any]) -> Metadata:
    """Return what the attribute tells; `storage_data` has the stored name of each chunk.

    Raises
    ------
    FormatError
        There is none, or it is damaged.
    """
    stated = attributes.get(KEY)
    if not isinstance(stated, Mapping) or stated.get("version") != 1:
        raise FormatError("this is no checkpoint that StorageWriter has written, or a later one")
    try:
        return _metadata_of(stated)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"the metadata of the checkpoint is damaged: {error!r}") from None


def _metadata_of(stated: Mapping[str, Any]) -> Metadata:
    found: dict[str, TensorStorageMetadata | BytesStorageMetadata] = {}
    names: dict[MetadataIndex, str] = {}
    for fqn, tensor in stated["tensors"].items():
        shape = torch.Size(tensor["shape"])
        chunks = [
            ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes))
            for offsets, sizes in tensor["chunks"]
        ]
        dtype = getattr(torch, tensor["dtype"])
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"{tensor['dtype']} is no dtype")
        properties = TensorProperties(dtype=dtype, requires_grad=bool(tensor["requires_grad"]))
        found[fqn] = TensorStorageMetadata(properties, shape, chunks)
        for chunk in chunks:
            name = chunk_name(fqn, chunk.offsets, chunk.sizes, shape)
            names[MetadataIndex(fqn, chunk.offsets)] = name
    found |= dict.fromkeys(stated["values"], BytesStorageMetadata())
    return Metadata(found, from_attribute(stated["planner_data"]), storage_data=names)
