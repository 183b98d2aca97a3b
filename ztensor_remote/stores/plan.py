"""Wanted byte runs in, requests out. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """Byte runs of an object and where each belongs in the destination.

    Attributes
    ----------
    offsets, lengths, targets : int64 arrays, shape (n,)
        Run ``i`` is ``lengths[i]`` bytes at ``offsets[i]``; it goes to ``targets[i]``.
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
    def is_direct(self) -> bool:
        """Whether the answer can go straight to the destination, as one piece."""
        runs = self.runs
        ends = runs.offsets + runs.lengths
        shift = runs.targets - runs.offsets
        return bool((runs.offsets[1:] == ends[:-1]).all() and (shift == shift[0]).all())


def plan(runs: Runs, *, wave: int, max_gap: int) -> list[Request]:
    """Return the requests that fetch `runs`, in the order of their offsets.

    Runs that touch are one request. Gaps are read over only where there are more runs than go
    out at once: then each merge saves waiting, before that it would only cost bytes.

    Parameters
    ----------
    runs : Runs
        In any order; they may overlap.
    wave : int
        Requests that are under way at the same time.
    max_gap : int
        The widest gap, in bytes, worth reading over.
    """
    order = np.argsort(runs.offsets, kind="stable")
    offsets, lengths, targets = runs.offsets[order], runs.lengths[order], runs.targets[order]
    wanted = lengths > 0
    offsets, lengths, targets = offsets[wanted], lengths[wanted], targets[wanted]
    if not len(offsets):
        return []
    reached = np.maximum.accumulate(offsets + lengths)
    gaps = offsets[1:] - reached[:-1]
    tolerated = max_gap if int((gaps > 0).sum()) >= wave else 0
    first = np.concatenate(([0], np.flatnonzero(gaps > tolerated) + 1))
    last = np.concatenate((first[1:], [len(offsets)]))
    return [
        Request(
            int(offsets[start]),
            int(reached[stop - 1] - offsets[start]),
            Runs(offsets[start:stop], lengths[start:stop], targets[start:stop]),
        )
        for start, stop in zip(first, last, strict=True)
    ]
