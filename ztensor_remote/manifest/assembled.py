"""One manifest over several files: each component names the file that holds it, as a shard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import DuplicateNameError, InvalidInputError
from .model import Component, Foreign, Manifest, Tensor, Version


def assembled(files: Mapping[str, Manifest]) -> Manifest:
    """Return what several files say together.

    Parameters
    ----------
    files : mapping of str to Manifest
        In the order in which their tensors follow each other. The shards of a root among them are
        named after it: ``"root.zt/shard"``.

    Raises
    ------
    DuplicateNameError
        Two of them have a tensor of one name.
    """
    tensors: dict[str, Tensor] = {}
    owners: dict[str, str] = {}
    for file, manifest in files.items():
        for name, tensor in manifest.tensors.items():
            if name in owners:
                raise DuplicateNameError(
                    f"there are two tensors of this name, in {owners[name]!r} and in {file!r}; "
                    "open files that have no name in common",
                    tensor=name,
                )
            owners[name] = file
            tensors[name] = _in_file(tensor, file)
    shards = {
        shard_of(file, name): shard
        for file, manifest in files.items()
        for name, shard in manifest.shards.items()
    }
    rules = {
        shard_of(file, name): manifest
        for file, manifest in files.items()
        for name in manifest.shards
    }
    for name in rules.keys() & files.keys():
        raise InvalidInputError(
            f"{name!r} is one of the files, and a shard of another; leave it out"
        )
    return Manifest(
        _common_version(files.values()),
        tensors,
        attributes=merged_attributes(manifest.attributes for manifest in files.values()),
        shards=shards,
        files={**files, **rules},
    )


def shard_of(file: str, shard: str | None) -> str:
    """Return the name of a file, or of a shard that it refers to, among several files."""
    return file if shard is None else f"{file}/{shard}"


def merged_attributes(each: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the attributes of all files; the first that has one has the last word."""
    merged: dict[str, Any] = {}
    for attributes in each:
        for key, value in attributes.items():
            merged.setdefault(key, value)
    return merged


def _in_file(tensor: Tensor, file: str) -> Tensor:
    parts: dict[str, Component] = {
        role: replace(part, shard=shard_of(file, part.shard))
        for role, part in tensor.components.items()
    }
    return replace(tensor, components=parts)


def _common_version(files: Iterable[Manifest]) -> Version | Foreign:
    versions = {manifest.version for manifest in files if not manifest.is_data_shard}
    return versions.pop() if len(versions) == 1 else "mixed"
