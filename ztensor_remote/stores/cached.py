"""A remote object of which a cache on this machine keeps what was read."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

import numpy as np

from .blocks import BLOCK, Blocks
from .cache import Cache, blocks_of, report
from .control import Control
from .limits import Limits
from .local import copy_out
from .location import Location
from .plan import Runs
from .remote import RemoteSource
from .room import Room
from .source import End, Identity

_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05
"""Seconds between looks at what another reader is fetching."""


_NO_ROOM = "the cache's max_bytes are in use"


class CachedSource:
    """An object that is read by whole blocks, each fetched by one reader on this host.

    Parameters
    ----------
    source : RemoteSource
        The object itself.
    blocks : Blocks
        What there is of it here.
    cache : Cache
    """

    grain = BLOCK

    def __init__(self, source: RemoteSource, blocks: Blocks, cache: Cache) -> None:
        self.url = source.url
        self.identity = source.identity
        self.stats = source.stats
        self.link = source.link
        self._source = source
        self._blocks = blocks
        self._cache = cache
        self._room = Room(cache.path, cache.max_bytes)
        self._limits: Limits = source.limits
        self._is_broken = False

    # --- what is here ------------------------------------------------------------------------

    def view(self, offset: int, length: int) -> memoryview | None:
        """Return bytes without a copy, read-only; None if they are not all here."""
        return self._blocks.view(offset, length) if length else None

    def private_view(self, offset: int, length: int) -> memoryview | None:
        """Like `view`, but copy-on-write."""
        view = self._blocks.private_view(offset, length) if length else None
        if view is not None:
            self.stats.add_cached(length)
        return view

    def split(self, runs: Runs) -> tuple[Runs, Runs]:
        """Return the runs that are here, and those that are not."""
        if not len(runs.offsets):
            return runs, runs
        first = runs.offsets // BLOCK
        stop = -(-(runs.offsets + runs.lengths) // BLOCK)
        whole = range(int(first.min()), int(stop.max()))
        known = np.append(0, np.cumsum(self._blocks.sums(whole) != 0))
        is_here = known[stop - whole.start] - known[first - whole.start] == stop - first
        return runs.where(is_here), runs.where(~is_here)

    def has_room(self, nbytes: int) -> bool:
        """Whether so many bytes can be kept once they are read, if what can make way does."""
        if self._is_broken:
            return False
        try:
            is_there = self._room.has(nbytes)
        except OSError as error:
            self._fail(error)
            return False
        if not is_there:
            self.stats.uncached = _NO_ROOM
        return is_there

    # --- reading -----------------------------------------------------------------------------

    def read_into(self, offset: int, *pieces: memoryview, control: Control | None = None) -> None:
        """Fill the pieces with what is here, and what has to be fetched, which is then kept.

        What another reader is fetching is waited for, until it comes or that reader dies; one
        that does neither for as long as a request may take is no longer relied on.
        """
        control = control or Control(self._limits.deadline)
        wanted = _Wanted(offset, pieces)
        length = wanted.stop - offset
        rest = [self._blocks.covering(offset, length)] if length else []
        pause, patience = _FIRST_PAUSE, time.monotonic() + self._limits.timeout
        while rest := [each for blocks in rest for each in self._read(blocks, wanted, control)]:
            if time.monotonic() > patience:
                for blocks in rest:
                    self._fetch(blocks, wanted, control)
                return
            control.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _read(self, blocks: range, wanted: _Wanted, control: Control) -> Iterator[range]:
        """Read what can be read now; yield the blocks that others are fetching."""
        for is_here, some in self._told_apart(blocks):
            if is_here:
                self._copy(some, wanted, control)
                continue
            first, stop = self._blocks.span(some)
            if not self.has_room(stop - first):
                start, pieces = wanted.inside(first, stop)
                self._source.read_into(start, *pieces, control=control)
                continue
            with self._blocks.claims.taking(some) as mine:
                # Between the look and the claim another reader may have brought them.
                for is_here, same in itertools.chain(*map(self._told_apart, mine)):
                    if is_here:
                        self._copy(same, wanted, control)
                    else:
                        self._fetch(same, wanted, control)
            yield from _without(some, mine)

    def _told_apart(self, blocks: range) -> Iterator[tuple[bool, range]]:
        """Yield neighbours that are all here, or all not."""
        is_here = self._blocks.sound(blocks)
        edges = [0, *(np.flatnonzero(np.diff(is_here)) + 1).tolist(), len(blocks)]
        for start, stop in itertools.pairwise(edges):
            yield bool(is_here[start]), blocks[start:stop]

    def _copy(self, blocks: range, wanted: _Wanted, control: Control) -> None:
        start, pieces = wanted.inside(*self._blocks.span(blocks))
        length = sum(map(len, pieces))
        data = self._blocks.view(start, length)
        if data is None:  # cut off since the look a moment ago
            self._source.read_into(start, *pieces, control=control)
            return
        copy_out(data, pieces)
        self.stats.add_cached(length)

    def _fetch(self, blocks: range, wanted: _Wanted, control: Control) -> None:
        first, stop = self._blocks.span(blocks)
        start, pieces = wanted.inside(first, stop)
        # Into memory that is nobody else's: pieces may lie over each other, as those for gaps do,
        # or be the caller's, who may write to them meanwhile.
        whole = np.empty(stop - first, np.uint8).data
        self._source.read_into(first, whole, control=control)
        self.keep(first, whole)
        copy_out(whole[start - first : start - first + sum(map(len, pieces))], pieces)

    def keep(self, offset: int, data: memoryview) -> None:
        """Keep whole blocks of the object, if there is room."""
        if self._is_broken:
            return
        try:
            with self._room.taking(len(data)) as is_granted:
                if is_granted:
                    self._blocks.store(offset // BLOCK, data)
                else:
                    self.stats.uncached = _NO_ROOM
        except OSError as error:
            self._fail(error)

    def forget(self, offset: int, length: int) -> None:
        """Fetch bytes anew when they are next read."""
        try:
            self._blocks.forget(self._blocks.covering(offset, length))
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._is_broken = True
        report(error, self._cache, self.stats)

    def close(self) -> None:
        """Close the object, which may then make way once no view of it lives."""
        self._source.close()
        self.__dict__.pop("_blocks", None)


class _Wanted:
    """Memory that a range of the object goes to."""

    def __init__(self, offset: int, pieces: Sequence[memoryview]) -> None:
        self._offset = offset
        self._pieces = pieces
        self._ends = np.cumsum([offset, *map(len, pieces)])
        self.stop = int(self._ends[-1])

    def inside(self, start: int, stop: int) -> tuple[int, list[memoryview]]:
        """Return the memory for the wanted part of a range, and where that part begins."""
        start, stop = max(start, self._offset), min(stop, self.stop)
        found = []
        for index in range(
            int(np.searchsorted(self._ends, start, "right")) - 1,
            int(np.searchsorted(self._ends, stop, "left")),
        ):
            begin = int(self._ends[index])
            piece = self._pieces[index]
            found.append(piece[max(0, start - begin) : stop - begin])
        return start, found


def _without(blocks: range, taken: Sequence[range]) -> Iterator[range]:
    start = blocks.start
    for each in taken:
        if each.start > start:
            yield range(start, each.start)
        start = each.stop
    if start < blocks.stop:
        yield range(start, blocks.stop)


def open_cached(
    source: RemoteSource, location: Location, *, window: int, end: End, pinned: Identity | None
) -> tuple[RemoteSource | CachedSource, memoryview]:
    """Open an object by way of the cache, and return it with its first or last `window` bytes.

    Parameters
    ----------
    end : {"head", "tail"}
    pinned : Identity, optional
        The version that is wanted: if the cache has that end, nothing is requested at all.

    Raises
    ------
    StoreError, InvalidInputError
    """
    cache = location.cache
    assert cache is not None
    if pinned is not None:
        source.identity = pinned
        cached = reopen_cached(source, location)
        if isinstance(cached, CachedSource):
            piece = memoryview(bytearray(min(pinned.size, window)))
            cached.read_into(0 if end == "head" else pinned.size - len(piece), piece)
            return cached, piece
    # Whole blocks, wherever the object ends.
    piece = (
        source.open_head(-(-window // BLOCK) * BLOCK)
        if end == "head"
        else (source.open_tail(window + BLOCK))
    )
    wanted = piece[:window] if end == "head" else piece[-window:]
    blocks = blocks_of(cache, location, source.identity, source.stats)
    if blocks is None:
        return source, wanted
    cached = CachedSource(source, blocks, cache)
    start = 0 if end == "head" else source.identity.size - len(piece)
    first = -(-start // BLOCK) * BLOCK
    stop = start + len(piece)
    if not blocks.sound(blocks.covering(first, stop - first)).all():
        cached.keep(first, piece[first - start :])
    return cached, wanted


def reopen_cached(source: RemoteSource, location: Location) -> RemoteSource | CachedSource:
    """Return an object whose version is known, by way of the cache if that can keep it."""
    assert location.cache is not None
    blocks = blocks_of(location.cache, location, source.identity, source.stats)
    return source if blocks is None else CachedSource(source, blocks, location.cache)
