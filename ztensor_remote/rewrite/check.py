"""Read a file to its last byte, in bounded memory, and compare it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..codecs import Hasher
from ..errors import FormatError, located
from ..reader import LazyTensor, Reader
from .copying import Chosen
from .feed import Feed, StoredBlob
from .stored import StoredElements, rearranged


def check_readable(reader: Reader) -> None:
    """Decode every component and compare it with its digest.

    Raises
    ------
    DigestError, FormatError, StoreError
    """
    for _ in _contents([reader[name] for name in reader]):
        pass


def check_same(chosen: Sequence[Chosen], written: Reader) -> None:
    """Compare the elements of tensors with those in a file that has no digests.

    Raises
    ------
    FormatError
        They are not the same.
    DigestError, StoreError
    """
    ours = _contents([each.tensor for each in chosen])
    theirs = _contents([written[each.name] for each in chosen])
    for each, first, second in zip(chosen, ours, theirs, strict=True):
        if first != second:
            raise FormatError(
                "the new file does not hold what was written to it; nothing is deleted",
                url=written.url,
                tensor=each.name,
            )


def _contents(tensors: Sequence[LazyTensor]) -> Iterator[list[str]]:
    """Yield the digests of the components of each tensor, decoded and in C order."""
    feed = Feed(
        StoredBlob(tensor._blobs, part)
        for tensor in tensors
        if not tensor._tensor.is_rearranged
        for part in tensor._tensor.components.values()
    )
    try:
        for tensor in tensors:
            yield [_content(tensor, role, feed) for role in tensor.components]
    finally:
        feed.close()


def _content(tensor: LazyTensor, role: str, feed: Feed) -> str:
    hasher = Hasher("crc32c")
    with located(url=tensor._blobs.source.url, tensor=tensor.name, component=role):
        if tensor._tensor.is_rearranged:
            for piece in rearranged(tensor, role):
                hasher.update(piece)
        else:
            part = tensor._tensor.components[role]
            lazy = tensor.components[role]
            StoredElements.of(lazy, tensor._blobs, part, feed).decode(hasher.update)
    return hasher.text()
