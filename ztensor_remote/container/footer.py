"""Find the manifest from the last bytes of a file; write the bytes that let others find it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import FormatError
from .magic import MAGIC_0_1, MAGIC_1, MAGIC_2, Generation

TAIL_WINDOW = 64 * 1024 + 40
"""Bytes worth fetching from the end in one go: a manifest under 64 KiB with its footer."""

MAX_MANIFEST = 1 << 30
HEADER_SIZE = 8

_FOOTER_1_0 = struct.Struct("<Q")
_FOOTER_1_1 = struct.Struct("<Q8s")
_FOOTER_2 = struct.Struct("<QQQIxxxx8s")
_VERSION_2 = 2


@dataclass(frozen=True, slots=True)
class Footer:
    """Where the manifest lies.

    Attributes
    ----------
    generation : Generation
    manifest_offset, manifest_length : int
        In bytes. A version-2 data shard has no manifest: both are 0.
    manifest_hash : int or None
        XXH3-64 of the manifest; only version 2 states one.
    """

    generation: Generation
    manifest_offset: int
    manifest_length: int
    manifest_hash: int | None = None

    @property
    def is_data_shard(self) -> bool:
        """Whether the file is a heap of blobs that another file's manifest describes."""
        return self.generation is Generation.V2 and self.manifest_length == 0


def parse_footer(tail: bytes, *, size: int, head: bytes | None) -> Footer | None:
    """Locate the manifest.

    Parameters
    ----------
    tail : bytes
        The last bytes of the file, at least ``min(size, 40)`` of them.
    size : int
        Size of the whole file in bytes.
    head : bytes or None
        The first 8 bytes where they are at hand.

    Returns
    -------
    Footer or None
        None when the tail alone does not tell (0.1 and 1.0 files end in a plain length):
        call again with `head`.

    Raises
    ------
    FormatError
        Not a zTensor file, truncated, or the numbers don't fit the file's size.
    """
    if size < HEADER_SIZE + 8:
        raise FormatError(
            f"not a zTensor file: {size} bytes are too few for a header and a footer",
            rule="FileTooSmall",
        )
    generation = _generation(tail, head, size)
    if generation is None:
        return None
    if head is not None and head != generation.magic:
        raise FormatError(
            f"header {head!r} does not fit the version-{generation} footer; the file is damaged",
            rule="HeaderMagic",
        )
    return _PARSERS[generation](tail, size)


def _generation(tail: bytes, head: bytes | None, size: int) -> Generation | None:
    last = tail[-8:]
    if head == MAGIC_2 and size < HEADER_SIZE + _FOOTER_2.size:
        return Generation.V2  # whatever it ends in
    if head == MAGIC_2 and last != MAGIC_2:
        raise FormatError(
            "the version-2 footer is missing at the end: the file is truncated or was not finished",
            rule="FooterMagic",
        )
    if last == MAGIC_2:
        return Generation.V2
    if last == MAGIC_1:
        return Generation.V1_1
    if head is None:
        return None
    if head in (MAGIC_0_1, MAGIC_1):
        return Generation.V0_1 if head == MAGIC_0_1 else Generation.V1_0
    raise FormatError(f"not a zTensor file: it starts with {head!r}", rule="HeaderMagic")


def _parse_1_0(tail: bytes, size: int) -> Footer:
    (length,) = _FOOTER_1_0.unpack(tail[-8:])
    return _directly_before(Generation.V1_0, size, length)


def _parse_0_1(tail: bytes, size: int) -> Footer:
    (length,) = _FOOTER_1_0.unpack(tail[-8:])
    if not length and size > HEADER_SIZE + 8:
        # Only the smallest file has no manifest; a file cut off inside zeros ends like this too.
        raise FormatError("the footer is zero: the file is truncated", rule="ManifestBounds")
    return _directly_before(Generation.V0_1, size, length)


def _parse_1_1(tail: bytes, size: int) -> Footer:
    length, _ = _FOOTER_1_1.unpack(tail[-16:].rjust(16, b"\0"))
    return _directly_before(Generation.V1_1, size, length)


def _directly_before(generation: Generation, size: int, length: int) -> Footer:
    offset = size - generation.footer_size - length
    if offset < HEADER_SIZE:
        raise FormatError(
            f"the footer states a manifest of {length} bytes in a file of {size}: "
            "the file is truncated, damaged or not a zTensor file",
            rule="ManifestBounds",
        )
    _check_cap(length)
    return Footer(generation, offset, length)


def _parse_2(tail: bytes, size: int) -> Footer:
    if size < HEADER_SIZE + _FOOTER_2.size:
        raise FormatError(f"{size} bytes are too few for a version-2 file", rule="FileTooSmall")
    offset, length, digest, version, _ = _FOOTER_2.unpack(tail[-_FOOTER_2.size :])
    if version != _VERSION_2:
        raise FormatError(
            f"footer version {version} is not supported (2 is); a newer ztensor_remote may read it",
            rule="Version",
        )
    _check_cap(length)
    if length == 0 and (offset or digest):
        raise FormatError("an absent manifest has an offset or a hash", rule="ManifestBounds")
    if length and (offset % 4096 or offset < 4096):
        raise FormatError(f"manifest offset {offset} is misaligned", rule="BlobAlignment")
    if offset + length > size - _FOOTER_2.size:
        raise FormatError(
            f"manifest at {offset} of {length} bytes lies outside the file of {size}",
            rule="ManifestBounds",
        )
    return Footer(Generation.V2, offset, length, digest)


def _check_cap(length: int) -> None:
    if length > MAX_MANIFEST:
        raise FormatError(f"a manifest of {length} bytes is over 1 GiB", rule="ManifestTooLarge")


_PARSERS = {
    Generation.V0_1: _parse_0_1,
    Generation.V1_0: _parse_1_0,
    Generation.V1_1: _parse_1_1,
    Generation.V2: _parse_2,
}


def build_footer(footer: Footer) -> bytes:
    """Return the last bytes of a file whose manifest is where `footer` says."""
    if footer.generation is Generation.V2:
        return _FOOTER_2.pack(
            footer.manifest_offset,
            footer.manifest_length,
            footer.manifest_hash or 0,
            _VERSION_2,
            MAGIC_2,
        )
    length = _FOOTER_1_0.pack(footer.manifest_length)
    return length + MAGIC_1 if footer.generation is Generation.V1_1 else length
