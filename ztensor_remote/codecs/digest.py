"""Digests as the files spell them: ``crc32c:0x…``, ``sha256:…``, ``xxh3:…`` (SPEC.md §5).

``crc32:0x…`` is not among them: it is what zip files have.
"""

from __future__ import annotations

import hashlib
import struct
import threading
import zlib
from collections.abc import Collection
from typing import Any, Literal

from ..crc import CRC_32, CRC_32C, combine, crc32c
from ..errors import DigestError
from ..types import Bytes

Algorithm = Literal["crc32c", "crc32", "sha256", "xxh3"]

_POLYNOMIALS = {"crc32c": CRC_32C, "crc32": CRC_32}


def _crc(algorithm: str, data: Bytes, before: int = 0) -> int:
    return zlib.crc32(data, before) if algorithm == "crc32" else crc32c(data, before)


class Hasher:
    """A digest that grows with the bytes it is shown.

    Parameters
    ----------
    algorithm : {"crc32c", "crc32", "sha256", "xxh3"}

    Attributes
    ----------
    crc : int
        The checksum so far, of the algorithms that are one.
    """

    def __init__(self, algorithm: Algorithm) -> None:
        self.algorithm = algorithm
        self.crc = 0
        self._hash: Any = None
        if algorithm == "sha256":
            self._hash = hashlib.sha256()
        elif algorithm == "xxh3":
            import xxhash

            self._hash = xxhash.xxh3_64()

    def update(self, data: Bytes) -> None:
        """Take in more bytes."""
        if self.algorithm in _POLYNOMIALS:
            self.crc = _crc(self.algorithm, data, self.crc)
        else:
            self._hash.update(data)

    def append(self, crc: int, length: int) -> None:
        """Take in bytes whose checksum is known."""
        self.crc = combine(self.crc, crc, length, _POLYNOMIALS[self.algorithm])

    def text(self) -> str:
        """Return the digest so far, in the spelling that published readers check."""
        if self.algorithm in _POLYNOMIALS:
            return f"{self.algorithm}:0x{self.crc:08X}"
        return f"{self.algorithm}:{self._hash.hexdigest()}"


def is_checkable(stated: str, algorithms: Collection[str]) -> bool:
    """Whether a stated digest is of one of these algorithms."""
    return stated.partition(":")[0] in algorithms


class ChunkHasher:
    """The crc32c of each piece of a byte stream.

    Parameters
    ----------
    size : int
        Bytes of each piece but the last.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._sums: list[int] = []
        self._room = 0

    def update(self, data: memoryview) -> None:
        """Take in more bytes."""
        at = 0
        while at < len(data):
            if not self._room:
                self._sums.append(0)
                self._room = self.size
            piece = data[at : at + self._room]
            self._sums[-1] = crc32c(piece, self._sums[-1])
            self._room -= len(piece)
            at += len(piece)

    def values(self) -> bytes:
        """Return the checksums so far, 4 bytes little-endian each."""
        return struct.pack(f"<{len(self._sums)}I", *self._sums)


class PartialDigest:
    """A digest whose pieces come in any order, from several threads.

    Pieces of a CRC are digested at once. The other algorithms have to see bytes in order: a
    piece that comes early stays where it is, and must stay as it is, until its turn.

    Parameters
    ----------
    stated : str
        What the digest must be.
    length : int
        Bytes of all pieces.
    """

    def __init__(self, stated: str, length: int) -> None:
        self._stated = stated
        self._length = length
        self._lock = threading.Lock()
        algorithm: Any = stated.partition(":")[0]
        self.is_ordered = algorithm not in _POLYNOMIALS
        self._hasher = Hasher(algorithm)
        self._crcs: list[tuple[int, int, int]] = []
        self._early: dict[int, Bytes] = {}
        self._reached = 0
        self._is_hashing = False

    def add(self, start: int, data: Bytes) -> bool:
        """Take in the piece that begins at `start`; return whether all has been taken in."""
        return self._hash(start, data) if self.is_ordered else self._sum(start, data)

    def _sum(self, start: int, data: Bytes) -> bool:
        piece = start, _crc(self._hasher.algorithm, data), len(data)
        with self._lock:
            self._crcs.append(piece)
            self._reached += len(data)
            return self._reached == self._length

    def _hash(self, start: int, data: Bytes) -> bool:
        with self._lock:
            self._early[start] = data
            if self._is_hashing:
                return False  # whoever hashes takes it when its turn comes
            self._is_hashing = True
        while True:
            with self._lock:
                piece = self._early.pop(self._reached, None)
                if piece is None:
                    self._is_hashing = False
                    return self._reached == self._length
            self._hasher.update(piece)
            self._reached += len(piece)

    def check(self) -> None:
        """Compare the digest of all pieces, once they have been taken in, with the stated one.

        Raises
        ------
        DigestError
        """
        compare_digests(self._hasher.text() if self.is_ordered else self._summed(), self._stated)

    def _summed(self) -> str:
        (_, whole, _), *others = sorted(self._crcs)
        for _, piece, length in others:
            whole = combine(whole, piece, length, _POLYNOMIALS[self._hasher.algorithm])
        return f"{self._hasher.algorithm}:0x{whole:08X}"


def check_digest(stated: str, data: Bytes) -> None:
    """Compare a stated digest, of an algorithm that we compute, with the digest of `data`.

    Raises
    ------
    DigestError
    """
    hasher = Hasher(stated.partition(":")[0])  # type: ignore[arg-type]
    hasher.update(data)
    compare_digests(hasher.text(), stated)


def compare_digests(actual: str, stated: str) -> None:
    """Compare the digest of some bytes with the stated one.

    Raises
    ------
    DigestError
    """
    if actual != stated and _normal(actual) != _normal(stated):
        raise DigestError(
            f"the bytes have the digest {actual}, the file states {stated}: they were damaged, or "
            "written by a broken writer; verify=False reads them unchecked"
        )


def _normal(digest: str) -> str:
    """Fold what published readers fold: case, and the optional 0x of a CRC."""
    algorithm, _, value = digest.lower().partition(":")
    return f"{algorithm}:{value.removeprefix('0x') if algorithm in _POLYNOMIALS else value}"
