"""A file as tasks carry it to other processes: each process opens it once, whatever comes of it."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import weakref
from collections import OrderedDict
from typing import Any

import numpy as np

from ..reader import LazyTensor, Reader

_MOST_OPEN = 64
"""Files that a process keeps open for tasks to come."""


class Handle:
    """An opened file that pickles as what is needed to open it, at the version that it is of.

    Parameters
    ----------
    reader : Reader
    """

    def __init__(self, reader: Reader) -> None:
        self._key = secrets.token_hex(16)
        self._state = reader.__reduce__()
        self._origin: weakref.ref[Reader] | None = weakref.ref(reader)

    def reader(self) -> Reader:
        """Return the file as this process has it open.

        Raises
        ------
        ObjectChangedError
            It is another one now.
        FormatError, StoreError
        """
        origin = None if self._origin is None else self._origin()
        if origin is not None and not origin._blobs.closed:
            return origin
        return _opened.take(self._key).reader(self._state)

    def __reduce__(self) -> Any:
        return _received, (self._key, self._state)


def _received(key: str, state: Any) -> Handle:
    handle = Handle.__new__(Handle)
    handle._key, handle._state, handle._origin = key, state, None
    return handle


def handle_of(reader: Reader) -> Handle:
    """Return the handle of a reader: the same one each time, so that workers open it once."""
    if reader not in _handles:
        _handles[reader] = Handle(reader)
    return _handles[reader]


class StoredTensor:
    """A tensor of a handle, to be indexed in any process.

    Parameters
    ----------
    tensor : LazyTensor
    """

    def __init__(self, tensor: LazyTensor) -> None:
        self.handle = handle_of(tensor._reader)
        self.name, self.shape, self.ndim = tensor.name, tensor.shape, tensor.ndim
        self.dtype = tensor.dtype

    def __getitem__(self, key: Any) -> Any:
        """Return the selected elements, fetching only the bytes that slices and integers need."""
        tensor = self.handle.reader()[self.name]
        if not isinstance(key, tuple) or not any(isinstance(item, _FANCY) for item in key):
            return tensor[key]
        return tensor[tuple(map(_around, key))][tuple(map(_within, key))]


_FANCY = (list, np.ndarray)


def _around(item: Any) -> Any:
    """Return the slice to read for an index."""
    if isinstance(item, _FANCY):
        return slice(None)
    return item if isinstance(item, slice) else slice(item, item + 1 or None)


def _within(item: Any) -> Any:
    """Return what an index is in what was read for it."""
    if isinstance(item, _FANCY):
        return item
    return slice(None) if isinstance(item, slice) else 0


def token_of(reader: Reader) -> str:
    """Return a name for the content of a file: that of the same object, in every process.

    It tells nothing of options, and so of credentials.
    """
    data, identity = reader._location.data, reader.identity
    known = [reader.url, identity.size, identity.etag, identity.version, identity.modified]
    content = None if data is None else hashlib.sha256(data).hexdigest()
    return hashlib.sha256(repr([*known, content]).encode()).hexdigest()[:32]


class _Slot:
    """A file that is opened by the first thread that needs it, while others wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reader: Reader | None = None

    def reader(self, state: Any) -> Reader:
        with self._lock:
            if self._reader is None or self._reader._blobs.closed:
                rebuild, arguments = state
                self._reader = rebuild(*arguments)
            return self._reader


class _Opened:
    """The files that a process has open for tasks, the least recently used of which are let go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: OrderedDict[str, _Slot] = OrderedDict()

    def take(self, key: str) -> _Slot:
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            if len(self._slots) > _MOST_OPEN:
                self._slots.popitem(last=False)
            return slot


_handles: weakref.WeakKeyDictionary[Reader, Handle] = weakref.WeakKeyDictionary()
_opened = _Opened()
# A lock that another thread holds at the moment of a fork would stay held in the child.
os.register_at_fork(after_in_child=_opened.__init__)  # type: ignore[misc]
