"""Add to a local file in place: what is there stays, and what is new counts once it is whole."""

from __future__ import annotations

import os
from contextlib import suppress

from ..errors import ConcurrentWriteError
from ..types import Bytes
from .failures import guarded
from .local import MappedSource
from .location import Location
from .parts import rival

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CAN_LOCK = fcntl is not None

_FOOTER = 64
"""Bytes, more than any footer has."""


class LocalAppend:
    """Bytes behind the end of a file, which is locked meanwhile against other appenders.

    The last write, if it is short, goes to the disk only when all that comes before is there: it
    is the footer that makes the rest count. A process that dies before leaves the old file with a
    torn tail, which readers pass over and the next appender cuts off.

    Parameters
    ----------
    location : Location
    base : MappedSource
        The file as it was opened; of a file with a torn tail, what is whole of it.
    """

    def __init__(self, location: Location, base: MappedSource) -> None:
        self.url = location.url
        self._path = location.local_path
        self._start = self._end = base.identity.size
        self._footer = b""
        self._file = guarded(
            lambda: os.open(self._path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0)),
            url=self.url,
            doing="open it for writing",
        )
        try:
            self._lock()
            self._check_is(base)
            guarded(self._cut, url=self.url, doing="cut its torn tail off")
        except BaseException:
            self._close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConcurrentWriteError(
                "another writer is adding to it at this moment", url=self.url
            ) from None

    def _check_is(self, base: MappedSource) -> None:
        status = os.fstat(self._file)
        found = str(status.st_ino), status.st_size, status.st_mtime
        if found != (base.identity.version, base.file_size, base.identity.modified):
            raise rival(self.url)

    def _cut(self) -> None:
        if os.fstat(self._file).st_size != self._start:
            os.ftruncate(self._file, self._start)

    def write(self, data: Bytes) -> None:
        """Append bytes."""
        guarded(lambda: self._take(memoryview(data).cast("B")), url=self.url, doing="write to it")

    def _take(self, data: memoryview) -> None:
        self._store(memoryview(self._footer))
        self._footer = b""
        if len(data) <= _FOOTER:
            self._footer = bytes(data)
        else:
            self._store(data)

    def _store(self, rest: memoryview) -> None:
        while rest:
            written = os.pwrite(self._file, rest, self._end)
            self._end += written
            rest = rest[written:]

    def commit(self) -> None:
        """Sync all but the footer, then write and sync the footer."""
        guarded(self._publish, url=self.url, doing="publish it")
        self._close()

    def _publish(self) -> None:
        os.fsync(self._file)
        self._check_has_its_name()
        self._store(memoryview(self._footer))
        self._footer = b""
        os.fsync(self._file)

    def _check_has_its_name(self) -> None:
        """See that nobody has put another file under the name."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            raise rival(self.url) from None
        if not os.path.samestat(found, os.fstat(self._file)):
            raise rival(self.url)

    def abort(self) -> None:
        """Cut off what was added."""
        if self._file >= 0:
            try:
                guarded(self._cut, url=self.url, doing="cut off what was added")
            finally:
                self._close()

    def _close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            with suppress(OSError):
                # Closing alone would leave it to a child that was forked meanwhile.
                fcntl.flock(file, fcntl.LOCK_UN)
                os.close(file)
