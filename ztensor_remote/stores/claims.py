"""Who fetches which block: one of all threads and processes that want it."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Claims:
    """Claims on the blocks of one object.

    A claim is a lock on one byte of a file, which the system gives up when its holder dies. Such
    locks are between processes; the threads of this one are told apart here. Closing any
    descriptor of the file gives up all of a process's locks on it: only one may be open.

    Parameters
    ----------
    file : int
        Descriptor, open to be written.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._mine: set[int] = set()

    @contextmanager
    def taking(self, blocks: range) -> Iterator[list[range]]:
        """Claim those blocks that nobody else has, for as long as the context lasts."""
        taken: list[int] = []
        try:
            with self._lock:
                for block in blocks:
                    if block not in self._mine and self._try(block):
                        self._mine.add(block)
                        taken.append(block)
            yield in_a_row(taken)
        finally:
            with self._lock:
                for block in taken:
                    fcntl.lockf(self._file, fcntl.LOCK_UN, 1, block, os.SEEK_SET)
                    self._mine.discard(block)

    def _try(self, block: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, block, os.SEEK_SET)
        except (BlockingIOError, PermissionError):
            return False
        return True


def in_a_row(blocks: Sequence[int]) -> list[range]:
    """Return ascending numbers as ranges."""
    ranges: list[range] = []
    for block in blocks:
        if ranges and ranges[-1].stop == block:
            ranges[-1] = range(ranges[-1].start, block + 1)
        else:
            ranges.append(range(block, block + 1))
    return ranges
