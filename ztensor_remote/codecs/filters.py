"""Undo what HDF5's filters did to a chunk of an array.

https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html#FilterMessage
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from ..errors import DigestError, FormatError
from ..types import Bytes
from .deflate import decompressed, not_deflate
from .zstd import StreamDecoder, too_long, too_short

_WORDS = 1 << 16
"""16-bit words that are summed up at a time."""


def unfilter(stored: Bytes, filters: Sequence[tuple[str, int]], mask: int, length: int) -> Bytes:
    """Return a chunk as it was before it was filtered.

    Parameters
    ----------
    stored : bytes-like
    filters : sequence of (str, int)
        In the order in which they were applied: ``"shuffle"`` with the bytes of an element,
        ``"deflate"``, ``"zstd"``, ``"lzf"`` and ``"fletcher32"``.
    mask : int
        Bit ``i`` is set where the filter ``i`` was left out.
    length : int
        Bytes that it must have then. Little more is ever decoded.

    Raises
    ------
    FormatError, DigestError
    """
    # Between two filters that compress there may be what the first one failed to.
    most = length + (length >> 8) + 1024
    data = stored
    for number, (name, width) in reversed(list(enumerate(filters))):
        if not mask >> number & 1:
            data = _UNDO[name](data, width, most)
    if len(data) < length:
        raise too_short(len(data), length)
    if len(data) > length:
        raise too_long(length)
    return data


def _unshuffle(data: Bytes, width: int, most: int) -> Bytes:
    """Put the bytes of elements together: the first ones of all came first, then the second."""
    count = len(data) // width
    if width < 2 or count < 2:
        return data
    stored = np.frombuffer(data, np.uint8)
    whole = np.empty(len(data), np.uint8)
    end = count * width
    whole[:end].reshape(count, width)[:] = stored[:end].reshape(width, count).T
    whole[end:] = stored[end:]
    return whole.data


def _inflate(data: Bytes, _: int, most: int) -> Bytes:
    decoder = zlib.decompressobj()
    decoded = decompressed(decoder, data, most)
    if decoder.eof:
        return decoded
    if len(decoded) == most:
        raise too_long(most)
    raise not_deflate("cut off")


def _unzstd(data: Bytes, _: int, most: int) -> Bytes:
    decoded = bytearray()

    def take(piece: bytes) -> None:
        decoded.extend(piece)
        if len(decoded) > most:
            raise too_long(most)

    decoder = StreamDecoder(take)
    decoder.feed(data)
    decoder.finish()
    return decoded


def _unlzf(data: Bytes, _: int, most: int) -> Bytes:
    """Decode LZF: runs of literal bytes, and of bytes that were there before.

    http://oldhome.schmorp.de/marc/liblzf.html
    """
    stored, decoded, at = bytes(data), bytearray(), 0
    try:
        while at < len(stored):
            control = stored[at]
            at += 1
            if control < 32:
                literal = stored[at : at + control + 1]
                if len(literal) <= control:
                    raise IndexError
                decoded += literal
                at += control + 1
            else:
                count = control >> 5
                if count == 7:
                    count += stored[at]
                    at += 1
                distance = ((control & 31) << 8) + stored[at] + 1
                at += 1
                decoded += _repeated(decoded, distance, count + 2)
            if len(decoded) > most:
                raise too_long(most)
    except IndexError:
        raise FormatError("the stored bytes are not valid LZF", rule="Encoding") from None
    return decoded


def _repeated(decoded: bytearray, distance: int, count: int) -> bytearray:
    """Return so many bytes that follow each other since a distance before the end, which grows."""
    start = len(decoded) - distance
    if start < 0:
        raise IndexError
    if count <= distance:
        return decoded[start : start + count]
    return (decoded[start:] * (count // distance + 1))[:count]


def _check_fletcher(data: Bytes, _: int, most: int) -> Bytes:
    """Compare a chunk with the sum behind it, and return it without."""
    end = len(data) - 4
    if end < 0:
        raise too_short(len(data), 4)
    chunk, stated = memoryview(data)[:end], int.from_bytes(data[end:], "little")
    found = _fletcher_32(chunk)
    # HDF5 before 1.6.3 swapped the bytes of each half.
    swapped = (found & 0x00FF00FF) << 8 | found >> 8 & 0x00FF00FF
    if stated not in (found, swapped):
        raise DigestError(
            f"the chunk has the Fletcher-32 sum 0x{found:08X}, the file states 0x{stated:08X}"
        )
    return chunk


def _fletcher_32(data: memoryview) -> int:
    """Return HDF5's sum of bytes, taken as big-endian words of 16 bits."""
    even = len(data) & ~1
    words = np.frombuffer(data[:even], ">u2")
    plain = weighted = 0
    for start in range(0, len(words), _WORDS):
        piece = words[start : start + _WORDS].astype(np.uint64)
        weights = np.arange(len(piece), 0, -1, dtype=np.uint64)
        weighted += len(piece) * plain + int(piece @ weights)
        plain += int(piece.sum())
    if even < len(data):
        plain += data[even] << 8
        weighted += plain
    return _folded(weighted) << 16 | _folded(plain)


def _folded(total: int) -> int:
    """Return a sum as 16 bits whose carries were added to it, which are never all lost."""
    return (total - 1) % 0xFFFF + 1 if total else 0


_UNDO: dict[str, Callable[[Bytes, int, int], Bytes]] = {
    "shuffle": _unshuffle,
    "deflate": _inflate,
    "zstd": _unzstd,
    "lzf": _unlzf,
    "fletcher32": _check_fletcher,
}
