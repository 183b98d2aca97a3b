"""Zip files: which members there are, where their bytes lie, and how those are read.

https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NoReturn

from ..codecs import Inflater
from ..crc import CRC_32, combine
from ..errors import FormatError, LimitError, UnsupportedError
from ..manifest import DEFLATE, Component
from ..manifest.fields import shown
from ..manifest.validate import check_expansion
from .peek import Peek

MAGIC = b"PK\x03\x04"

MOST = 16 << 20
"""Bytes of a directory: that of a hundred thousand members."""

_END = struct.Struct("<4s4H2IH")
_END_MAGIC = b"PK\x05\x06"
_LONGEST_COMMENT = (1 << 16) - 1
_LOCATOR = struct.Struct("<4sIQI")
_LOCATOR_MAGIC = b"PK\x06\x07"
_END_64 = struct.Struct("<4sQ2H2I4Q")
_END_64_MAGIC = b"PK\x06\x06"
_ENTRY = struct.Struct("<4s6H3I5H2I")
_ENTRY_MAGIC = b"PK\x01\x02"
_HEADER = struct.Struct("<4s5H3I2H")
_EXTRA = 28
"""Bytes behind a name in most headers."""

_ENCRYPTED, _UTF_8 = 1, 1 << 11
_STORED, _DEFLATED = 0, 8
_MISSING = 0xFFFFFFFF
"""What stands where a number is in the extra field of zip64 instead."""


@dataclass(frozen=True, slots=True)
class Member:
    """What the directory says of a member.

    Attributes
    ----------
    name : str
    header : int
        Where its own header begins.
    stop : int
        Where the next member begins, or the directory.
    length, size : int
        Bytes as they are stored, and decoded.
    method, flags : int
    crc : int
        CRC-32 of the decoded bytes.
    """

    name: str
    header: int
    stop: int
    length: int
    size: int
    method: int
    flags: int
    crc: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A member whose bytes have been found.

    Attributes
    ----------
    member : Member
    offset : int
        Of its first stored byte.
    head : memoryview
        The first of its stored bytes, as far as they were asked for.
    """

    member: Member
    offset: int
    head: memoryview

    def part(
        self,
        dtype: str,
        start: int,
        length: int,
        logical: str | None = None,
        big_endian: bool = False,
    ) -> Component:
        """Return so many of its decoded bytes, from `start` on, as a component.

        Raises
        ------
        FormatError
            It has no such bytes.
        """
        member = self.member
        if start + length > member.size:
            reject(
                f"the member {shown(member.name)} has {member.size} bytes, not {length} at {start}"
            )
        if member.method == _STORED:
            return Component(dtype, self.offset + start, length, logical, big_endian=big_endian)
        return Component(
            dtype,
            self.offset,
            member.length,
            logical,
            DEFLATE,
            decoded_length=length,
            skipped=start,
            big_endian=big_endian,
        )

    def digest_behind(self, start: bytes) -> str:
        """Return the digest of what follows its first decoded bytes, as the directory has it."""
        length = self.member.size - len(start)
        return f"crc32:0x{combine(zlib.crc32(start), self.member.crc, length, CRC_32):08X}"

    def decoded_head(self, length: int) -> bytes:
        """Return its first decoded bytes: so many, or as many as `head` tells."""
        if self.member.method == _STORED:
            return bytes(self.head[:length])
        found = bytearray()
        Inflater(found.extend, length=length).feed(self.head)
        return bytes(found)


def is_at_end(peek: Peek) -> bool:
    """Whether a file ends like a zip file without a comment, as far as its end has been seen."""
    end = peek.seen(max(0, peek.size - _END.size), _END.size)
    return end is not None and end.startswith(_END_MAGIC) and end.endswith(b"\0\0")


def members_of(peek: Peek) -> dict[str, Member]:
    """Return the members of a zip file, by their names.

    Raises
    ------
    FormatError, LimitError, UnsupportedError, StoreError
    """
    start, length, count = _directory(peek)
    if length > MOST:
        raise LimitError(f"the directory of this zip file has {length} bytes; the most is {MOST}")
    members = _entries(bytes(peek.read(start, length)), count)
    ordered = sorted(members, key=lambda member: member.header)
    stop_of: dict[int, int] = {}
    for header, stop in pairwise([*(member.header for member in ordered), start]):
        stop_of.setdefault(header, stop)
    found: dict[str, Member] = {}
    for member in members:
        stop = stop_of[member.header]
        if member.header + _HEADER.size + member.length > stop:
            reject(f"the member {shown(member.name)} overlaps what is at {stop}")
        if member.name in found:
            reject(f"there are two members named {shown(member.name)}")
        found[member.name] = replace(member, stop=stop)
    return found


def _directory(peek: Peek) -> tuple[int, int, int]:
    """Return where the directory is, its bytes, and how many members it has."""
    tail = bytes(peek.tail(_END.size))
    if not (len(tail) == _END.size and tail.startswith(_END_MAGIC) and tail.endswith(b"\0\0")):
        tail = bytes(peek.tail(_END.size + _LONGEST_COMMENT))
    at = _end_in(tail)
    end = peek.size - len(tail) + at
    _, disk, first_disk, here, count, length, start, _ = _END.unpack_from(tail, at)
    found = _directory_64(peek, end)
    if found is not None:
        end, disk, first_disk, here, count, length, start = found
    if disk or first_disk or here != count:
        raise UnsupportedError("a zip file that is split into several can't be read; join them")
    if start + length != end:
        reject(f"the directory has {length} bytes at {start}, and ends at {end}")
    if count * _ENTRY.size > length:
        reject(f"{count} members are more than the directory has room for")
    return start, length, count


def _end_in(tail: bytes) -> int:
    at = len(tail)
    while (at := tail.rfind(_END_MAGIC, 0, at)) >= 0:
        if at + _END.size <= len(tail):
            comment = _END.unpack_from(tail, at)[-1]
            if at + _END.size + comment == len(tail):
                return at
    reject("it has no directory at its end, and may be cut off")


def _directory_64(peek: Peek, end: int) -> tuple[int, ...] | None:
    """Return what zip64 says of the directory, and where that is said; None if nothing does."""
    at = end - _LOCATOR.size
    if at < _END_64.size:
        return None
    magic, _, record, _ = _LOCATOR.unpack(peek.read(at, _LOCATOR.size))
    if magic != _LOCATOR_MAGIC:
        return None
    if record + _END_64.size > at:
        reject(f"the end of its directory is not at {record}")
    magic, _, _, _, disk, first, here, count, length, start = _END_64.unpack(
        peek.read(record, _END_64.size)
    )
    if magic != _END_64_MAGIC:
        reject(f"the end of its directory is not at {record}")
    return record, disk, first, here, count, length, start


def _entries(data: bytes, count: int) -> list[Member]:
    members = []
    at = 0
    for _ in range(count):
        if at + _ENTRY.size > len(data):
            reject("the directory ends within an entry")
        fields = _ENTRY.unpack_from(data, at)
        magic, _, _, flags, method, _, _, crc, length, size = fields[:10]
        name_length, extra_length, comment_length, _, _, _, header = fields[10:]
        name_at = at + _ENTRY.size
        extra_at = name_at + name_length
        at = extra_at + extra_length + comment_length
        if magic != _ENTRY_MAGIC or at > len(data):
            reject("the directory is damaged")
        name = _text(data[name_at:extra_at], flags)
        extra = data[extra_at : extra_at + extra_length]
        size, length, header = _long_numbers(extra, size, length, header)
        member = Member(name, header, 0, length, size, method, flags, crc)
        _check_size(member)
        members.append(member)
    if at != len(data):
        reject("the directory has more entries than it says")
    return members


def _text(name: bytes, flags: int) -> str:
    try:
        return name.decode("utf-8" if flags & _UTF_8 else "cp437")
    except UnicodeDecodeError:
        reject(f"the name {name[:60]!r} is no UTF-8")


def _long_numbers(extra: bytes, *numbers: int) -> list[int]:
    """Return the numbers, those that zip64 has from the extra field."""
    found = list(numbers)
    missing = [place for place, number in enumerate(numbers) if number == _MISSING]
    at = 0
    while missing and at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        at += 4
        if kind == 1:
            if length < 8 * len(missing) or at + length > len(extra):
                reject("an extra field of zip64 is cut off")
            for number, place in enumerate(missing):
                [found[place]] = struct.unpack_from("<Q", extra, at + 8 * number)
            break
        at += length
    return found


def _check_size(member: Member) -> None:
    """Refuse sizes that the stored bytes can't decode to."""
    if member.method == _STORED and member.length != member.size:
        reject(f"the member {shown(member.name)} has {member.length} bytes, not {member.size}")
    if member.method == _DEFLATED:
        part = Component("u8", 0, member.length, encoding=DEFLATE)
        check_expansion(part, member.size, f"the member {shown(member.name)}")


def locate(peek: Peek, members: Sequence[Member], window: int = 0) -> list[Placed]:
    """Find the bytes of members, side by side, and return the first of each along.

    Parameters
    ----------
    peek : Peek
    members : sequence of Member
    window : int
        How many of their stored bytes.

    Raises
    ------
    FormatError, UnsupportedError, StoreError
    """
    for member in members:
        if member.method not in (_STORED, _DEFLATED) or member.flags & _ENCRYPTED:
            how = "encrypted" if member.flags & _ENCRYPTED else f"by method {member.method}"
            raise UnsupportedError(
                f"the member {shown(member.name)} is stored {how}; only members that are stored "
                "as they are, or by deflate, can be read"
            )
    sizes = [
        min(
            _HEADER.size + len(member.name.encode()) + _EXTRA + min(window, member.length),
            member.stop - member.header,
        )
        for member in members
    ]
    heads = peek.read_many(
        [(member.header, size) for member, size in zip(members, sizes, strict=True)]
    )
    return [
        _placed(peek, member, head, min(window, member.length))
        for member, head in zip(members, heads, strict=True)
    ]


def _placed(peek: Peek, member: Member, head: memoryview, window: int) -> Placed:
    magic, _, _, method, _, _, _, _, _, name_length, extra_length = _HEADER.unpack_from(head)
    data = _HEADER.size + name_length + extra_length
    if magic != MAGIC or method != member.method:
        reject(f"the member {shown(member.name)} is not at {member.header}")
    if member.header + data + member.length > member.stop:
        reject(f"the member {shown(member.name)} overlaps what is at {member.stop}")
    first = head[data : data + window]
    if len(first) < window:
        first = peek.read(member.header + data, window)
    return Placed(member, member.header + data, first)


def read_member(peek: Peek, placed: Placed, most: int) -> bytes:
    """Return all decoded bytes of a member.

    Raises
    ------
    LimitError
        They are more than `most`.
    FormatError, StoreError
    """
    member = placed.member
    nbytes = max(member.size, member.length)
    if nbytes > most:
        raise LimitError(f"the member {shown(member.name)} has {nbytes} bytes; the most is {most}")
    whole = replace(placed, head=peek.read(placed.offset, member.length))
    decoded = whole.decoded_head(member.size)
    if len(decoded) != member.size:
        reject(f"the member {shown(member.name)} has {len(decoded)} bytes, not {member.size}")
    return decoded


def reject(message: str) -> NoReturn:
    """Raise FormatError."""
    raise FormatError(f"not a valid zip file: {message}", rule="Zip")
