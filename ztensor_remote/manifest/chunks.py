"""The component key `chunk_digests`, which other readers pass over (SPEC.md §13.5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .model import ChunkDigests, Component

KEY = "chunk_digests"
_ALGORITHM = "crc32c"


def with_chunk_digests(part: Component, fields: dict[Any, Any]) -> Component:
    """Return the component with what its fields say of chunks.

    Whatever else somebody may keep under this key is passed over: no reader has to know it.
    """
    stated = fields.get(KEY)
    if not isinstance(stated, dict) or stated.get("algorithm") != _ALGORITHM or not part.is_raw:
        return part
    size, values = stated.get("size"), stated.get("values")
    if type(size) is not int or size < 1 or not isinstance(values, bytes):
        return part
    if len(values) != 4 * -(-part.length // size):
        return part
    return replace(part, chunk_digests=ChunkDigests(size, values))


def chunk_fields(part: Component) -> dict[str, Any]:
    """Return the key and its value, for a component that has chunk digests."""
    chunks = part.chunk_digests
    if chunks is None:
        return {}
    return {KEY: {"algorithm": _ALGORITHM, "size": chunks.size, "values": chunks.values}}
