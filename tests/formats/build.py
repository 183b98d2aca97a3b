"""An encoder of the tests' own: files made by hand, valid or broken in just one place.

It shares nothing with the library's writer, so that a mistake there can't hide one in the reader.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import cbor2
import xxhash
import zstandard

MAGIC_0_1 = b"ZTEN0001"
MAGIC_1 = b"ZTEN1000"
MAGIC_2 = b"\x89ZT2\r\n\x1a\n"

EIGHT = b"\xab" * 8
"""The blob of most files here."""


class Raw(bytes):
    """CBOR that goes in as it is."""


class Pairs(list[tuple[Any, Any]]):
    """A map in this order, repeated keys and all."""


class Indefinite:
    """A list or map of indefinite length."""

    def __init__(self, value: Any) -> None:
        self.value = value


def cbor(value: Any, *, sort: bool = False) -> bytes:
    """Return the CBOR of a value; maps keep their order unless `sort` (RFC 8949 §4.2.1)."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, Indefinite):
        return (
            (b"\xbf" if isinstance(value.value, dict) else b"\x9f") + _items(value, sort) + b"\xff"
        )
    if isinstance(value, dict | Pairs):
        pairs = value.items() if isinstance(value, dict) else value
        encoded = [(cbor(key, sort=sort), cbor(item, sort=sort)) for key, item in pairs]
        if sort and isinstance(value, dict):
            encoded.sort()
        return head(5, len(encoded)) + b"".join(key + item for key, item in encoded)
    if isinstance(value, list | tuple):
        return head(4, len(value)) + b"".join(cbor(item, sort=sort) for item in value)
    return cbor2.dumps(value, canonical=True)


def _items(indefinite: Indefinite, sort: bool) -> bytes:
    value = indefinite.value
    flat = itertools.chain.from_iterable(value.items()) if isinstance(value, dict) else value
    return b"".join(cbor(item, sort=sort) for item in flat)


def head(major: int, argument: int) -> bytes:
    """Return the shortest CBOR head."""
    if argument < 24:
        return bytes([major << 5 | argument])
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * width:
            return bytes([major << 5 | info]) + argument.to_bytes(width, "big")
    raise AssertionError(argument)


def wide(major: int, argument: int) -> Raw:
    """Return a head of 8 bytes, however small the number."""
    return Raw(bytes([major << 5 | 27]) + argument.to_bytes(8, "big"))


def lay_out(start: bytes, blobs: Mapping[int, bytes]) -> bytearray:
    """Return a file's beginning and its blobs, each at its offset."""
    data = bytearray(start)
    for offset, blob in blobs.items():
        data.extend(bytes(max(0, offset + len(blob) - len(data))))
        data[offset : offset + len(blob)] = blob
    return data


def align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


# --- version 2 ------------------------------------------------------------------------------------


def footer_2(
    offset: int,
    manifest: bytes,
    *,
    length: int | None = None,
    digest: int | None = None,
    version: int = 2,
    reserved: int = 0,
    magic: bytes = MAGIC_2,
) -> bytes:
    """Return 40 bytes that locate `manifest`, with any of them bent."""
    return struct.pack(
        "<QQQII8s",
        offset,
        len(manifest) if length is None else length,
        xxhash.xxh3_64_intdigest(manifest) if digest is None else digest,
        version,
        reserved,
        magic,
    )


def file_2(
    root: Any,
    blobs: Mapping[int, bytes] | None = None,
    *,
    at: int | None = None,
    gap: bytes = b"",
    magic: bytes = MAGIC_2,
    **footer: Any,
) -> bytes:
    """Return a version-2 file; `root` is a value to encode, or the manifest's bytes as `Raw`."""
    manifest = cbor(root, sort=True)
    data = lay_out(magic, {4096: EIGHT} if blobs is None else blobs)
    offset = align(max(len(data), 4096), 4096) if at is None else at
    data = lay_out(data, {offset: manifest})
    return bytes(data) + gap + footer_2(offset, manifest, **footer)


def part_2(**fields: Any) -> dict[str, Any]:
    """Return a part of 8 bytes; a field that is given as `...` is left out."""
    return _without_gaps({"dtype": "u8", "blob": [4096, 8]} | fields)


def object_2(**fields: Any) -> dict[str, Any]:
    """Return a dense object of 8 bytes."""
    return _without_gaps({"shape": [8], "layout": "dense", "parts": {"data": part_2()}} | fields)


def root_2(objects: Any = None, **fields: Any) -> dict[str, Any]:
    """Return a manifest of one dense object ``t``, or of `objects`."""
    return _without_gaps({"objects": {"t": object_2()} if objects is None else objects} | fields)


def one_2(**fields: Any) -> dict[str, Any]:
    """Return a manifest whose one object ``t`` has these fields."""
    return root_2({"t": object_2(**fields)})


def dense_2(shape: list[Any], **fields: Any) -> dict[str, Any]:
    """Return a manifest of one dense object ``t`` whose part has these fields."""
    return one_2(shape=shape, parts={"data": part_2(**fields)})


def seekable(frames: Iterable[tuple[bytes, int]], **bent: Any) -> bytes:
    """Return frames (stored bytes, stated decoded length) with their seek table."""
    frames = list(frames)
    entries = b"".join(struct.pack("<II", len(stored), size) for stored, size in frames)
    entries = bent.get("entries", entries)
    count = bent.get("count", len(frames))
    descriptor, magic = bent.get("descriptor", 0), bent.get("magic", 0x8F92EAB1)
    body = entries + struct.pack("<IBI", count, descriptor, magic)
    frame = struct.pack("<II", bent.get("frame", 0x184D2A5E), bent.get("size", len(body)))
    return b"".join(stored for stored, _ in frames) + frame + body


# --- versions 0.1 and 1.x -------------------------------------------------------------------------


def file_0_1(
    entries: Any, blobs: Mapping[int, bytes] | None = None, *, length: int | None = None
) -> bytes:
    """Return a version-0.1 file."""
    return _file_1(MAGIC_0_1, entries, blobs, length, b"")


def file_1_0(
    root: Any, blobs: Mapping[int, bytes] | None = None, *, length: int | None = None
) -> bytes:
    """Return a version-1.0 file."""
    return _file_1(MAGIC_1, root, blobs, length, b"")


def file_1_2(
    root: Any, blobs: Mapping[int, bytes] | None = None, *, length: int | None = None
) -> bytes:
    """Return a version-1.1 or 1.2 file."""
    return _file_1(MAGIC_1, root, blobs, length, MAGIC_1)


def _file_1(
    magic: bytes, root: Any, blobs: Mapping[int, bytes] | None, length: int | None, end: bytes
) -> bytes:
    manifest = cbor(root)
    data = lay_out(magic, {64: EIGHT} if blobs is None else blobs)
    return bytes(data) + manifest + struct.pack("<Q", length or len(manifest)) + end


def entry_0_1(**fields: Any) -> dict[str, Any]:
    """Return a dense entry of 8 bytes; a field that is given as `...` is left out."""
    return _without_gaps(
        {
            "name": "t",
            "offset": 64,
            "size": 8,
            "dtype": "uint8",
            "layout": "dense",
            "shape": [8],
            "encoding": "raw",
        }
        | fields
    )


def part_1(**fields: Any) -> dict[str, Any]:
    """Return a component of 8 bytes; 1.2 wants a `dtype` too."""
    return _without_gaps({"offset": 64, "length": 8} | fields)


def tensor_1_0(**fields: Any) -> dict[str, Any]:
    return _without_gaps(
        {"dtype": "uint8", "shape": [8], "format": "dense", "components": {"data": part_1()}}
        | fields
    )


def root_1_0(tensors: Any = None, **fields: Any) -> dict[str, Any]:
    tensors = {"t": tensor_1_0()} if tensors is None else tensors
    start = {"version": "1.0", "generator": "by hand", "attributes": {}, "tensors": tensors}
    return _without_gaps(start | fields)


def object_1_2(**fields: Any) -> dict[str, Any]:
    components = {"data": part_1(dtype="u8")}
    return _without_gaps({"shape": [8], "format": "dense", "components": components} | fields)


def root_1_2(objects: Any = None, **fields: Any) -> dict[str, Any]:
    objects = {"t": object_1_2()} if objects is None else objects
    return _without_gaps({"version": "1.2.0", "objects": objects} | fields)


def dense_1(version: str, stored: bytes, shape: list[int], **fields: Any) -> bytes:
    """Return a file of one u8 tensor ``t`` that is stored as `stored` at 64, in a 0.1 or 1.x file.

    `fields` go into the component (1.x) or the entry (0.1).
    """
    size = len(stored)
    if version == "0.1":
        entry = entry_0_1(size=size, shape=shape, **fields)
        return file_0_1([entry], {64: stored})
    if version == "1.0":
        part = part_1(length=size, **fields)
        return file_1_0(
            root_1_0({"t": tensor_1_0(shape=shape, components={"data": part})}), {64: stored}
        )
    part = part_1(dtype="u8", length=size, **fields)
    objects = {"t": object_1_2(shape=shape, components={"data": part})}
    return file_1_2(root_1_2(objects, version=f"{version}.0"), {64: stored})


def _without_gaps(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not ...}


# --- zstd -----------------------------------------------------------------------------------------


def frame(data: bytes, *, level: int = 3, checksum: bool = False, sized: bool = False) -> bytes:
    """Return a zstd frame as published writers make it: streamed, without the content's size."""
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=checksum)
    if sized:
        return compressor.compress(data)
    stream = compressor.compressobj()
    return stream.compress(data) + stream.flush()


def skippable(payload: bytes, number: int = 0) -> bytes:
    """Return a skippable frame."""
    return struct.pack("<II", 0x184D2A50 + number, len(payload)) + payload


def bomb(decoded_blocks: int) -> bytes:
    """Return a frame of RLE blocks: 4 stored bytes for each 128 KiB of zeros."""
    # Magic; no content size; window of 128 KiB. Then the blocks, the last one marked.
    start = b"\x28\xb5\x2f\xfd\x00\x38"
    size = 131072 << 3 | 1 << 1
    block = size.to_bytes(3, "little") + b"\0"
    last = (size | 1).to_bytes(3, "little") + b"\0"
    return start + block * (decoded_blocks - 1) + last
