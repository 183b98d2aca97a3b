"""What the reader needs of a place that holds bytes: ranges of one pinned version of one object."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from .control import Control
from .link import Link
from .plan import Runs

End: TypeAlias = Literal["head", "tail"]
"""Where a file says what is in it."""

_STEP = 8 << 20


@dataclass(frozen=True, slots=True)
class Identity:
    """Which version of an object was opened.

    Attributes
    ----------
    size : int
        In bytes.
    etag, version : str or None
        What the store names the content by: an ETag; a generation or version id.
    modified : float or None
        Seconds since the epoch, for stores that have neither.
    files : tuple of (str, Identity)
        For several files that are read as one: those of each, by its name.
    """

    size: int
    etag: str | None = None
    version: str | None = None
    modified: float | None = None
    files: tuple[tuple[str, Identity], ...] = ()

    @classmethod
    def of_files(cls, files: Mapping[str, Identity]) -> Identity:
        """Return the identity of several files that are read as one."""
        return cls(sum(each.size for each in files.values()), files=tuple(files.items()))

    def matches(self, other: Identity) -> bool:
        """Whether two looks at an object can have seen the same version."""
        if self.size != other.size or len(self.files) != len(other.files):
            return False
        for (name, mine), (another, theirs) in zip(self.files, other.files, strict=True):
            if name != another or not mine.matches(theirs):
                return False
        pairs = (
            (self.etag, other.etag),
            (self.version, other.version),
            (self.modified, other.modified),
        )
        return all(mine == theirs for mine, theirs in pairs if mine and theirs)


@dataclass
class Stats:
    """What reading has cost so far.

    Attributes
    ----------
    requests : int
        Range requests that were answered; reads of a local mapping are none.
    bytes : int
        Bytes those answers carried.
    fallback : str or None
        Why the filesystem's own client is used instead of plain requests, if it is.
    cached : int
        Bytes that came from the cache instead.
    uncached : str or None
        Why bytes are not kept in the cache that was asked for, if they are not.
    """

    requests: int = 0
    bytes: int = 0
    fallback: str | None = field(default=None, compare=False)
    cached: int = 0
    uncached: str | None = field(default=None, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, count: int) -> None:
        """Count one answer of `count` bytes."""
        with self._lock:
            self.requests += 1
            self.bytes += count

    def add_all(self, other: Stats) -> None:
        """Count what another source has cost."""
        with self._lock:
            self.requests += other.requests
            self.bytes += other.bytes
            self.cached += other.cached
            self.fallback = self.fallback or other.fallback
            self.uncached = self.uncached or other.uncached

    def add_cached(self, count: int) -> None:
        """Count bytes that the cache had."""
        with self._lock:
            self.cached += count


class Source(Protocol):
    """One object, opened: every read is of the version that was there at open.

    Attributes
    ----------
    url : str
        For messages: no credentials in it.
    identity : Identity
    stats : Stats
    link : Link
        What is known of the way to it.
    """

    url: str
    identity: Identity
    stats: Stats
    link: Link

    def read_into(self, offset: int, *pieces: memoryview, control: Control | None = None) -> None:
        """Fill the pieces, one after another, with the bytes at `offset`, or raise StoreError."""

    def view(self, offset: int, length: int) -> memoryview | None:
        """Return the bytes at `offset` without a copy, read-only; None where that can't be."""

    def private_view(self, offset: int, length: int) -> memoryview | None:
        """Like `view`, but writable; what is written stays in this process and this view."""

    def close(self) -> None:
        """Give up what the source itself holds; views stay valid."""


@runtime_checkable
class Keeper(Source, Protocol):
    """A source that keeps what it reads, where `view` shows it.

    Attributes
    ----------
    grain : int
        Bytes that are read and kept together.
    """

    grain: int

    def split(self, runs: Runs) -> tuple[Runs, Runs]:
        """Return the runs that are kept, and those that have to be fetched."""

    def has_room(self, nbytes: int) -> bool:
        """Whether so many bytes can be kept once they are fetched."""

    def forget(self, offset: int, length: int) -> None:
        """Fetch bytes anew when they are next read: they turned out to be wrong."""


def pieces_of(source: Source, start: int, stop: int) -> Iterator[memoryview]:
    """Yield the bytes in their order, each piece valid until the next is asked for."""
    buffer = memoryview(bytearray(min(_STEP, stop - start)))
    for offset in range(start, stop, _STEP):
        piece = buffer[: stop - offset]
        source.read_into(offset, piece)
        yield piece
