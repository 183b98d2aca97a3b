"""Add to a local file in place: what is there stays, and what is new counts once it is whole."""

from __future__ import annotations

import os

from ..types import Bytes
from .failures import guarded
from .held import Held
from .local import MappedSource
from .location import Location

_FOOTER = 64
"""Bytes, more than any footer has."""


class LocalAppend:
    """Bytes behind the end of a file, which is locked meanwhile.

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
        self._start = self._end = base.identity.size
        self._footer = b""
        self._held = Held(location, base, os.O_RDWR)
        try:
            guarded(self._cut, url=self.url, doing="cut its torn tail off")
        except BaseException:
            self._held.close()
            raise

    def _cut(self) -> None:
        if os.fstat(self._held.descriptor).st_size != self._start:
            os.ftruncate(self._held.descriptor, self._start)

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
            written = os.pwrite(self._held.descriptor, rest, self._end)
            self._end += written
            rest = rest[written:]

    def commit(self) -> None:
        """Sync all but the footer, then write and sync the footer."""
        guarded(self._publish, url=self.url, doing="publish it")
        self._held.close()

    def _publish(self) -> None:
        os.fsync(self._held.descriptor)
        self._held.check_has_its_name()
        self._store(memoryview(self._footer))
        self._footer = b""
        os.fsync(self._held.descriptor)

    def abort(self) -> None:
        """Cut off what was added."""
        if self._held.descriptor >= 0:
            try:
                guarded(self._cut, url=self.url, doing="cut off what was added")
            finally:
                self._held.close()
