"""Three ways to read columns by hand, between which a planner has to choose."""

from __future__ import annotations

from typing import Any

import numpy as np

from .ranges import PART, bytes_of
from .raw import Raw

NARROW_STREAMS = 64


class Narrow(Raw):
    """A request for each row, of just the columns."""

    actions = frozenset(("columns",))

    def columns(self, name: str, start: int, stop: int) -> Any:
        """Read a narrow run of each row."""
        rows, offset, size = self._rows(name)
        out = np.empty((rows, stop - start), self.job.dataset.dtype)
        first = offset + start * out.itemsize
        parts = [(first + i * size, bytes_of(out[i])) for i in range(rows)]
        self._side_by_side(parts, NARROW_STREAMS)
        return out

    def _rows(self, name: str) -> tuple[int, int, int]:
        """Return how many rows there are, where the first begins, and the bytes of each."""
        offset, length = self.job.layout[name]
        rows = self.job.dataset.shape[0]
        return rows, offset, length // rows


class Merged(Narrow):
    """Requests of about 8 MiB, from which the columns are picked."""

    def columns(self, name: str, start: int, stop: int) -> Any:
        """Read runs of many rows with what lies between them."""
        rows, offset, size = self._rows(name)
        dtype = np.dtype(self.job.dataset.dtype)
        out = np.empty((rows, stop - start), dtype)
        step = max(1, PART // size)

        def pick(first: int) -> None:
            count = min(step, rows - first)
            scratch = np.empty((count, size // dtype.itemsize), dtype)
            cut = slice(start * dtype.itemsize, (count - 1) * size + stop * dtype.itemsize)
            self.fetch(offset + first * size + cut.start, bytes_of(scratch)[cut])
            out[first : first + count] = scratch[:, start:stop]

        self._in_threads(pick, range(0, rows, step))
        return out


class WholeRows(Raw):
    """Everything, in four streams, and then the columns of it."""

    actions = frozenset(("columns",))

    def columns(self, name: str, start: int, stop: int) -> Any:
        """Read the matrix."""
        return self.load([name])[name][:, start:stop].copy()
