"""Objects on any fsspec filesystem: ranges by ``cat_file``, the version watched by ``info``."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from ..errors import NotFoundError, UnsupportedError
from .answer import Answer, Receive
from .budget import Budget
from .control import Control
from .failures import retried
from .limits import Limits
from .location import Location
from .remote import RemoteSource
from .scatter import Scatter
from .source import Identity

_WINDOW = 8 << 20
"""Bytes."""

_SHAREABLE = frozenset(("MemoryFileSystem", "ArrowFSWrapper", "HadoopFileSystem"))
_turns: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()
_making_turns = threading.Lock()


class GenericSource(RemoteSource):
    """A filesystem that can only be asked for a path, a start and an end.

    It can't be told to read one version, so the object is looked at again after each read. It
    makes memory of its own for what it reads, so that is bounded here: ranges are read window by
    window, by as many threads as the limits have memory for, or by one where the filesystem may
    have a single connection or file underneath.
    """

    def __init__(self, location: Location, fs: Any, path: str, limits: Limits) -> None:
        super().__init__(location, limits)
        self._fs = fs
        self._path = path
        self._budget = Budget(limits.in_flight)
        self._turn = nullcontext() if _is_shareable(fs) else _turn_of(fs)

    def open_tail(self, window: int) -> memoryview:
        """Fetch the end of the object, after its size."""
        self.identity = self._look()
        size = self.identity.size
        tail = memoryview(bytearray(min(size, window)))
        self.read_into(size - len(tail), tail)
        return tail

    def open_head(self, window: int) -> memoryview:
        """Fetch the beginning of the object, after its size."""
        self.identity = self._look()
        head = memoryview(bytearray(min(self.identity.size, window)))
        self.read_into(0, head)
        return head

    def get(
        self, range_header: str, receive: Receive, *, pin: Identity | None, control: Control
    ) -> None:
        """Call ``cat_file`` for one range, by keyword: positions mean a version to some."""
        first, _, last = range_header.removeprefix("bytes=").partition("-")
        start, stop = int(first), int(last) + 1
        content_range = f"bytes {start}-{stop - 1}/{self.identity.size}"
        scatter = receive(Answer(stop - start, content_range))
        for begin in range(start, stop, _WINDOW):
            end = min(begin + _WINDOW, stop)
            if not self._read(begin, end, scatter, control):
                break
        if pin and not _is_cache(self._fs) and not pin.matches(self._look()):
            raise self._changed()

    def _read(self, start: int, stop: int, scatter: Scatter, control: Control) -> bool:
        """Read one window; return whether all of it came."""
        self._budget.borrow(stop - start, control)
        try:
            with self._turn:
                control.check()
                data = self._fs.cat_file(self._path, start=start, end=stop)
            scatter.write(data)
            return len(data) == stop - start
        finally:
            self._budget.give_back(stop - start)

    def is_unchanged(self) -> bool:
        """Look whether the object is still the one that was opened."""
        try:
            return self.identity.matches(self._look())
        except NotFoundError:
            return False

    def _look(self) -> Identity:
        def look() -> Any:
            with self._turn:
                return self._fs.info(self._path)

        info = retried(look, url=self.url, doing="look up its size")
        if info.get("type") == "directory":
            raise NotFoundError("this is a folder, not a file", url=self.url)
        if info.get("size") is None:
            raise UnsupportedError(
                "the filesystem does not tell the object's size; put 'simplecache::' before the "
                "URL to download it once",
                url=self.url,
            )
        return Identity(
            int(info["size"]),
            etag=_text(info.get("ETag") or info.get("etag")),
            modified=_seconds(info.get("mtime") or info.get("created")),
        )


def _is_shareable(fs: Any) -> bool:
    """Whether threads may call the filesystem side by side.

    Most that are not asynchronous may not, though nothing says so: an FTP connection is one, and
    archives seek in one file.
    """
    return bool(fs.async_impl) or type(fs).__name__ in _SHAREABLE


def _turn_of(fs: Any) -> threading.Lock:
    """Return the lock that all sources on a filesystem take turns by."""
    with _making_turns:
        return _turns.setdefault(fs, threading.Lock())


def _is_cache(fs: Any) -> bool:
    """Whether reads come from a copy of its own, which nobody replaces."""
    return any(base.__name__ == "CachingFileSystem" for base in type(fs).__mro__)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _seconds(value: Any) -> float | None:
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else None
