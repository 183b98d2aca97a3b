"""A file on its way to other processes, each of which opens it once, whatever comes of it."""

from __future__ import annotations

import os
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakValueDictionary, ref

if TYPE_CHECKING:
    from .file import Reader
    from .tensor import LazyTensor

Reduced: TypeAlias = "tuple[Callable[..., Reader], tuple[object, ...]]"
"""What `Reader.__reduce__` returns."""

_MOST_KEPT = 64
"""Files that a process keeps open for tasks to come."""


class Handle:
    """What opens a file elsewhere, at the version that it is of.

    Handles with the same state are of one file, version and options.

    Parameters
    ----------
    state : bytes
        `Reduced`, pickled.
    """

    def __init__(self, state: bytes) -> None:
        self._state = state
        self._origin: Callable[[], Reader | None] = lambda: None

    @classmethod
    def of(cls, reader: Reader, reduced: Reduced) -> Handle:
        """Make the handle of a reader, which stands for itself in this process."""
        handle = cls(pickle.dumps(reduced))
        handle._origin = ref(reader)
        return handle

    def reader(self) -> Reader:
        """Return the file as this process has it open, and keep it open for a while.

        Raises
        ------
        ObjectChangedError
            It is another one now.
        FormatError, StoreError
        """
        origin = self._origin()
        if origin is not None and origin._is_at(self):
            return origin
        return OPENED.reader(self._state, keep=True)

    def tensor(self, name: str) -> LazyTensor:
        """Return a tensor of the file, which is open as long as one of them is used."""
        return OPENED.reader(self._state)[name]

    def __reduce__(self) -> Any:
        return Handle, (self._state,)


class _Turn:
    """A lock that others can refer to weakly."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Opened:
    """The files that this process has opened for handles: as long as they are used, or kept."""

    def __init__(self) -> None:
        self._forget()
        # A lock may be held at the moment of a fork, by a thread that the child does not have.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._turns: WeakValueDictionary[bytes, _Turn] = WeakValueDictionary()
        self._readers: WeakValueDictionary[bytes, Reader] = WeakValueDictionary()
        self._kept: OrderedDict[bytes, Reader] = OrderedDict()

    def reader(self, state: bytes, *, keep: bool = False) -> Reader:
        """Return the reader that a handle stands for, opened when it is first asked for.

        Parameters
        ----------
        state : bytes
            Of a handle.
        keep : bool
            Whether it stays open when nobody uses it, until many others were asked for.
        """
        key = blake2b(state).digest()  # a handle of bytes in memory holds them all
        with self._lock:
            turn = self._turns.setdefault(key, _Turn())
        with turn.lock:
            reader = self._readers.get(key)
            if reader is None or reader._blobs.closed:
                rebuild, arguments = pickle.loads(state)
                reader = self._readers[key] = rebuild(*arguments)
        if keep:
            self._keep(key, reader)
        return reader

    def _keep(self, key: bytes, reader: Reader) -> None:
        with self._lock:
            self._kept[key] = reader
            self._kept.move_to_end(key)
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)


OPENED = Opened()
