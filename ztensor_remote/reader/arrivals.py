"""Tensors that arrive from other processes: one opened file for all of one file."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from .file import Reader


class _Turn:
    """A lock that others can refer to weakly."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Arrivals:
    """Readers of tensors that have arrived in this process, as long as any of them is used."""

    def __init__(self) -> None:
        self._forget()
        # A lock may be held at the moment of a fork, by a thread that the child does not have.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._turns: WeakValueDictionary[bytes, _Turn] = WeakValueDictionary()
        self._readers: WeakValueDictionary[bytes, Reader] = WeakValueDictionary()

    def reader(self, handle: bytes) -> Reader:
        """Return the reader that a handle stands for, opened when its first tensor arrives.

        Parameters
        ----------
        handle : bytes
            As `handle_of` returns it: equal handles are of one file, version and options.
        """
        key = blake2b(handle).digest()  # a handle of bytes in memory holds them all
        with self._lock:
            turn = self._turns.setdefault(key, _Turn())
        with turn.lock:
            reader = self._readers.get(key)
            if reader is None:
                rebuild, state = pickle.loads(handle)
                reader = self._readers[key] = rebuild(*state)
            return reader


ARRIVALS = Arrivals()


def handle_of(reduced: tuple[Callable[..., Reader], tuple[object, ...]]) -> bytes:
    """Return what `Reader.__reduce__` says as bytes, which can be compared."""
    return pickle.dumps(reduced)
