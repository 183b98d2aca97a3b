"""Manifests taken apart, bent, and put back so that the footer still fits them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import cbor2

from tests.formats.build import MAGIC_1, MAGIC_2, Indefinite, Pairs, Raw, cbor, footer_2, wide

Slot = tuple[Any, Any]
"""A container, and the key or index of something in it."""

NUMBERS = (
    *(-1, 0, 1, 2, 7, 63, 64, 65, 4095, 4096, 65536, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 32),
    *(1 << 40, 1 << 48, (1 << 62) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 64),
    *((1 << 64) - 1, 1 << 64, -(1 << 31), -(1 << 63), -(1 << 64), 1 << 20_000, -(1 << 200)),
)
FLOATS = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 8.0, 1e308, 5e-324, 0.1)
WORDS = (
    *("", "\0", "data", "values", "indices", "indptr", "coords", "scales", "t", "a" * 1025, "é"),
    *("f64", "f32", "f16", "bf16", "i64", "i8", "u64", "u32", "u16", "u8", "bool", "float32"),
    *("int8", "uint64", "float8_e4m3fn", "f8_e4m3fn", "f8_e8m0", "f4_e2m1", "complex64"),
    *("complex128", "dense", "sparse_csr", "sparse_coo", "sparsecsr", "sparsecoo", "x.other/1"),
    *("zt.sparse_csr/1", "zt.sparse_coo/1", "zt.quant_group/1", "quantized_group", "raw", "zstd"),
    *("zt.zstd-seekable/1", "crc32c:0x00000000", "xxh3:0", "xxh3:2d06800538d394c2", "sha256:"),
    *("crc32c:", "big", "little", "1.0", "1.1.0", "9.9", "..", "../x", "/etc/passwd", "\x1b[31m"),
)
KEYS = (
    *("objects", "tensors", "shards", "attributes", "version", "generator", "name", "size"),
    *("shape", "format", "layout", "components", "parts", "dtype", "type", "offset", "length"),
    *("blob", "encoding", "decoded_length", "uncompressed_length", "digest", "checksum", "shard"),
    *("data_endianness", "data", "values", "indices", "indptr", "coords"),
)
RAW = (
    # deep nesting, tags on tags, and heads that claim more than there is
    *(b"\x81" * 40 + b"\0", b"\x81" * 5000 + b"\0", b"\xa1\x00" * 200 + b"\0"),
    *(b"\xc6" * 5000 + b"\0", b"\xd9\xd9\xf7\0", b"\x9b" + b"\xff" * 8, b"\xbb" + b"\x7f" * 8),
    *(b"\x5b\0\0\0\1\0\0\0\0", b"\x7a\xff\xff\xff\xff", b"\xba\0\1\0\0", b"\x9a\0\xff\0\0"),
    # texts that are none, reserved heads, simple values, breaks, pieces of other kinds
    *(b"\x62\xff\xfe", b"\x63\xed\xa0\x80", b"\xf8\x18", b"\xf8\xff", b"\xf7", b"\xe0", b"\x1c"),
    *(b"\xff", b"\x9f\xff", b"\xbf\xff", b"\x7f\x61a\xff", b"\x5f\x41a\xff", b"\x5f\x61a\xff"),
    # tags: bignum, date, time, fraction, shared value, set, rational, regular expression
    *(b"\xc2\x49\1" + bytes(8), b"\xc0\x63now", b"\xc1\xf9\x7e\0", b"\xd8\x1e\x82\1\0"),
    *(b"\xc4\x82\x1b" + b"\x7f" * 8 + b"\1", b"\xd8\x1c\x81\xd8\x1d\0", b"\xd9\1\2\x81\0"),
    *(b"\xd8\x23\x63(a+", b"\xdb" + b"\xff" * 8 + b"\0"),
    # numbers in other widths
    *(b"\xfb\x7f\xf0" + bytes(6), b"\xfa\x7f\xc0\0\1", b"\xf9\0\0", b"\x18\1", b"\x1b" + bytes(8)),
)


class Layout:
    """Where the manifest of a file lies, by its footer.

    Attributes
    ----------
    offset, length : int
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.is_2 = data[-8:] == MAGIC_2
        if self.is_2:
            self.offset, self.length = struct.unpack("<QQ", data[-40:-24])
            return
        end = len(data) - (16 if data[-8:] == MAGIC_1 else 8)
        (self.length,) = struct.unpack("<Q", data[end : end + 8])
        self.offset = end - self.length

    @property
    def manifest(self) -> bytes:
        """The manifest's bytes; none for a data shard."""
        return self.data[self.offset : self.offset + self.length]

    def with_manifest(self, manifest: bytes) -> bytes:
        """Return the file with another manifest in the old one's place."""
        if self.is_2:
            return self.data[: self.offset] + manifest + footer_2(self.offset, manifest)
        end = MAGIC_1 if self.data[-8:] == MAGIC_1 else b""
        return self.data[: self.offset] + manifest + struct.pack("<Q", len(manifest)) + end


def splice(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Return a file whose manifest was bent in one to four places, and how."""
    layout = Layout(data)
    if not layout.length:
        return layout.with_manifest(rng.choice(RAW)), "a manifest where there was none"
    root = [cbor2.loads(layout.manifest)]
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        bend = rng.choice(_BENDS)
        bend(rng, root, data)
        done.append(bend.__name__.strip("_"))
    encoded = cbor(root[0], sort=layout.is_2)
    if rng.random() < 0.03:
        encoded += rng.choice((b"\0", b"\xff", encoded))
    return layout.with_manifest(encoded), " ".join(done)


def without_digests(data: bytes) -> bytes:
    """Return a file whose manifest states no digest, so that damage gets past the first check."""
    layout = Layout(data)
    if not layout.length:
        return data
    root = cbor2.loads(layout.manifest)
    for container, _ in slots([root]):
        if isinstance(container, dict) and {"dtype", "blob", "offset"} & container.keys():
            container.pop("digest", None)
            container.pop("checksum", None)
    return layout.with_manifest(cbor(root, sort=layout.is_2))


def slots(root: Any) -> list[Slot]:
    """Return every place in a tree that a value stands in."""
    found: list[Slot] = []
    pending = [root]
    while pending:
        container = pending.pop()
        if isinstance(container, Pairs):
            keys: Iterator[Any] = iter(range(len(container)))
            pending += [value for _, value in container]
            continue
        if isinstance(container, dict):
            keys = iter(list(container))
        elif isinstance(container, list):
            keys = iter(range(len(container)))
        else:
            continue
        for key in keys:
            found.append((container, key))
            pending.append(container[key])
    return found


# --- ways to bend a tree: each changes it in place ------------------------------------------------


def _slot(rng: Random, root: Any, *kinds: type) -> Slot:
    found = slots(root)
    wanted = [(box, key) for box, key in found if not kinds or isinstance(box[key], kinds)]
    return rng.choice(wanted or found)


def _map_of(rng: Random, root: Any) -> Slot | None:
    found = [(box, key) for box, key in slots(root) if isinstance(box[key], dict)]
    return rng.choice(found) if found else None


def _another_number(rng: Random, root: Any, data: bytes) -> None:
    box, key = _slot(rng, root, int)
    old = box[key] if isinstance(box[key], int) else 0
    near = (old - 1, old + 1, old * 2, old // 2, old + 64, old - 64, old + 4096, old << 32, -old)
    of_file = (len(data), len(data) - 40, len(data) - 8, len(data) // 64 * 64)
    box[key] = rng.choice((*rng.choice((NUMBERS, near, of_file)),))


def _another_value(rng: Random, root: Any, data: bytes) -> None:
    box, key = _slot(rng, root)
    box[key] = _anything(rng)


def _another_word(rng: Random, root: Any, data: bytes) -> None:
    box, key = _slot(rng, root, str)
    box[key] = rng.choice(WORDS)


def _another_type(rng: Random, root: Any, data: bytes) -> None:
    box, key = _slot(rng, root)
    old = box[key]
    text = "many digits" if isinstance(old, int) and old >= 1 << 64 else str(type(old))
    changed: list[Any] = [text, text.encode(), [old], {"x": old}, None, bool(old)]
    if isinstance(old, dict):
        changed += [list(old), list(old.values()), Pairs([*old.items(), *old.items()])]
    if isinstance(old, int):
        changed += [float(old) if abs(old) < 1 << 1000 else 0.5, cbor2.CBORTag(2, b"\1")]
    box[key] = rng.choice(changed)


def _left_out(rng: Random, root: Any, data: bytes) -> None:
    box, key = _slot(rng, root)
    if box is not root:
        del box[key]


def _renamed(rng: Random, root: Any, data: bytes) -> None:
    slot = _map_of(rng, root)
    if slot and slot[0][slot[1]]:
        fields = slot[0][slot[1]]
        fields[_key(rng)] = fields.pop(rng.choice(list(fields)))


def _added(rng: Random, root: Any, data: bytes) -> None:
    slot = _map_of(rng, root)
    if slot:
        box, key = _slot(rng, root)
        value = _copied(box[key]) if rng.random() < 0.5 else _anything(rng)
        slot[0][slot[1]] = {**slot[0][slot[1]], _key(rng): value}


def _repeated(rng: Random, root: Any, data: bytes) -> None:
    slot = _map_of(rng, root)
    if slot and slot[0][slot[1]]:
        fields = slot[0][slot[1]]
        repeated = rng.choice(list(fields))
        pairs = [*fields.items(), (repeated, rng.choice((fields[repeated], _anything(rng))))]
        slot[0][slot[1]] = Pairs(pairs)


def _exchanged(rng: Random, root: Any, data: bytes) -> None:
    box, key = _slot(rng, root, int, str)
    other, where = _slot(rng, root, type(box[key]))
    box[key], other[where] = _copied(other[where]), _copied(box[key])


def _copied(value: Any) -> Any:
    """Return a value of which nothing can be changed by way of another place; tags can't be."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return type(value)(map(_copied, value)) if isinstance(value, list | tuple) else value


def _moved(rng: Random, root: Any, data: bytes) -> None:
    """Put a component where another one is, or nearly."""
    parts = [box[key] for box, key in slots(root) if isinstance(box[key], dict)]
    parts = [part for part in parts if "offset" in part or "blob" in part]
    if not parts:
        return
    part, other = rng.choice(parts), rng.choice(parts)
    shift = rng.choice((0, 0, 1, 8, 64, -64, 4096, -4096))
    if isinstance(part.get("blob"), list) and isinstance(other.get("blob"), list):
        part["blob"] = [_shifted(item, shift * (not at)) for at, item in enumerate(other["blob"])]
    elif "offset" in part and "offset" in other:
        part["offset"] = _shifted(other["offset"], shift)


def _shifted(value: Any, shift: int) -> Any:
    return value + shift if isinstance(value, int) else value


def _spelled(rng: Random, root: Any, data: bytes) -> None:
    """Keep a value and write it in another form."""
    box, key = _slot(rng, root)
    value = box[key]
    if type(value) is int and 0 <= value < 1 << 64:
        box[key] = wide(0, value)
    elif isinstance(value, list | dict) and not isinstance(value, Pairs):
        box[key] = Indefinite(value)
    elif isinstance(value, str):
        box[key] = Raw(b"\x7f" + cbor(value) + b"\xff")


def _reshaped(rng: Random, root: Any, data: bytes) -> None:
    found = [(box, key) for box, key in slots(root) if key == "shape"]
    if not found:
        return
    box, key = rng.choice(found)
    shape = box[key] if isinstance(box[key], list) else []
    shapes: tuple[list[Any], ...] = (
        *([], [0], [1 << 32, 1 << 31], [1 << 33, 0], [1] * 64, [1] * 65, [-1], [1 << 63, 1]),
        *([*shape, 1], [*shape, 0], shape[::-1], [1, *shape], [*shape, 1 << 30], [1 << 20, *shape]),
    )
    box[key] = rng.choice(shapes)


_BENDS: tuple[Callable[[Random, Any, bytes], None], ...] = (
    *(_another_number, _another_number, _another_number, _another_value, _another_word),
    *(_another_word, _another_type, _left_out, _renamed, _added, _repeated, _exchanged),
    *(_moved, _spelled, _reshaped),
)


def _key(rng: Random) -> Any:
    if rng.random() < 0.9:
        return rng.choice(KEYS)
    return rng.choice((0, -1, None, True, 1.5, b"data", "", "\0", "x" * 2000, "é"))


def _anything(rng: Random) -> Any:
    kind = rng.randrange(8)
    if kind < 2:
        return rng.choice(NUMBERS)
    if kind == 2:
        return rng.choice(FLOATS)
    if kind == 3:
        return rng.choice(WORDS)
    if kind < 6:
        return Raw(rng.choice(RAW))
    return rng.choice((None, True, False, b"", b"\xff" * 9, [], {}, [0] * 300, {"": {}}))
