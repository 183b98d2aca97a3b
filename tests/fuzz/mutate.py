"""From a number to a mutated file: the same number gives the same file."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random

from .foreign import FOREIGN, foreign_originals, mutated
from .manifests import Layout, splice, without_digests
from .originals import Original, kind_of, originals
from .several import shard_of

Mutation = Callable[[Random, bytes], tuple[bytes, str]]

_EVIL = (0, 1, -1, 0x7F, 0xFF, 1 << 31, (1 << 31) - 1, 1 << 63, (1 << 63) - 1, 1 << 32, 1 << 40)


@dataclass(frozen=True)
class Case:
    """A mutated file.

    Attributes
    ----------
    original : Original
        What it was made of.
    mutant : Original
        What it is now.
    how : str
    """

    seed: int
    original: Original
    mutant: Original
    how: str


def make_case(seed: int) -> Case:
    """Return the mutated file of this number."""
    rng = Random(seed)
    original = _chosen(rng, seed)
    mutate = mutated if seed >= FOREIGN else _mutated
    if original.shards and rng.random() < 0.4:
        shard = rng.choice(sorted(original.shards))
        changed, how = mutate(rng, shard_of(original, shard))
        mutant = replace(original, shards={**original.shards, shard: changed})
        return Case(seed, original, mutant, f"in {shard}: {how}")
    changed, how = mutate(rng, original)
    return Case(seed, original, replace(original, data=changed), how)


def numbers_of(kind: str, seeds: Iterable[int]) -> Iterator[int]:
    """Return the numbers of files of one kind, as `kind_of` calls them."""
    return (seed for seed in seeds if kind_of(_chosen(Random(seed), seed)) == kind)


def _chosen(rng: Random, seed: int) -> Original:
    return rng.choice(foreign_originals() if seed >= FOREIGN else originals())


def _mutated(rng: Random, original: Original) -> tuple[bytes, str]:
    mutate = rng.choice(_MUTATIONS)
    changed, how = mutate(rng, original.data)
    return changed, f"{mutate.__name__.strip('_')}: {how}"


def _position(rng: Random, data: bytes) -> int:
    """Return a place in a file, more often one that something depends on."""
    layout = Layout(data)
    size = len(data)
    region = rng.randrange(5)
    if region == 0 and layout.length:
        return layout.offset + rng.randrange(layout.length)
    if region == 1:
        return max(0, size - 1 - rng.randrange(40))
    if region == 2:
        # Blobs begin at multiples of 64; most of a file is padding.
        used = [
            at for at in range(0, min(layout.offset or size, size), 64) if any(data[at : at + 64])
        ]
        if used:
            return min(size - 1, rng.choice(used) + rng.randrange(64))
    return rng.randrange(size)


def _flipped(rng: Random, data: bytes) -> tuple[bytes, str]:
    changed = bytearray(data)
    places = [_position(rng, data) for _ in range(rng.choice((1, 1, 1, 2, 5, 20)))]
    for at in places:
        changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed), f"bits at {places}"


def _set(rng: Random, data: bytes) -> tuple[bytes, str]:
    changed = bytearray(data)
    at, length = _position(rng, data), rng.choice((1, 1, 2, 4, 8, 64))
    filling = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80", rng.randbytes(1)))
    fill = rng.randbytes(length) if rng.random() < 0.3 else filling * length
    changed[at : at + length] = fill
    return bytes(changed[: len(data)]), f"{length} bytes at {at}"


def _number(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Write a number that is dangerous in footers, seek tables, indices, zstd headers."""
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice(_EVIL) & (1 << 8 * width) - 1
    at = max(0, min(_position(rng, data) // width * width, len(data) - width))
    changed = bytearray(data)
    changed[at : at + width] = value.to_bytes(width, rng.choice(("little", "little", "big")))
    return bytes(changed), f"{value} at {at}"


def _truncated(rng: Random, data: bytes) -> tuple[bytes, str]:
    at = rng.choice((rng.randrange(len(data)), _position(rng, data), max(0, len(data) - 8)))
    return data[:at], f"to {at}"


def _extended(rng: Random, data: bytes) -> tuple[bytes, str]:
    count = rng.choice((1, 8, 16, 40, 64, 4096))
    more = rng.choice((bytes(count), rng.randbytes(count), data[-count:], data[:count]))
    return data + more, f"by {len(more)}"


def _cut_out(rng: Random, data: bytes) -> tuple[bytes, str]:
    start = _position(rng, data)
    length = rng.choice((1, 8, 64, 4096, rng.randrange(1, len(data) + 1)))
    if rng.random() < 0.5:
        return data[:start] + data[start + length :], f"{length} at {start}"
    return data[:start] + data[start : start + length] * 2 + data[start + length :], "doubled"


def _footer(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Repeat the footer, bend a field of it, or take that of another file."""
    size = 40 if Layout(data).is_2 else rng.choice((8, 16))
    kind = rng.randrange(4)
    if kind == 0:
        return data + data[-size:] * rng.choice((1, 2, 3)), "repeated"
    if kind == 1:
        return data[:-size] + rng.choice(originals()).data[-size:], "another's"
    at = rng.choice((0, 8, 16, 24)) if size == 40 else 0
    (old,) = struct.unpack_from("<Q", data, len(data) - size + at)
    near = (old + 1, old - 1, old + 64, old * 2, len(data), len(data) - size, old ^ 1 << 63, 0)
    new = rng.choice(near) if kind == 2 else rng.choice(_EVIL)
    changed = bytearray(data)
    struct.pack_into("<Q", changed, len(data) - size + at, new & (1 << 64) - 1)
    return bytes(changed), f"{new} at {at} of it"


def _crossed(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Make one file of two."""
    other = rng.choice(originals())
    here, there = Layout(data), Layout(other.data)
    kind = rng.randrange(4)
    if kind == 0:
        return here.with_manifest(there.manifest or b"\xa0"), f"the manifest of {other.name}"
    if kind == 1:
        return data + other.data, f"followed by {other.name}"
    if kind == 2:
        at = rng.randrange(min(len(data), len(other.data)))
        return data[:at] + other.data[at:], f"from {at} on {other.name}"
    return data[: rng.randrange(len(data))] + other.data[-rng.randrange(1, 200) :], other.name


def _spliced(rng: Random, data: bytes) -> tuple[bytes, str]:
    return splice(rng, data)


def _undigested(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Damage data that nothing vouches for."""
    bare = without_digests(data)
    mutate = rng.choice((_flipped, _set, _number, _number))
    changed, how = mutate(rng, bare)
    offset = Layout(bare).offset
    return changed[:offset] + bare[offset:], how


_MUTATIONS: tuple[Mutation, ...] = (
    *(_flipped, _set, _number, _truncated, _extended, _cut_out, _footer, _crossed),
    *(_undigested, _undigested, _undigested, *[_spliced] * 7),
)
