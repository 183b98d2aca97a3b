"""Read a file to its last byte, in bounded memory, and compare it with its digests."""

from __future__ import annotations

from ..errors import located
from ..reader import Reader
from .feed import Feed, StoredBlob
from .stored import StoredElements


def check_readable(reader: Reader) -> None:
    """Decode every component and compare it with its digest.

    Raises
    ------
    DigestError, FormatError, StoreError
    """
    parts = [
        (reader[name], role, part)
        for name, tensor in reader.manifest.tensors.items()
        for role, part in tensor.components.items()
    ]
    feed = Feed(StoredBlob(reader._blobs, part) for _, _, part in parts)
    try:
        for tensor, role, part in parts:
            with located(url=reader.url, tensor=tensor.name, component=role):
                lazy = tensor.components[role]
                StoredElements.of(lazy, reader._blobs, part, feed).decode(lambda data: None)
    finally:
        feed.close()
