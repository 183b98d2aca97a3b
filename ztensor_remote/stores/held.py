"""A local file that is about to be changed, locked against other writers of its next version."""

from __future__ import annotations

import os
from contextlib import suppress

from ..errors import ConcurrentWriteError
from .failures import guarded
from .local import MappedSource
from .location import Location
from .parts import rival

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CAN_LOCK = fcntl is not None


class Held:
    """An open file, locked until it is closed.

    Parameters
    ----------
    location : Location
    base : MappedSource
        The file as it was read; that it is another by now means a rival.
    flags : int
        For opening it.
    """

    def __init__(self, location: Location, base: MappedSource, flags: int) -> None:
        self.url = location.url
        self._path = location.local_path
        self.descriptor = guarded(
            lambda: os.open(self._path, flags | getattr(os, "O_CLOEXEC", 0)),
            url=self.url,
            doing="open it for writing",
        )
        try:
            self._lock()
            status = os.fstat(self.descriptor)
            found = str(status.st_ino), status.st_size, status.st_mtime
            if found != (base.identity.version, base.file_size, base.identity.modified):
                raise rival(self.url)
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConcurrentWriteError(
                "another writer is adding to it at this moment", url=self.url
            ) from None

    def check_has_its_name(self) -> None:
        """Raise ConcurrentWriteError if there is another file, or none, under the name."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            raise rival(self.url) from None
        if not os.path.samestat(found, os.fstat(self.descriptor)):
            raise rival(self.url)

    def close(self) -> None:
        """Give the file up; safe to call more than once."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                if fcntl is not None:
                    # Closing alone would leave it to a child that was forked meanwhile.
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)
