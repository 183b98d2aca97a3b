"""Write a local file so that its name holds the old content or the new, never a part."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from typing import IO

from ..types import Bytes
from .failures import guarded
from .location import Location
from .parts import rival

_NO_NAMELESS_FILES = frozenset((errno.EOPNOTSUPP, errno.EINVAL, errno.EISDIR, errno.ENOSYS))


class LocalSink:
    """A nameless or hidden temporary file in the same folder, synced, then renamed.

    Where the system has nameless files (O_TMPFILE) a killed writer leaves nothing behind.

    Parameters
    ----------
    location : Location
    create : bool
        Publishing fails where there is a file already.
    """

    def __init__(self, location: Location, *, create: bool = False) -> None:
        self.url = location.url
        self._create_only = create
        self._path = os.path.realpath(location.local_path)
        self._folder = os.path.dirname(self._path)
        self._hidden: str | None = None
        self._file: IO[bytes] = guarded(self._create, url=self.url, doing="create it")

    def _create(self) -> IO[bytes]:
        if os.path.isdir(self._path):
            raise IsADirectoryError(f"{self._path} is a folder")
        nameless = getattr(os, "O_TMPFILE", None)
        if nameless is not None and os.path.isdir("/proc/self/fd"):
            try:
                return open(os.open(self._folder, os.O_RDWR | nameless, 0o666), "r+b", 0)
            except OSError as error:
                if error.errno not in _NO_NAMELESS_FILES:
                    raise
        self._hidden = self._temporary_name()
        return open(self._hidden, "x+b", 0)

    def _temporary_name(self) -> str:
        name = f".{os.path.basename(self._path)[:200]}.{secrets.token_hex(6)}.tmp"
        return os.path.join(self._folder, name)

    def write(self, data: Bytes) -> None:
        """Append bytes to the temporary file."""

        def write_all() -> None:
            rest = memoryview(data).cast("B")
            while rest:
                rest = rest[self._file.write(rest) :]

        guarded(write_all, url=self.url, doing="write to it")

    def commit(self) -> None:
        """Sync the file, put it under its name, sync the folder."""
        guarded(self._publish, url=self.url, doing="publish it")

    def _publish(self) -> None:
        os.fsync(self._file.fileno())
        if self._create_only:
            self._publish_new()
        else:
            self._keep_mode()
            self._replace()
        self._file.close()
        _sync_folder(self._folder)

    def _publish_new(self) -> None:
        try:
            if self._hidden is None:
                self._name_it(self._path)
            else:
                os.link(self._hidden, self._path)
        except FileExistsError:
            raise rival(self.url) from None
        self._remove_hidden()

    def _replace(self) -> None:
        if self._hidden is None:
            hidden = self._temporary_name()
            self._name_it(hidden)
            self._hidden = hidden
        os.replace(self._hidden, self._path)
        self._hidden = None

    def _name_it(self, path: str) -> None:
        # Naming a descriptor makes Python call linkat(2), which alone can follow the link.
        descriptor = self._file.fileno()
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)

    def _keep_mode(self) -> None:
        try:
            mode = stat.S_IMODE(os.stat(self._path).st_mode)
        except FileNotFoundError:
            return
        os.fchmod(self._file.fileno(), mode)

    def abort(self) -> None:
        """Remove the temporary file."""
        self._file.close()
        self._remove_hidden()

    def _remove_hidden(self) -> None:
        if self._hidden is not None:
            hidden, self._hidden = self._hidden, None
            with suppress(FileNotFoundError):
                os.unlink(hidden)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
