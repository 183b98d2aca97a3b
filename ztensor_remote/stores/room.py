"""How much a cache may hold, and what makes way for new bytes."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

DATA, SUMS = ".data", ".sums"
"""Ends of the names of an object's two files."""

_COUNT = "size"
_PATIENCE = 5.0
"""Seconds to wait for a lock that is only ever held for moments, unless its holder hangs."""
_SECTOR = 512
_PAGE = 4096
"""Bytes that a file system gives out together; each write may take one more for the sums."""


class Room:
    """The room in a cache's folder, shared by all processes.

    A file holds the bytes in use; whoever writes holds its lock meanwhile. The count is a guess
    that crashes can spoil: it is made anew from the files whenever something has to make way.

    Parameters
    ----------
    folder : str
    max_bytes : int or None
    """

    def __init__(self, folder: str, max_bytes: int | None) -> None:
        self._folder = folder
        self._most = max_bytes

    @contextmanager
    def taking(self, nbytes: int) -> Iterator[bool]:
        """Say whether there is room for so many bytes, which are written in the context.

        Raises
        ------
        OSError
        """
        if self._most is None:
            yield True
            return
        nbytes = _on_disk(nbytes)
        with self._counted() as file:
            used = self._used(file, nbytes, self._most)
            if used + nbytes > self._most:
                yield False
                return
            # First: who is killed as it writes leaves a count that is too high, and made anew.
            _write(file, used + nbytes)
            yield True

    def has(self, nbytes: int) -> bool:
        """Make room for so many bytes if it can be made; return whether there is.

        Raises
        ------
        OSError
        """
        if self._most is None:
            return True
        nbytes = _on_disk(nbytes)
        with self._counted() as file:
            return self._used(file, nbytes, self._most) + nbytes <= self._most

    @contextmanager
    def _counted(self) -> Iterator[int]:
        file = os.open(os.path.join(self._folder, _COUNT), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            lock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    def _used(self, file: int, nbytes: int, most: int) -> int:
        """Return the bytes in use, after what could make way for more has done so."""
        stated = os.pread(file, 8, 0)
        used = int.from_bytes(stated, "little")
        if len(stated) == 8 and used + nbytes <= most:
            return used
        objects = sorted(_objects(self._folder), key=lambda each: each.used)
        used = sum(each.nbytes for each in objects)
        for each in objects:
            if used + nbytes <= most:
                break
            if _remove(each.stem):
                used -= each.nbytes
        _write(file, used)
        return used


def lock(file: int, kind: int) -> None:
    """Lock a file, which ends with the descriptor.

    Raises
    ------
    OSError
        Others have a lock on it, and don't give it up.
    """
    patience = time.monotonic() + _PATIENCE
    while True:
        try:
            return fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.001)


@dataclass(frozen=True, slots=True)
class _Object:
    stem: str
    nbytes: int
    used: int


def _objects(folder: str) -> Iterator[_Object]:
    with os.scandir(folder) as entries:
        names = [entry.path for entry in entries if entry.name.endswith(DATA)]
    for path in names:
        stem = path.removesuffix(DATA)
        with suppress(FileNotFoundError):
            status = os.stat(path)
            nbytes = status.st_blocks * _SECTOR
            with suppress(FileNotFoundError):
                nbytes += os.stat(stem + SUMS).st_blocks * _SECTOR
            yield _Object(stem, nbytes, status.st_mtime_ns)


def _remove(stem: str) -> bool:
    """Remove an object's files, unless somebody has it open or mapped."""
    try:
        file = os.open(stem + DATA, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):
            os.unlink(stem + SUMS)  # first: sums without data would not be found again
        os.unlink(stem + DATA)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def _on_disk(nbytes: int) -> int:
    return (-(-nbytes // _PAGE) + 1) * _PAGE


def _write(file: int, used: int) -> None:
    os.pwrite(file, used.to_bytes(8, "little"), 0)
