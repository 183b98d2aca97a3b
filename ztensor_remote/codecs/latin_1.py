"""Decode bytes that pickles before protocol 3 hold as a text in UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Callable

from ..errors import FormatError
from ..types import Bytes


class Latin1Decoder:
    """A decoder that is fed a text piece by piece; each character is a byte.

    Parameters
    ----------
    write : callable
        Given the decoded bytes.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def feed(self, data: Bytes) -> None:
        """Decode the next stored bytes.

        Raises
        ------
        FormatError
        """
        self._decode(bytes(data), final=False)

    def finish(self) -> None:
        """Check that the text does not end within a character.

        Raises
        ------
        FormatError
        """
        self._decode(b"", final=True)

    def _decode(self, data: bytes, *, final: bool) -> None:
        try:
            self._write(self._decoder.decode(data, final).encode("latin-1"))
        except UnicodeError:
            raise FormatError(
                "the stored bytes are no text of characters up to U+00FF", rule="Encoding"
            ) from None
