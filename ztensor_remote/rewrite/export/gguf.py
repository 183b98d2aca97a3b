"""Write GGUF, version 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from ...container import align_up
from ...errors import UnsupportedError
from ...interop.ggml import DENSE, QUANTIZED
from ...interop.gguf import ALIGNMENT, DEFAULT_ALIGNMENT, MAGIC
from ...manifest.dtypes import BY_STORAGE
from .gguf_values import text, value
from .item import LEAVE_OUT, Item, refuse
from .plan import HeadFirst, offsets_of

_VERSION = 3
_MOST_DIMENSIONS = 4
_LONGEST_NAME = 63
"""Bytes that llama.cpp takes."""

_KINDS = {BY_STORAGE[storage].name: kind for kind, storage in DENSE.items()}
_BLOCKS = {block.layout: kind for kind, block in QUANTIZED.items()}


def plan(items: Sequence[Item], attributes: Mapping[str, Any]) -> HeadFirst:
    """Return the file; attributes become its metadata.

    Raises
    ------
    UnsupportedError
    """
    alignment = _alignment(attributes)
    head = MAGIC + struct.pack("<IQQ", _VERSION, len(items), len(attributes))
    head += b"".join(_pair(key, each) for key, each in attributes.items())
    offsets = offsets_of(items, alignment)
    head += b"".join(_entry(item, at) for item, at in zip(items, offsets, strict=False))
    return HeadFirst(head.ljust(align_up(len(head), alignment), b"\0"), items, alignment)


def _alignment(attributes: Mapping[str, Any]) -> int:
    alignment = attributes.get(ALIGNMENT, DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment < 1 << 32 or alignment & (alignment - 1):
        raise UnsupportedError(f"{ALIGNMENT} is {alignment!r}, and must be a power of two")
    return alignment


def _pair(key: str, given: Any) -> bytes:
    encoded = value(given)
    if encoded is None:
        raise UnsupportedError(
            f"GGUF has numbers, bools, texts and lists of one of them, and attribute {key!r} is "
            f"none of these; {LEAVE_OUT}"
        )
    kind, data = encoded
    return text(key) + struct.pack("<I", kind) + data


def _entry(item: Item, offset: int) -> bytes:
    if len(item.shape) > _MOST_DIMENSIONS:
        raise refuse(item, f"GGUF has {_MOST_DIMENSIONS} dimensions at most, not {len(item.shape)}")
    if len(item.name.encode()) > _LONGEST_NAME:
        raise refuse(item, f"GGUF has names of {_LONGEST_NAME} bytes at most")
    dims = struct.pack(f"<I{len(item.shape)}Q", len(item.shape), *reversed(item.shape))
    return text(item.name) + dims + struct.pack("<IQ", _kind(item), offset)


def _kind(item: Item) -> int:
    if item.layout in _BLOCKS and not item.part.big_endian:
        return _BLOCKS[item.layout]
    kind = _KINDS.get(item.element.name) if item.layout == "dense" else None
    if kind is None:
        what = item.element.name if item.layout == "dense" else f"big-endian {item.layout}"
        raise refuse(item, f"GGUF has no {what}")
    return kind
