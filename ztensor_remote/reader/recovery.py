"""Find the last whole generation of a file whose end is torn (SPEC.md §13.2)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ..codecs import check_digest, is_checkable
from ..container import MAGIC_1, MAGIC_2, Footer, Generation, parse_footer
from ..errors import FormatError
from ..manifest import Component, Manifest, parse_manifest
from ..stores import MappedSource

_STEP = 4 << 20
FARTHEST = 1 << 30
"""Bytes of a torn tail that are searched."""

_MOST_TRIED = 10_000
"""Magic numbers that are tried, for a hostile file may be full of them."""

_MOST_PARSED = 4 << 20
"""Bytes of manifests that turn out to be none before the search is given up."""

_MOST_COMPARED = 16 << 20
"""Bytes of blobs that are compared with their digests, in all."""


def recover(source: MappedSource, *, farthest: int = FARTHEST) -> tuple[Footer, Manifest] | None:
    """Cut a source behind its last whole generation, if one ends within reach.

    Versions before 1.1 have no magic number at their end to look for.

    Parameters
    ----------
    source : MappedSource
    farthest : int
        Bytes from the end that are searched.

    Returns
    -------
    tuple of Footer and Manifest, or None
    """
    size = source.file_size
    head = bytes(source.look(0, min(8, size)))
    if head not in (MAGIC_1, MAGIC_2):
        return None
    parsed = compared = 0
    for end in islice(_ends(source, head, size, farthest), _MOST_TRIED):
        if parsed > _MOST_PARSED:
            return None
        try:
            footer = parse_footer(
                bytes(source.look(max(0, end - 40), min(40, end))), size=end, head=head
            )
            if footer is None or footer.is_data_shard:
                continue
            parsed += footer.manifest_length
            data = bytes(source.look(footer.manifest_offset, footer.manifest_length))
            manifest = parse_manifest(data, footer, size=end)
            for part in _comparable(footer, manifest):
                compared += part.length
                if compared > _MOST_COMPARED:
                    break
                assert part.digest is not None
                check_digest(part.digest, source.look(part.offset, part.length))
        except FormatError:
            continue
        source.cut(end)
        return footer, manifest
    return None


def _ends(source: MappedSource, magic: bytes, size: int, farthest: int) -> Iterator[int]:
    """Yield where the magic number ends, from the end of the file backwards."""
    stop = size
    while stop > len(magic) and size - stop < farthest:
        start = max(0, stop - _STEP)
        # Numbers may lie across the edge of two steps.
        piece = bytes(source.look(start, min(size, stop + len(magic) - 1) - start))
        found = piece.rfind(magic)
        while found >= 0:
            yield start + found + len(magic)
            found = piece.rfind(magic, 0, found + len(magic) - 1)
        stop = start


def _comparable(footer: Footer, manifest: Manifest) -> list[Component]:
    """Return the blobs whose digests tell whether a manifest is of this file, the smallest first.

    A file that is stored in a tensor has a footer too, but its offsets count from its own start.
    Version 2 states the manifest's offset and hash, which can't fit by chance.
    """
    if footer.generation is not Generation.V1_1:
        return []
    parts = [
        part
        for tensor in manifest.tensors.values()
        for part in tensor.components.values()
        if part.length and part.digest and is_checkable(part.digest, manifest.digest_algorithms)
    ]
    return sorted(parts, key=lambda part: part.length)
