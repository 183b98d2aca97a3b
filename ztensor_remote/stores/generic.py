"""Objects on any fsspec filesystem: ranges by ``cat_file``, the version watched by ``info``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..errors import NotFoundError, UnsupportedError
from .answer import Answer, Receive
from .control import Control
from .failures import retried
from .limits import Limits
from .location import Location
from .remote import RemoteSource
from .source import Identity


class GenericSource(RemoteSource):
    """A filesystem that can only be asked for a path, a start and an end.

    It can't be told to read one version, so the object is looked at again after each read.
    """

    def __init__(self, location: Location, fs: Any, path: str, limits: Limits) -> None:
        super().__init__(location, limits)
        self._fs = fs
        self._path = path

    def open_tail(self, window: int) -> memoryview:
        """Fetch the end of the object, after its size."""
        self.identity = self._look()
        size = self.identity.size
        tail = memoryview(bytearray(min(size, window)))
        self.read_into(size - len(tail), tail)
        return tail

    def get(
        self, range_header: str, receive: Receive, *, pin: Identity | None, control: Control
    ) -> None:
        """Call ``cat_file`` for one range, by keyword: positions mean a version to some."""
        first, _, last = range_header.removeprefix("bytes=").partition("-")
        start, stop = int(first), int(last) + 1
        data = self._fs.cat_file(self._path, start=start, end=stop)
        if pin and not _is_cache(self._fs) and not pin.matches(self._look()):
            raise self._changed()
        content_range = f"bytes {start}-{start + len(data) - 1}/{self.identity.size}"
        receive(Answer(len(data), content_range)).write(data)

    def _look(self) -> Identity:
        info = retried(lambda: self._fs.info(self._path), url=self.url, doing="look up its size")
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


def _is_cache(fs: Any) -> bool:
    """Whether reads come from a copy of its own, which nobody replaces."""
    return any(base.__name__ == "CachingFileSystem" for base in type(fs).__mro__)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _seconds(value: Any) -> float | None:
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else None
