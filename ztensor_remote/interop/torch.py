"""PyTorch's files: a pickle and the bytes of its storages, in a zip file or one after another.

https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import FormatError, UnsupportedError
from ..manifest import Component, Manifest
from ..manifest.fields import shown
from . import archive
from .archive import Member, Placed, locate, members_of, read_member
from .peek import Peek
from .pickled import LONGEST_MAGIC, MAGIC, PICKLE, is_legacy
from .pickles import (
    NAMES,
    Machine,
    Placing,
    Region,
    Run,
    Steps,
    Storage,
    Stream,
    contents_of,
    storage_of,
)
from .pickles.stream import MOST, reject
from .pickles.values import Dict, as_text

_ORDER = "byteorder"

_VERSION = 1001
_WINDOW = 1 << 20
"""Bytes of a pickle that come along with where it is."""

_ALIGNMENT = 64
_HEADER, _EXTRA = 30, 4
"""Bytes of a member's header before its name, and of an empty extra field."""

_DESCRIBED = 8
"""The flag of members that are followed by a descriptor."""


def parse(peek: Peek) -> Manifest:
    """Return what a file of PyTorch says of itself.

    Raises
    ------
    UnsupportedError
        It names something that is neither a tensor nor a plain value.
    FormatError, LimitError, StoreError
    """
    if archive.is_at_end(peek):
        return _parse_archive(peek)
    head = bytes(peek.read(0, min(LONGEST_MAGIC, peek.size)))
    if head.startswith(archive.MAGIC):
        return _parse_archive(peek)
    if is_legacy(head):
        return _parse_legacy(peek)
    raise FormatError(
        "this is no file of PyTorch: neither a zip file nor one with its magic number",
        rule="Pickle",
    )


# --- zip files ------------------------------------------------------------------------------------


def _parse_archive(peek: Peek) -> Manifest:
    members = members_of(peek)
    root = _root(members)
    placed, order = _located(peek, members, root)
    stream = _stream(peek, placed)
    found = contents_of(Machine(stream, NAMES, storage_of).load())
    storages = _Storages(peek, members, f"{root}data/")
    placing = Placing(placed, storages.region_of, order == b"big")
    return Manifest("torch", placing.tensors(found.tensors), found.attributes)


def _root(members: Mapping[str, Member]) -> str:
    """Return the folder that all is in."""
    roots = [name.removesuffix(PICKLE) for name in members if name.endswith(f"/{PICKLE}")]
    tops = [root for root in roots if root.count("/") == 1] or roots
    if len(tops) != 1:
        reject(f"it has {len(tops)} members named {PICKLE}")
    return tops[0]


def _located(peek: Peek, members: Mapping[str, Member], root: str) -> tuple[Placed, bytes]:
    """Return the pickle and what is said of the byte order."""
    found = [members[f"{root}{name}"] for name in (PICKLE, _ORDER) if f"{root}{name}" in members]
    # They lie side by side: one request brings both.
    start, stop = min(each.header for each in found), max(each.stop for each in found)
    if stop - start <= _WINDOW:
        peek.read(start, stop - start)
    placed, *orders = locate(peek, found, _WINDOW)
    order = orders[0].decoded_head(8) if orders else b"little"
    if order not in (b"little", b"big"):
        reject(f"the byte order {shown(order.decode(errors='replace'))} is unknown")
    return placed, order


def _stream(peek: Peek, placed: Placed) -> Stream:
    """Return the bytes of the pickle, counted from its beginning."""
    member = placed.member
    if member.method:
        data = read_member(peek, placed, MOST)
        return Stream(lambda offset, length: data[offset : offset + length], 0, len(data))
    head = placed.head

    def read(offset: int, length: int) -> memoryview:
        if offset + length <= len(head):
            return head[offset : offset + length]
        return peek.read(placed.offset + offset, length)

    return Stream(read, 0, member.size)


@dataclass(frozen=True, slots=True)
class _Whole:
    """A storage in a zip file, which has a checksum of all of it unless that was switched off."""

    placed: Placed

    def part(
        self,
        dtype: str,
        start: int,
        length: int,
        logical: str | None = None,
        big_endian: bool = False,
    ) -> Component:
        """Return some of its bytes as a component."""
        part = self.placed.part(dtype, start, length, logical, big_endian)
        member = self.placed.member
        if not member.crc or length != member.size:
            return part
        return replace(part, digest=self.placed.digest_behind(b""))


class _Storages:
    """Where the storages of a zip file lie, found as they are asked for."""

    def __init__(self, peek: Peek, members: Mapping[str, Member], folder: str) -> None:
        self._members, self._folder = members, folder
        unaligned = []
        self._placed: dict[str, Placed] = {}
        for name, member in members.items():
            if name.startswith(folder):
                placed = _aligned(member)
                if placed is None:
                    unaligned.append(member)
                else:
                    self._placed[name] = placed
        for placed in locate(peek, unaligned):
            self._placed[placed.member.name] = placed

    def region_of(self, storage: Storage) -> Region:
        """Return where a storage lies, and check its size."""
        placed = self._placed.get(f"{self._folder}{storage.key}")
        if placed is None:
            reject(f"the storage {shown(storage.key)} is missing")
        if placed.member.size != storage.whole:
            reject(
                f"the storage {shown(storage.key)} has {placed.member.size} bytes, not "
                f"{storage.whole}"
            )
        return _Whole(placed)


def _aligned(member: Member) -> Placed | None:
    """Return where a member lies if it is as PyTorch writes it, which spares a look at its header.

    Its bytes begin at the next multiple of 64 behind the header, and the descriptor that follows
    them ends where the next member begins. It is not believed unless both agree.
    """
    if member.method or member.flags & ~(_DESCRIBED | 1 << 11):
        return None
    first = member.header + _HEADER + len(member.name.encode()) + _EXTRA
    for descriptor in (16, 24) if member.flags & _DESCRIBED else (0,):
        offset = member.stop - descriptor - member.length
        if offset % _ALIGNMENT == 0 and 0 <= offset - first < _ALIGNMENT + 28:
            return Placed(member, offset, memoryview(b""))
    return None


# --- before zip files -----------------------------------------------------------------------------


def _parse_legacy(peek: Peek) -> Manifest:
    legacy = read_legacy(Stream(peek.read, 0, peek.size))
    found = contents_of(legacy.value)
    placing = Placing(Run(0, peek.size), legacy.region_of, legacy.is_big_endian)
    return Manifest("torch", placing.tensors(found.tensors), found.attributes)


@dataclass(frozen=True, slots=True)
class Legacy:
    """What a file before zip files holds, or what is stored like one.

    Attributes
    ----------
    value : object
    regions : mapping of str to Region
        Where the storages are, by their keys.
    is_big_endian : bool
    """

    value: Any
    regions: Mapping[str, Region]
    is_big_endian: bool

    def region_of(self, storage: Storage) -> Region:
        """Return where a storage lies."""
        if storage.key not in self.regions:
            reject(f"the storage {shown(storage.key)} is missing")
        return self.regions[storage.key]


def read_legacy(stream: Stream, steps: Steps | None = None) -> Legacy:
    """Read four pickles, the keys of the storages, and these one after another.

    Raises
    ------
    UnsupportedError, FormatError, LimitError, StoreError
    """
    sizes: dict[str, int] = {}

    def keep(identity: Any) -> Storage:
        storage = storage_of(identity)
        if sizes.setdefault(storage.key, storage.whole) != storage.whole:
            reject(f"the storage {shown(storage.key)} has two sizes")
        return storage

    machine = Machine(stream, NAMES, keep, steps)
    magic, version, system = machine.load(), machine.load(), machine.load()
    if magic != int.from_bytes(MAGIC, "little"):
        reject("it does not begin with the magic number")
    if version != _VERSION:
        raise UnsupportedError(f"protocol {version!r:.20} of PyTorch's files is unknown")
    value = machine.load()
    regions = _regions(machine.load(), sizes, stream.at, stream.stop)
    return Legacy(value, regions, _is_big_endian(system))


def _regions(keys: Any, sizes: Mapping[str, int], at: int, size: int) -> dict[str, Region]:
    """Return where each storage lies: behind eight bytes that count its elements."""
    if not isinstance(keys, list):
        reject("the keys of its storages are no list")
    regions: dict[str, Region] = {}
    for each in keys:
        key = as_text(each)
        if key is None or key not in sizes or key in regions:
            reject("the keys of its storages are not those that it uses")
        regions[key] = Run(at + 8, sizes[key])
        at += 8 + sizes[key]
    if at != size:
        reject(f"its storages end at {at}, the file at {size}")
    return regions


def _is_big_endian(system: Any) -> bool:
    pairs = system.pairs if isinstance(system, Dict) else ()
    return any(as_text(key) == "little_endian" and value is False for key, value in pairs)
