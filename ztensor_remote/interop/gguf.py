"""GGUF: metadata and tensors of llama.cpp, versions 1 to 3, in either byte order.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import FormatError, UnsupportedError
from ..manifest import Component, Manifest, Tensor
from ..manifest.dtypes import BY_STORAGE
from ..manifest.fields import MAX_RANK, element_count, shown
from .ggml import DENSE, QUANTIZED
from .gguf_values import Cursor, reject
from .peek import Peek

MAGIC = b"GGUF"

ALIGNMENT = "general.alignment"
DEFAULT_ALIGNMENT = 32
_SMALLEST_PAIR = 4 + 4 + 1
_SMALLEST_TENSOR = 4 + 4 + 4 + 8
"""Bytes that an entry takes at least, in the version with the short counts."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the header says of a tensor; the offset counts from the end of the header."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


def parse(peek: Peek) -> Manifest:
    """Return what a GGUF file says of itself.

    Raises
    ------
    FormatError, LimitError, UnsupportedError, StoreError
    """
    if bytes(peek.read(0, 4)) != MAGIC:
        reject("it does not begin with 'GGUF'")
    first = bytes(peek.read(4, 4))
    # Read in the wrong order, a small number is a large one.
    little = int.from_bytes(first, "little") < 1 << 16
    cursor = Cursor(peek, little=little)
    version = cursor.uint(4)
    if version not in (1, 2, 3) or (version < 3 and not little):
        raise UnsupportedError(f"GGUF version {version} can't be read; 1, 2 and 3 can")
    cursor.count_width = 4 if version == 1 else 8
    tensor_count, pair_count = cursor.count(_SMALLEST_TENSOR), cursor.count(_SMALLEST_PAIR)
    attributes = _attributes(cursor, pair_count)
    entries = [_entry(cursor) for _ in range(tensor_count)]
    alignment = _alignment(attributes)
    start = -(-cursor.at // alignment) * alignment
    tensors: dict[str, Tensor] = {}
    for entry in entries:
        if entry.name in tensors:
            reject(f"there are two tensors named {shown(entry.name)}")
        if entry.offset % alignment:
            reject(f"tensor {shown(entry.name)} is misaligned")
        tensors[entry.name] = _tensor(entry, start, peek.size, little=little)
    return Manifest("gguf", tensors, attributes, version_text=str(version))


def _attributes(cursor: Cursor, count: int) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for _ in range(count):
        key = cursor.name("a key")
        if key in attributes:
            reject(f"the key {shown(key)} is there twice")
        attributes[key] = cursor.value(cursor.uint(4))
    return attributes


def _alignment(attributes: dict[str, Any]) -> int:
    alignment = attributes.get(ALIGNMENT, DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        reject(f"{ALIGNMENT} is no power of two")
    return alignment


def _entry(cursor: Cursor) -> _Entry:
    name = cursor.name("a tensor's name")
    rank = cursor.uint(4)
    if rank > MAX_RANK:
        reject(f"tensor {shown(name)} has {rank} dimensions; the most is {MAX_RANK}")
    # The innermost dimension comes first.
    shape = tuple([cursor.uint(cursor.count_width) for _ in range(rank)][::-1])
    return _Entry(name, shape, cursor.uint(4), cursor.uint(8))


def _tensor(entry: _Entry, start: int, size: int, *, little: bool) -> Tensor:
    try:
        count = element_count(entry.shape)
        if entry.kind in DENSE:
            storage = DENSE[entry.kind]
            length, role, layout = BY_STORAGE[storage].nbytes(count), "data", "dense"
        else:
            storage, role = "u8", "blocks"
            length, layout = _quantized(entry, count)
        offset = start + entry.offset
        if offset + length > size and length:
            reject(f"the tensor has {length} bytes at {offset}, the file ends at {size}")
    except (FormatError, UnsupportedError) as error:
        raise error.at(tensor=entry.name) from None
    part = Component(storage, offset, length, big_endian=not little)
    return Tensor(entry.name, entry.shape, layout, {role: part})


def _quantized(entry: _Entry, count: int) -> tuple[int, str]:
    """Return the bytes of a tensor of blocks, and the name of its layout."""
    block = QUANTIZED.get(entry.kind)
    if block is None:
        raise UnsupportedError(f"the type {entry.kind} of GGML is unknown")
    if not entry.shape or entry.shape[-1] % block.elements:
        reject(f"rows of {entry.shape} are no whole blocks of {block.elements} elements")
    return count // block.elements * block.nbytes, block.layout
