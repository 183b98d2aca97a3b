"""From a plan to fetches: where in memory the bytes of each request land."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from .control import Control
from .execute import Fetch
from .plan import Offsets, Request, Runs, is_picked
from .source import Source

Landed = Callable[[int, int, int], object]
"""Told that bytes are there: the index of the destination, the first, and what follows the last."""

HandedOver = Callable[[int, memoryview, Control], object]
"""Given the number of a run, its bytes for as long as the call takes, and what breaks waiting."""


class Landing:
    """Destinations that runs go to, as if they lay one after another.

    Parameters
    ----------
    destinations : sequence of memoryview
        Writable, of format ``"B"``.
    landed, handed_over : callable, optional
    """

    def __init__(
        self,
        destinations: Sequence[memoryview],
        landed: Landed | None = None,
        handed_over: HandedOver | None = None,
    ) -> None:
        sizes = [len(destination) for destination in destinations]
        self.starts: Offsets = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
        self._starts = self.starts.tolist()  # for single look-ups, which NumPy is slow at
        self._destinations = destinations
        self._landed = landed
        self._handed_over = handed_over

    def fetches(self, source: Source, requests: Sequence[Request]) -> Iterator[Fetch]:
        """Yield what fetches the requests, whose targets are positions in all destinations."""
        passed_over = np.empty(max(map(_widest_gap, requests), default=0), np.uint8).data
        for request in requests:
            borrows = is_picked(request.runs) or _is_overlapping(request.runs)
            pieces = None if borrows else self._pieces(request, passed_over)
            use = partial(self._pick if borrows else self._note, request)
            yield Fetch(source, request.offset, request.length, pieces, use, request.wanted)

    def _pieces(self, request: Request, passed_over: memoryview) -> list[memoryview]:
        """Return the memory that the range fills, gaps included."""
        pieces, at = [], request.offset
        for offset, length, target in _rows(request.runs):
            if offset > at:
                pieces.append(passed_over[: offset - at])
            index, start = self._place(target)
            pieces.append(self._destinations[index][start : start + length])
            at = offset + length
        return pieces

    def _place(self, target: int) -> tuple[int, int]:
        # Where several begin at one position, all but the last are empty.
        index = bisect_right(self._starts, target) - 1
        return index, target - self._starts[index]

    def _note(self, request: Request, _: memoryview, control: Control) -> None:
        if self._landed is not None:
            for target, length in self._spans(request.runs):
                index, start = self._place(target)
                self._landed(index, start, start + length)

    def _spans(self, runs: Runs) -> Iterator[tuple[int, int]]:
        """Yield where runs that have a place went, neighbours in one destination together."""
        is_placed = runs.targets >= 0
        targets, lengths = runs.targets[is_placed], runs.lengths[is_placed]
        if len(targets) <= 1:
            yield from zip(targets.tolist(), lengths.tolist(), strict=True)
            return
        index = np.searchsorted(self.starts, targets, side="right")
        is_first = (targets[1:] != targets[:-1] + lengths[:-1]) | (np.diff(index) > 0)
        first = np.append(0, np.flatnonzero(is_first) + 1)
        sums = np.add.reduceat(lengths, first)
        yield from zip(targets[first].tolist(), sums.tolist(), strict=True)

    def _pick(self, request: Request, borrowed: memoryview, control: Control) -> None:
        self.place(request, borrowed)
        self._note(request, borrowed, control)
        if self._handed_over is not None:
            for offset, length, target in _rows(request.runs):
                if target < 0:
                    begin = offset - request.offset
                    self._handed_over(~target, borrowed[begin : begin + length], control)

    def place(self, request: Request, data: memoryview) -> None:
        """Copy the runs of a request out of its bytes."""
        if not self._pick_regular(request, data):
            for offset, length, target in _rows(request.runs):
                if target >= 0:
                    index, start = self._place(target)
                    begin = offset - request.offset
                    self._destinations[index][start : start + length] = data[begin : begin + length]

    def _pick_regular(self, request: Request, borrowed: memoryview) -> bool:
        """Copy runs of one length at equal distances by one call, if they are such."""
        runs = request.runs
        length = int(runs.lengths[0])
        steps, strides = np.diff(runs.offsets), np.diff(runs.targets)
        if len(steps) < 1 or runs.has_lent:
            return False
        if (runs.lengths != length).any() or (steps != steps[0]).any() or steps[0] < length:
            return False
        if (strides != length).any():
            return False
        begin, step, count = int(runs.offsets[0]) - request.offset, int(steps[0]), len(steps) + 1
        stored = np.frombuffer(borrowed, np.uint8)[begin:]
        rows = np.lib.stride_tricks.as_strided(stored, (count, length), (step, 1), writeable=False)
        index, start = self._place(int(runs.targets[0]))
        whole = np.frombuffer(self._destinations[index], np.uint8)
        if start + count * length > len(whole):
            return False
        whole[start : start + count * length].reshape(count, length)[:] = rows
        return True


def _rows(runs: Runs) -> Iterator[tuple[int, int, int]]:
    return zip(runs.offsets.tolist(), runs.lengths.tolist(), runs.targets.tolist(), strict=True)


def _gaps(runs: Runs) -> Offsets:
    gaps: Offsets = runs.offsets[1:] - (runs.offsets + runs.lengths)[:-1]
    return gaps


def _widest_gap(request: Request) -> int:
    return int(_gaps(request.runs).max(initial=0))


def _is_overlapping(runs: Runs) -> bool:
    return bool((_gaps(runs) < 0).any())
