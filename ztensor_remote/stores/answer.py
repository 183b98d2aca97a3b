"""What a store answers to a request for a range, and how it is judged."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import StoreError
from .scatter import Scatter
from .source import Identity

IGNORES_RANGES = (
    "the server ignores range requests; put 'simplecache::' before the URL to download the object "
    "once"
)

# The last byte of an empty object is -1 to fake-gcs-server.
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(-?\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a store says about the bytes that it is about to send.

    Attributes
    ----------
    length : int
        Bytes of the body.
    content_range : str or None
        The header, ``"bytes first-last/total"``.
    etag, version : str or None
    waited : float or None
        Seconds from the request to this answer, where they are known.
    """

    length: int
    content_range: str | None
    etag: str | None = None
    version: str | None = None
    waited: float | None = None

    @property
    def positions(self) -> tuple[int, int, int]:
        """First byte, last byte and total size.

        An answer without the header is the whole object: judge by what came, not by the status
        (RFC 9110 §14.4; some servers answer a range with 200).
        """
        if self.content_range is None:
            return 0, self.length - 1, self.length
        return parse_content_range(self.content_range)

    @property
    def identity(self) -> Identity:
        """The version that the bytes are of."""
        return Identity(self.positions[2], self.etag, self.version)


Receive = Callable[[Answer], Scatter]
"""Judges an answer and returns the memory to put its body in, or raises."""


class RangeNotSatisfiable(Exception):
    """The store has no bytes in the range that was asked for (HTTP 416)."""


def check_encoding(name: str | None) -> None:
    """Refuse a body that was compressed on its way: ranges of it are of other bytes.

    Raises
    ------
    StoreError
    """
    if (name or "identity").lower() != "identity":
        raise StoreError(
            f"the server sends the object with Content-Encoding: {name}, so its ranges are of "
            "other bytes; turn that off at the server, or download the object first"
        )


def parse_content_range(text: str) -> tuple[int, int, int]:
    """Return first byte, last byte and total size."""
    found = _CONTENT_RANGE.fullmatch(text.strip())
    if found is None:
        raise StoreError(f"unreadable Content-Range {text!r}")
    first, last, size = (int(number) for number in found.groups())
    return first, last, size


def stated_length(content_length: int | None, content_range: str | None) -> int:
    """Return how long the body is by the headers of an answer."""
    if content_length is not None:
        return content_length
    if content_range is None:  # sent in chunks, perhaps without end
        raise StoreError(IGNORES_RANGES)
    first, last, _ = parse_content_range(content_range)
    return last + 1 - first
