"""Wanted byte runs in, requests out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]

_WORTH_A_PIECE = 4096
"""Bytes from one run to the next: nearer ones are picked out of borrowed memory, all at once."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Byte runs of an object and where each belongs in the destination.

    Attributes
    ----------
    offsets, lengths, targets : int64 arrays, shape (n,)
        Run ``i`` is ``lengths[i]`` bytes at ``offsets[i]``; it goes to ``targets[i]``. A negative
        target means that the run is handed over in one piece, as number ``~targets[i]``.
    """

    offsets: Offsets
    lengths: Offsets
    targets: Offsets

    @classmethod
    def packed(cls, offsets: Offsets, length: int) -> Runs:
        """Return runs of one length that follow each other in the destination."""
        lengths = np.full(len(offsets), length, dtype=np.int64)
        return cls(offsets, lengths, np.arange(len(offsets), dtype=np.int64) * length)

    @classmethod
    def single(cls, offset: int, length: int) -> Runs:
        """Return one run that fills the destination."""
        return cls.packed(np.array([offset], dtype=np.int64), length)

    @classmethod
    def joined(cls, each: Sequence[Runs]) -> Runs:
        """Return all runs; their targets must be in one destination."""
        return cls(
            np.concatenate([runs.offsets for runs in each]),
            np.concatenate([runs.lengths for runs in each]),
            np.concatenate([runs.targets for runs in each]),
        )

    @property
    def has_lent(self) -> bool:
        """Whether some are handed over, for which memory is lent."""
        return bool((self.targets < 0).any())

    def moved(self, by: int, targets_by: int) -> Runs:
        """Return the runs at other offsets and targets, each so many bytes later."""
        return Runs(self.offsets + by, self.lengths, self.targets + targets_by)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Runs:
        """Return the chosen runs."""
        return Runs(self.offsets[chosen], self.lengths[chosen], self.targets[chosen])

    def between(self, start: int, stop: int) -> Runs:
        """Return some of the runs."""
        return Runs(self.offsets[start:stop], self.lengths[start:stop], self.targets[start:stop])


@dataclass(frozen=True, slots=True)
class Request:
    """A range to fetch and the runs it carries.

    Attributes
    ----------
    offset, length : int
        What to ask the store for, in bytes.
    runs : Runs
        All inside the range.
    """

    offset: int
    length: int
    runs: Runs

    @property
    def wanted(self) -> int:
        """Bytes of the runs; less than `length` where gaps are read over."""
        return int(self.runs.lengths.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What requests cost on the way to one server.

    Attributes
    ----------
    latency : float
        Seconds from a request to the first byte of its answer.
    overhead : float
        Seconds that each request costs the client, whatever runs beside it.
    stream, total : float
        Bytes a second, of one connection and of all.
    connections : int
        Requests under way at the same time.
    smallest_part, largest_part : int
        Bytes of the requests that a large run is split into.
    largest_borrowed : int
        Bytes of a request that takes memory while it is under way: runs have no place, or lie so
        dense that they are picked out of it.
    over_read : float
        The ratio of fetched to wanted bytes that is always accepted; more has to pay twice over.
    """

    latency: float
    overhead: float
    stream: float
    total: float
    connections: int
    smallest_part: int
    largest_part: int
    largest_borrowed: int
    over_read: float

    def seconds(self, requests: int, nbytes: int) -> float:
        """Return how long so many requests, of so many bytes in all, can be expected to take."""
        if not requests:
            return 0.0
        waves = -(-requests // self.connections)
        speed = min(self.total, self.stream * min(requests, self.connections))
        return max(waves * self.latency, requests * self.overhead) + nbytes / speed


def is_picked(runs: Runs) -> bool:
    """Whether runs go through memory that is borrowed: some have no place, or they lie dense."""
    if runs.has_lent:
        return True
    span = int((runs.offsets + runs.lengths).max() - runs.offsets.min())
    return len(runs.offsets) > 1 and span < _WORTH_A_PIECE * len(runs.offsets)


def plan(runs: Runs, costs: Costs, *, grain: int = 1) -> list[Request]:
    """Return the requests that fetch `runs`, in the order of their offsets.

    Runs that touch are one request, up to the size of a part; so are runs with a gap between them
    where reading it costs less time than another request.

    Parameters
    ----------
    runs : Runs
        In any order; they may overlap.
    costs : Costs
    grain : int
        Bytes that are always fetched together: narrower gaps between runs cost nothing, and long
        runs are cut at multiples of it.
    """
    runs = _ordered(runs)
    if not len(runs.offsets):
        return []
    reached = np.maximum.accumulate(runs.offsets + runs.lengths)
    gaps = np.maximum(runs.offsets[1:] - reached[:-1], 0)
    largest = costs.largest_borrowed if is_picked(runs) else costs.largest_part
    widest, part = _choose(gaps, int(runs.lengths.sum()), costs, free=grain - 1, largest=largest)
    runs = _cut(runs, part, grain)
    reached = np.maximum.accumulate(runs.offsets + runs.lengths)
    first = _first_of_each(runs.offsets, reached, widest, part)
    last = np.append(first[1:], len(runs.offsets))
    return [
        Request(
            int(runs.offsets[start]),
            int(reached[stop - 1] - runs.offsets[start]),
            runs.between(start, stop),
        )
        for start, stop in zip(first.tolist(), last.tolist(), strict=True)
    ]


def _ordered(runs: Runs) -> Runs:
    order = np.argsort(runs.offsets, kind="stable")
    order = order[runs.lengths[order] > 0]
    return Runs(runs.offsets[order], runs.lengths[order], runs.targets[order])


def _choose(
    gaps: Offsets, wanted: int, costs: Costs, *, free: int, largest: int
) -> tuple[int, int]:
    """Return the widest gap worth reading over, and a size of parts that keeps all busy."""
    chosen, lowest = (0, 1), np.inf
    wanted += int(gaps[gaps <= free].sum())
    gaps = np.where(gaps <= free, 0, gaps)
    for widest in [free, *(1 << power for power in range(6, 33, 2) if 1 << power > free)]:
        is_read = gaps <= widest
        fetched = wanted + int(gaps[is_read].sum())
        part = max(costs.smallest_part, min(largest, fetched // costs.connections))
        requests = max(1 + int((~is_read).sum()), fetched // part)
        price = costs.seconds(requests, fetched)
        if fetched > costs.over_read * wanted:
            price *= 2
        if price < lowest:
            chosen, lowest = (widest, part), price
        if is_read.all():
            break
    return chosen


def _cut(runs: Runs, part: int, grain: int) -> Runs:
    """Cut runs into even pieces of a part or less than two, but those that stay in one."""
    counts = np.where(runs.targets < 0, 1, np.maximum(runs.lengths // part, 1))
    if (counts == 1).all():
        return runs
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = runs.offsets[owner]
    starts = begins + number * (runs.lengths[owner] // counts[owner])
    ends = begins + runs.lengths[owner]
    starts = np.where(number == 0, begins, np.minimum(-(-starts // grain) * grain, ends))
    stops = np.where(number == counts[owner] - 1, ends, np.append(starts[1:], 0))
    cut = Runs(starts, stops - starts, runs.targets[owner] + starts - begins)
    return _ordered(cut)


def _first_of_each(offsets: Offsets, reached: Offsets, widest: int, part: int) -> Offsets:
    """Return the index of the first run of each request."""
    begins = np.append(True, offsets[1:] - reached[:-1] > widest)
    segment = np.cumsum(begins) - 1
    start = offsets[begins]
    last = np.append(np.flatnonzero(begins)[1:], len(offsets)) - 1
    length = reached[last] - start
    size = -(-length // np.maximum(length // part, 1))  # even parts of a segment
    piece = (offsets - start[segment]) // size[segment]
    changes = np.append(True, (np.diff(segment) > 0) | (np.diff(piece) > 0))
    return np.flatnonzero(changes)
