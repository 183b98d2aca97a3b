"""Which bytes of an object a store copies inside, and which have to be sent again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

SMALLEST_PART = 5 << 20
"""Bytes of a part that is not the last."""

LARGEST_PART = 5 << 30

_COPY = 256 << 20
"""Bytes copied by one request, of several side by side."""

_MOST_COPIES = 1000
"""Of the 10,000 parts that an upload may have; more only where they would be too large."""


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """How a range of an object becomes part of an upload.

    Attributes
    ----------
    first : int
        The bytes before are sent: they fill up the part that was begun.
    copies : tuple of (start, stop)
        Parts that the store copies.
    last : int
        The bytes from here on are sent, at the beginning of a new part.
    """

    first: int
    copies: tuple[tuple[int, int], ...]
    last: int


def plan_copy(start: int, stop: int, *, buffered: int, equal: int | None = None) -> CopyPlan:
    """Plan the copy of ``[start, stop)`` behind `buffered` bytes that were not sent yet.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html

    Parameters
    ----------
    equal : int, optional
        The size of each part but the last, for stores that want all of one size.
    """
    if equal is not None:
        first = start + -buffered % equal
        count = (stop - first) // equal
        edges = [first + equal * index for index in range(count + 1)] if count > 0 else []
    else:
        first = start + max(0, SMALLEST_PART - buffered) if buffered else start
        length = stop - first
        count = max(-(-length // LARGEST_PART), min(-(-length // _COPY), _MOST_COPIES))
        edges = [first + length * index // count for index in range(count + 1)] if count > 0 else []
        if length < SMALLEST_PART:
            edges = []
    copies = tuple(pairwise(edges))
    if not copies:
        return CopyPlan(stop, (), stop)
    return CopyPlan(first, copies, copies[-1][1])
