"""Files on this machine, mapped or read; and bytes in memory."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import NotFoundError, ObjectChangedError, StoreError
from ..types import Bytes
from .control import Control
from .failures import guarded
from .link import Link
from .location import Location
from .mounts import is_far
from .scatter import Scatter
from .source import End, Identity, Stats

_LATENCY = 1e-4
"""Seconds: more threads than processors gain nothing."""

_STEP = 4 << 20


class MappedSource:
    """A local file, mapped read-only. Views outlive the source.

    Nothing is shown from the mapping where the caller does not want that, or on network
    filesystems, which punish it: then bytes are read, as they are into the caller's memory.

    Attributes
    ----------
    file_size : int
        At open, in bytes; more than the identity's where the file was cut.
    shows : bool
        Whether there are views.
    """

    def __init__(self, location: Location) -> None:
        self.url = location.url
        self.stats = Stats()
        self.link = Link()
        self.link.answered(_LATENCY)
        self._path = location.local_path
        self._file = guarded(
            lambda: os.open(self._path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)),
            url=self.url,
            doing="open it",
        )
        self._map: mmap.mmap | None = None
        try:
            status = os.fstat(self._file)
            if stat.S_ISDIR(status.st_mode):
                raise NotFoundError("this is a folder, not a file", url=self.url)
            self.shows = not is_far(self._file) if location.mmap is None else location.mmap
            self.file_size = status.st_size
            self.identity = Identity(
                status.st_size, version=str(status.st_ino), modified=status.st_mtime
            )
            if status.st_size:
                self._map = guarded(
                    lambda: mmap.mmap(self._file, 0, access=mmap.ACCESS_READ),
                    url=self.url,
                    doing="map it",
                )
        except BaseException:
            self.close()
            raise

    def cut(self, size: int) -> None:
        """Take the first `size` bytes for the file: what follows them is no part of it."""
        self.identity = replace(self.identity, size=size)

    def view(self, offset: int, length: int) -> memoryview | None:
        """Return the mapped bytes, read-only, if it shows them."""
        return self.look(offset, length) if self.shows else None

    def look(self, offset: int, length: int) -> memoryview:
        """Return mapped bytes for a moment: few, so that it does not matter where they are."""
        self._check(offset, length)
        if self._map is None or not length:
            return memoryview(b"")
        return memoryview(self._map)[offset : offset + length]

    def private_view(self, offset: int, length: int) -> memoryview | None:
        """Return a copy-on-write mapping of the bytes, if it shows them."""
        self._check(offset, length)
        if not self.shows:
            return None
        if not length:
            return memoryview(bytearray())
        return guarded(
            lambda: map_privately(self._file, offset, length), url=self.url, doing="map it"
        )

    def read_into(self, offset: int, *pieces: memoryview, control: Control | None = None) -> None:
        """Read bytes into the pieces: a copy out of the mapping would cost a fault a page."""
        scatter = Scatter(pieces, control or Control())
        self._check(offset, scatter.length)
        if not hasattr(os, "preadv"):
            copy_out(self.look(offset, scatter.length), pieces)
            return

        def read() -> None:
            while scatter.missing:
                rooms = scatter.rooms(_STEP)
                count = os.preadv(self._file, rooms, offset + scatter.filled)
                if not count:
                    raise self._shrunk()
                scatter.advance(count)

        guarded(read, url=self.url, doing=f"read {scatter.length} bytes at {offset}")

    def _check(self, offset: int, length: int) -> None:
        # A file that shrank would kill the process with SIGBUS when its mapping is touched.
        if os.fstat(self._file).st_size < offset + length:
            raise self._shrunk()

    def _shrunk(self) -> ObjectChangedError:
        return ObjectChangedError(
            "the file is shorter than when it was opened; open it again", url=self.url
        )

    def close(self) -> None:
        """Close the file; the mapping goes when its last view does."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._map = None

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            self.close()


class BytesSource:
    """An object that is already in memory."""

    def __init__(self, data: Bytes) -> None:
        self.url = "<bytes>"
        self.stats = Stats()
        self.link = Link()
        self._data = memoryview(data).cast("B").toreadonly()
        self.identity = Identity(len(self._data))

    def view(self, offset: int, length: int) -> memoryview:
        """Return the bytes themselves, read-only."""
        if offset + length > len(self._data):
            raise StoreError("the range lies outside the data", url=self.url)
        return self._data[offset : offset + length]

    look = view

    def private_view(self, offset: int, length: int) -> memoryview | None:
        """Return None: only a copy could be private."""
        return None

    def read_into(self, offset: int, *pieces: memoryview, control: Control | None = None) -> None:
        """Copy bytes out."""
        copy_out(self.view(offset, sum(map(len, pieces))), pieces)

    def close(self) -> None:
        """Do nothing: the bytes are the caller's."""


def map_privately(file: int, offset: int, length: int) -> memoryview:
    """Return a copy-on-write mapping of bytes of a file; `length` must not be 0."""
    start = offset - offset % mmap.ALLOCATIONGRANULARITY
    size = offset + length - start
    private = mmap.mmap(file, size, access=mmap.ACCESS_COPY, offset=start)
    return memoryview(private)[offset - start :]


def copy_out(data: memoryview, pieces: Sequence[memoryview]) -> None:
    """Copy bytes to where they belong; NumPy does so without holding up other threads."""
    start = 0
    for piece in pieces:
        np.frombuffer(piece, np.uint8)[:] = np.frombuffer(data, np.uint8, len(piece), start)
        start += len(piece)


def end_of(source: MappedSource | BytesSource, window: int, end: End) -> memoryview:
    """Return the first or the last `window` bytes, or all."""
    size = source.identity.size
    start = 0 if end == "head" else max(0, size - window)
    return source.look(start, min(window, size))
