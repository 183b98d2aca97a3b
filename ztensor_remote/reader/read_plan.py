"""What reading would cost, before any of it is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..stores import Request, Source
from .show import size_text


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range that is to be asked for.

    Attributes
    ----------
    url : str
        Of the object, without credentials.
    offset, length : int
        In bytes.
    """

    url: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True, repr=False)
class ReadPlan:
    """The requests of a read.

    Attributes
    ----------
    ranges : tuple of ByteRange
        One a request, in the order they are sent.
    wanted : int
        Stored bytes that the read needs.
    """

    ranges: tuple[ByteRange, ...]
    wanted: int

    @property
    def requests(self) -> int:
        """How many requests."""
        return len(self.ranges)

    @property
    def bytes(self) -> int:
        """Bytes that they carry."""
        return sum(each.length for each in self.ranges)

    @property
    def over_read(self) -> float:
        """Bytes that are carried for each that is needed; 1.0 where none are read over."""
        return self.bytes / self.wanted if self.wanted else 1.0

    def __repr__(self) -> str:
        return (
            f"<ReadPlan: {self.requests} requests, {size_text(self.bytes)}, "
            f"{self.over_read:.2f} times what is needed>"
        )


def read_plan(planned: Iterable[tuple[Source, Sequence[Request]]]) -> ReadPlan:
    """Return the requests to some sources as one plan."""
    each = [(source.url, request) for source, requests in planned for request in requests]
    return ReadPlan(
        tuple(ByteRange(url, request.offset, request.length) for url, request in each),
        sum(request.wanted for _, request in each),
    )
