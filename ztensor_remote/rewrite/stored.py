"""A component of one file on its way to another: as it is stored, or decoded piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..codecs import Hasher, compare_digests, is_checkable, too_long, too_short
from ..errors import LimitError, UnsupportedError
from ..manifest import Component
from ..manifest.dtypes import BY_NAME, BY_STORAGE, DType, storage_width
from ..manifest.validate import check_expansion, check_whole
from ..reader import Blobs, LazyComponent, LazyTensor
from ..reader.blocks import blocks
from ..reader.decoding import DECODABLE, decoder_of
from ..writer.rules import Rules
from .feed import Feed, StoredBlob

Write = Callable[[memoryview], object]


@dataclass(frozen=True)
class StoredElements:
    """Elements that a file holds.

    Attributes
    ----------
    blobs : Blobs
    part : Component
    stated : int or None
        Decoded bytes, where manifest or shape tell.
    feed : Feed
        Where its bytes come from, when it is its turn.
    """

    blobs: Blobs
    part: Component
    stated: int | None
    feed: Feed

    @classmethod
    def of(cls, lazy: LazyComponent, blobs: Blobs, part: Component, feed: Feed) -> StoredElements:
        """Return the elements of a component."""
        return cls(blobs, part, lazy.decoded_length, feed)

    @cached_property
    def element(self) -> DType:
        """The element type; of the stored words, where their meaning is unknown."""
        part = self.part
        try:
            return BY_NAME[part.element.numpy().name]
        except UnsupportedError:
            stored = BY_STORAGE[part.dtype]
            return DType(str(part.logical), part.dtype, part.logical, stored.bits)

    @cached_property
    def nbytes(self) -> int:
        """Decoded bytes; where nothing states them, they are decoded to be counted."""
        if self.stated is not None:
            return self.stated
        count = 0

        def add(data: memoryview) -> None:
            nonlocal count
            count += len(data)
            if count > self.blobs.limits.max_decoded:
                raise LimitError(
                    f"it decodes to more than the limit of {self.blobs.limits.max_decoded} bytes"
                )

        feed = Feed([StoredBlob(self.blobs, self.part)])
        try:
            _decode(feed.take(self.part), add, self.part)
        finally:
            feed.close()
        return count

    def is_storable(self, rules: Rules) -> bool:
        """Whether a file of these rules can hold the bytes as they are stored."""
        part = self.part
        if part.big_endian:
            return False
        covers_decoded = self.blobs.manifest.of(part).digests_cover_decoded
        return part.is_raw or (
            part.encoding == rules.zstd
            and self.stated is not None
            and covers_decoded == rules.digests_cover_decoded
        )

    @property
    def has_digest_of_stored(self) -> bool:
        """Whether its digest, if any, is over the bytes as they are stored."""
        return self.part.is_raw or not self.blobs.manifest.of(self.part).digests_cover_decoded

    def stored(self) -> Iterator[memoryview]:
        """Yield the stored bytes, and compare them with their digest if it is over them.

        Raises
        ------
        DigestError, StoreError
        """
        pieces = self.feed.take(self.part)
        return self._compared(pieces) if self.has_digest_of_stored else pieces

    def decode(self, write: Write) -> None:
        """Hand on the decoded bytes, little-endian, and compare them with the digest.

        Raises
        ------
        UnsupportedError, FormatError, DigestError, StoreError
        """
        part = self.part
        check_whole(part)
        if part.is_raw:
            for piece in self.stored():
                write(_little(piece, part))
            return
        expected = self.nbytes
        check_expansion(part, expected, "the component")
        hasher = None if self.has_digest_of_stored else self._hasher()
        count = 0
        write = _in_little(write, part)

        def take(data: memoryview) -> None:
            nonlocal count
            count += len(data)
            if count > expected:
                raise too_long(expected)
            if hasher is not None:
                hasher.update(data)
            write(data)

        _decode(self.stored(), take, part)
        if count != expected:
            raise too_short(count, expected)
        if hasher is not None:
            compare_digests(hasher.text(), str(part.digest))

    def _compared(self, pieces: Iterator[memoryview]) -> Iterator[memoryview]:
        hasher = self._hasher()
        for piece in pieces:
            if hasher is not None:
                hasher.update(piece)
            yield piece
        if hasher is not None:
            compare_digests(hasher.text(), str(self.part.digest))

    def _hasher(self) -> Hasher | None:
        digest = self.part.digest
        if digest is None or not self.blobs.verify:
            return None
        if not is_checkable(digest, self.blobs.manifest.of(self.part).digest_algorithms):
            return None
        return Hasher(digest.partition(":")[0])  # type: ignore[arg-type]


def _decode(pieces: Iterator[memoryview], write: Write, part: Component) -> None:
    if part.encoding not in DECODABLE:
        raise UnsupportedError(
            f"encoding {part.encoding!r} is unknown; the stored bytes can't be decoded"
        )
    decoder = decoder_of(part, lambda data: write(memoryview(data)))
    for piece in pieces:
        decoder.feed(piece)
    decoder.finish()


def _little(piece: memoryview, part: Component) -> memoryview:
    width = storage_width(part.dtype)
    if not part.big_endian or width == 1:
        return piece
    return np.frombuffer(piece, f"u{width}").byteswap().view(np.uint8).data


def _in_little(write: Write, part: Component) -> Write:
    """Return what takes pieces of any lengths, and writes their elements little-endian."""
    width = storage_width(part.dtype)
    if not part.big_endian or width == 1:
        return write
    rest = bytearray()

    def swap(data: memoryview) -> None:
        rest.extend(data)
        whole = len(rest) // width * width
        write(_little(memoryview(bytes(rest[:whole])), part))
        del rest[:whole]

    return swap


def rearranged(tensor: LazyTensor, role: str) -> Iterator[memoryview]:
    """Yield the elements of a component that are in another form, as a file of zTensor has them.

    Raises
    ------
    FormatError, StoreError
    """
    is_dense = tensor.layout == "dense"
    for block in blocks(tensor) if is_dense else [tensor.components[role].numpy()]:
        yield np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
