"""Peers that move bytes: they are told where each tensor lies in the zTensor file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from .peer import Arrays, Peer

PART = 8 << 20
STREAMS = 4

T = TypeVar("T")


class Ranges(Peer):
    """Reads ranges of an object into memory, a few at a time.

    What differs from one client to the next is `fetch`.
    """

    actions = frozenset(("load", "into", "rows"))
    small_streams = 32
    _pool: ThreadPoolExecutor | None = None

    def fetch(self, offset: int, view: memoryview) -> None:
        """Fill memory with the bytes from an offset on."""
        raise NotImplementedError

    def begin(self) -> None:
        """Nothing: where tensors lie is known."""

    def load(self, names: list[str]) -> Arrays:
        """Read tensors into fresh memory."""
        dataset = self.job.dataset
        arrays = {name: np.empty(dataset.shape, dataset.dtype) for name in names}
        self.into(arrays)
        return arrays

    def into(self, arrays: Arrays) -> None:
        """Read tensors, in parts of 8 MiB."""
        small = self.job.dataset.tensor_bytes < 1 << 20
        parts = [
            (offset, view)
            for name, array in arrays.items()
            for offset, view in parts_of(self.job.layout[name][0], bytes_of(array))
        ]
        self._side_by_side(parts, self.small_streams if small else STREAMS)

    def rows(self, name: str, start: int, stop: int) -> Any:
        """Read rows, which lie side by side."""
        dataset = self.job.dataset
        out = np.empty((stop - start, dataset.shape[1]), dataset.dtype)
        offset = self.job.layout[name][0] + start * out[0].nbytes
        self._side_by_side(list(parts_of(offset, bytes_of(out))), STREAMS)
        return out

    def _side_by_side(self, parts: list[tuple[int, memoryview]], streams: int) -> None:
        self._in_threads(lambda part: self.fetch(*part), parts, streams)

    def _in_threads(
        self, do: Callable[[T], None], things: Iterable[T], threads: int = STREAMS
    ) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(threads)
        for _ in self._pool.map(do, things):
            pass


def bytes_of(array: Any) -> memoryview:
    """Return an array's bytes."""
    return memoryview(array.reshape(-1).view(np.uint8))


def parts_of(offset: int, view: memoryview, size: int = PART) -> Iterator[tuple[int, memoryview]]:
    """Cut memory, and the range that belongs into it, into parts."""
    for start in range(0, len(view), size):
        yield offset + start, view[start : start + size]
