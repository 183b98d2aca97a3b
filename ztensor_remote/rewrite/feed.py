"""Stored bytes of many blobs, one blob after another, fetched a little ahead of their use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from ..errors import located
from ..manifest import Component
from ..reader import Blobs
from ..stores import Limits, Runs, Source, fetch

_PIECE = 8 << 20
_BATCH = 16 << 20
"""Bytes fetched by one plan; as many again are in use meanwhile."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A component of an open file."""

    blobs: Blobs
    part: Component

    @property
    def source(self) -> Source:
        """What holds its bytes."""
        return self.blobs.source_of(self.part)


@dataclass(frozen=True, slots=True)
class _Piece:
    source: Source
    limits: Limits
    offset: int
    length: int


class Feed:
    """Bytes of blobs in the order in which they were announced, in bounded memory.

    Parameters
    ----------
    announced : iterable of StoredBlob
        What `take` will be asked for, in this order.
    tell : callable
        Told the stored bytes that were used.
    """

    def __init__(
        self, announced: Iterable[StoredBlob], *, tell: Callable[[int], object] = lambda count: None
    ) -> None:
        self._tell = tell
        self._fetcher = ThreadPoolExecutor(1, thread_name_prefix="ztensor-feed")
        self._pieces = self._ahead(_batches(_pieces(announced)))

    def take(self, part: Component) -> Iterator[memoryview]:
        """Yield the stored bytes of the next blob, each piece valid until the next."""
        missing = part.length
        while missing:
            piece = next(self._pieces)
            missing -= len(piece)
            yield piece
            self._tell(len(piece))

    def close(self) -> None:
        """Stop fetching."""
        self._fetcher.shutdown(wait=True, cancel_futures=True)

    def _ahead(self, batches: Iterator[list[_Piece]]) -> Iterator[memoryview]:
        following = self._fetcher.submit(_fetched, next(batches, []))
        while pieces := following.result():
            following = self._fetcher.submit(_fetched, next(batches, []))
            yield from pieces


def _pieces(announced: Iterable[StoredBlob]) -> Iterator[_Piece]:
    for blob in announced:
        part = blob.part
        for start in range(0, part.length, _PIECE):
            source = blob.blobs.source_of(part)
            length = min(_PIECE, part.length - start)
            yield _Piece(source, blob.blobs.limits, part.offset + start, length)


def _batches(pieces: Iterator[_Piece]) -> Iterator[list[_Piece]]:
    """Put pieces of one file together, so that small tensors travel side by side."""
    batch: list[_Piece] = []
    for piece in pieces:
        is_full = sum(each.length for each in batch) + piece.length > _BATCH
        if batch and (is_full or piece.source is not batch[0].source):
            yield batch
            batch = []
        batch.append(piece)
    yield batch


def _fetched(batch: list[_Piece]) -> list[memoryview]:
    if not batch:
        return []
    lengths = [piece.length for piece in batch]
    stops = list(accumulate(lengths))
    memory = memoryview(bytearray(stops[-1]))
    runs = Runs(
        np.array([piece.offset for piece in batch], np.int64),
        np.array(lengths, np.int64),
        np.array(stops, np.int64) - np.array(lengths, np.int64),
    )
    source = batch[0].source
    with located(url=source.url):
        fetch(source, runs, memory, limits=batch[0].limits)
    return [memory[stop - length : stop] for stop, length in zip(stops, lengths, strict=True)]
