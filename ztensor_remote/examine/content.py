"""What a file holds, as one digest: equal where all tensors are, however they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..codecs import Hasher
from ..errors import UnsupportedError, located
from ..manifest import Component, Manifest, Tensor
from ..manifest.schema_2 import content_value
from ..reader import LazyTensor, Reader
from ..rewrite.feed import Feed, StoredBlob
from ..rewrite.places import opened
from ..rewrite.stored import StoredElements, rearranged
from ..types import StorageOptions
from ..writer.rules import rules_of

_RULES = rules_of("2")
_LAYOUTS = {"sparse_csr": _RULES.csr, "sparse_coo": _RULES.coo}


def content_id(source: Any, *, storage_options: StorageOptions | None = None) -> str:
    """Return the content digest of a file (SPEC.md §10.5).

    It is that of the published 2.x package: SHA-256 over names, shapes, layouts, attributes and
    digests of the tensors. Version-2 files state those digests; of all others every byte is read.

    Parameters
    ----------
    source : path, URL, bytes or Reader
    storage_options : mapping, optional
        As for `open`.

    Returns
    -------
    str
        ``"sha256:…"``.

    Raises
    ------
    UnsupportedError
        A data shard, or 0.1's sparse tensors.
    FormatError, DigestError, StoreError
    """
    with opened(source, storage_options) as [reader]:
        if reader.manifest.is_data_shard:
            raise UnsupportedError("a data shard has no tensors of its own", url=reader.url)
        content = content_value(_as_version_2(reader))
    assert content is not None
    hasher = Hasher("sha256")
    hasher.update(content)
    return hasher.text()


def _as_version_2(reader: Reader) -> Manifest:
    feed = Feed(_announced(reader))
    try:
        tensors = {name: _tensor(reader[name], feed) for name in reader}
    finally:
        feed.close()
    return Manifest("2", tensors)


def _announced(reader: Reader) -> Iterator[StoredBlob]:
    for tensor in reader.manifest.tensors.values():
        for part in tensor.components.values():
            if not _is_digested(reader, part) and not tensor.is_rearranged:
                yield StoredBlob(reader._blobs, part)


def _is_digested(reader: Reader, part: Component) -> bool:
    return reader.manifest.of(part).version == "2" and part.digest is not None


def _tensor(lazy: LazyTensor, feed: Feed) -> Tensor:
    tensor, parts = lazy._tensor, {}
    with located(url=lazy._reader.url, tensor=lazy.name):
        if tensor.format in ("sparsecsr", "sparsecoo") and not tensor.is_misnamed:
            raise UnsupportedError(
                "sparse tensors of 0.1 have another form in later versions; convert the file first"
            )
        for role, part in tensor.components.items():
            parts[role] = part
            if not _is_digested(lazy._reader, part):
                with located(component=role):
                    parts[role] = _part(lazy, role, feed)
    layout = _LAYOUTS.get(tensor.layout, tensor.format)
    return replace(tensor, format=layout, components=parts, strides=None)


def _part(lazy: LazyTensor, role: str, feed: Feed) -> Component:
    part = lazy._tensor.components[role]
    elements = StoredElements.of(lazy.components[role], lazy._blobs, part, feed)
    hasher = Hasher("xxh3")
    if not lazy._tensor.is_rearranged:
        elements.decode(hasher.update)
    else:
        for piece in rearranged(lazy, role):
            hasher.update(piece)
    storage, logical = _RULES.storage(elements.element)
    return replace(part, dtype=storage, logical=logical, digest=hasher.text())
