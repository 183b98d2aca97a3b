"""Equal bytes, stored once: tied weights, and canonical files (SPEC.md §10.4, §13.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ..manifest import Component
from ..manifest.dtypes import DType
from .rules import Checksum, Rules


class SharedBlobs:
    """Blobs of a file by their content, and by how they were asked to be stored.

    The bytes that were written are gone by the time an equal blob comes, so a cryptographic hash
    stands for them. A blob is shared only by those who asked for the same compression and the same
    digest: none gets a component with another digest than it wanted, or with none.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._blobs: dict[tuple[bytes, int | None, Checksum | None], Component] = {}

    @staticmethod
    def content_of(chunks: Iterable[memoryview]) -> bytes:
        """Return the SHA-256 of a blob's decoded bytes."""
        content = hashlib.sha256()
        for chunk in chunks:
            content.update(chunk)
        return content.digest()

    def keep(
        self, content: bytes, level: int | None, checksum: Checksum | None, component: Component
    ) -> None:
        """Remember where a content lies."""
        self._blobs[content, level, checksum] = component

    def find(
        self, content: bytes, level: int | None, checksum: Checksum | None, element: DType
    ) -> Component | None:
        """Return a component of `element` over a blob with this content, if there is one."""
        blob = self._blobs.get((content, level, checksum))
        if blob is None:
            return None
        storage, logical = self._rules.storage(element)
        return Component(
            storage,
            blob.offset,
            blob.length,
            logical,
            blob.encoding,
            blob.decoded_length,
            blob.digest,
        )
