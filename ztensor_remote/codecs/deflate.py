"""Decode deflate, which members of zip files are stored in (RFC 1951)."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from ..errors import FormatError
from ..types import Bytes

_STEP = 1 << 20
"""Most bytes that are decoded at a time: a kilobyte may stand for a thousand."""


class Inflater:
    """A decoder that is fed a stream piece by piece, and hands on a span of what it holds.

    Parameters
    ----------
    write : callable
        Given the decoded bytes, 1 MiB or fewer at a time.
    start : int
        Decoded bytes that are passed over.
    length : int or None
        Bytes to hand on; what follows them is not decoded. All by default.
    """

    def __init__(
        self, write: Callable[[bytes], object], *, start: int = 0, length: int | None = None
    ) -> None:
        self._write = write
        self._skip = start
        self._left = length
        self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)

    def feed(self, data: Bytes) -> None:
        """Decode the next stored bytes.

        Raises
        ------
        FormatError
        """
        decoder = self._decoder
        while not decoder.eof and self._left != 0:
            most = _STEP if self._left is None else min(_STEP, self._skip + self._left)
            decoded = decompressed(decoder, data, most)
            if not decoded and not decoder.unconsumed_tail:
                return
            self._hand_on(decoded)
            data = decoder.unconsumed_tail

    def _hand_on(self, decoded: bytes) -> None:
        passed = min(self._skip, len(decoded))
        self._skip -= passed
        wanted = decoded[passed:] if self._left is None else decoded[passed : passed + self._left]
        if self._left is not None:
            self._left -= len(wanted)
        if wanted:
            self._write(wanted)

    def finish(self) -> None:
        """Check that the stream is whole, as far as it is wanted.

        Raises
        ------
        FormatError
        """
        if not self._decoder.eof and self._left != 0:
            raise not_deflate("cut off")


def decompressed(decoder: Any, data: Bytes, most: int) -> bytes:
    """Return what a decoder of zlib makes of bytes, `most` at most; it keeps the others.

    Raises
    ------
    FormatError
    """
    try:
        return decoder.decompress(data, most)  # type: ignore[no-any-return]
    except zlib.error as error:
        raise not_deflate(str(error)) from None


def not_deflate(problem: str) -> FormatError:
    """Return the error for bytes that are no stream of deflate."""
    return FormatError(f"the stored bytes are not valid deflate: {problem}", rule="Encoding")
