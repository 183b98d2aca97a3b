"""Digests as the files spell them: ``crc32c:0x…``, ``sha256:…``, ``xxh3:…`` (SPEC.md §5)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any, Literal

from ..errors import DigestError
from ..types import Bytes
from .crc import combine

Algorithm = Literal["crc32c", "sha256", "xxh3"]


class Hasher:
    """A digest that grows with the bytes it is shown.

    Parameters
    ----------
    algorithm : {"crc32c", "sha256", "xxh3"}
    """

    def __init__(self, algorithm: Algorithm) -> None:
        self.algorithm = algorithm
        self._crc = 0
        self._hash: Any = None
        if algorithm == "sha256":
            self._hash = hashlib.sha256()
        elif algorithm == "xxh3":
            import xxhash

            self._hash = xxhash.xxh3_64()

    def update(self, data: Bytes) -> None:
        """Take in more bytes."""
        if self.algorithm == "crc32c":
            import crc32c

            self._crc = crc32c.crc32c(data, self._crc)
        else:
            self._hash.update(data)

    def text(self) -> str:
        """Return the digest so far, in the spelling that published readers check."""
        if self.algorithm == "crc32c":
            return f"crc32c:0x{self._crc:08X}"
        return f"{self.algorithm}:{self._hash.hexdigest()}"


def is_checkable(stated: str, algorithms: Collection[str]) -> bool:
    """Whether a stated digest is of one of these algorithms."""
    return stated.partition(":")[0] in algorithms


class PartialDigest:
    """A crc32c whose pieces come in any order, from several threads.

    The other algorithms have to see bytes in order.
    """

    def __init__(self) -> None:
        self._pieces: list[tuple[int, int, int]] = []

    @classmethod
    def of(cls, stated: str | None) -> PartialDigest | None:
        """Return one for a stated digest, where its algorithm allows it."""
        return cls() if stated is not None and stated.startswith("crc32c:") else None

    def add(self, start: int, data: Bytes) -> None:
        """Take in the piece that begins at `start`."""
        import crc32c

        self._pieces.append((start, crc32c.crc32c(data), len(data)))

    def text(self) -> str:
        """Return the digest of all pieces, which must have no gaps."""
        whole = 0
        for _, piece, length in sorted(self._pieces):
            whole = combine(whole, piece, length)
        return f"crc32c:0x{whole:08X}"


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
    if _normal(actual) != _normal(stated):
        raise DigestError(
            f"the bytes have the digest {actual}, the file states {stated}: they were damaged, or "
            "written by a broken writer; verify=False reads them unchecked"
        )


def _normal(digest: str) -> str:
    """Fold what published readers fold: case, and crc32c's optional 0x."""
    algorithm, _, value = digest.lower().partition(":")
    return f"{algorithm}:{value.removeprefix('0x') if algorithm == 'crc32c' else value}"
