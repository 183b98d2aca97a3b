"""The magic numbers and the container generations they stand for (SPEC.md §1)."""

from __future__ import annotations

from enum import StrEnum

MAGIC_0_1 = b"ZTEN0001"
MAGIC_1 = b"ZTEN1000"
MAGIC_2 = b"\x89ZT2\r\n\x1a\n"


class Generation(StrEnum):
    """A container layout. 1.1 and 1.2 files share one; only their manifests differ."""

    V0_1 = "0.1"
    V1_0 = "1.0"
    V1_1 = "1.1"
    V2 = "2"

    @property
    def magic(self) -> bytes:
        """The first 8 bytes of a file."""
        return {Generation.V0_1: MAGIC_0_1, Generation.V2: MAGIC_2}.get(self, MAGIC_1)

    @property
    def footer_size(self) -> int:
        """Bytes between the end of the manifest and the end of the file."""
        return {Generation.V1_1: 16, Generation.V2: 40}.get(self, 8)
