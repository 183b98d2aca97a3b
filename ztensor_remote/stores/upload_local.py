"""Write a local file so that its name holds the old content or the new, never a part."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import IO

from ..errors import AccessDeniedError, NotFoundError, StoreError
from ..types import Bytes
from .failures import guarded
from .held import Held
from .local import MappedSource
from .location import Location
from .parts import rival
from .sink import temporary_name
from .source import pieces_of

_NO_NAMELESS_FILES = frozenset((errno.EOPNOTSUPP, errno.EINVAL, errno.EISDIR, errno.ENOSYS))
_NO_FOLDER_SYNC = frozenset((errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF))


class LocalSink:
    """A nameless or hidden temporary file in the same folder, synced, then renamed.

    Where the system has nameless files (O_TMPFILE) a killed writer leaves nothing behind.

    Parameters
    ----------
    location : Location
    base : MappedSource, optional
        The version that is replaced: publishing needs it to be still there, and other writers that
        begin from it are kept out meanwhile.
    create : bool
        Publishing fails where there is a file already.
    """

    def __init__(
        self, location: Location, *, base: MappedSource | None = None, create: bool = False
    ) -> None:
        self.url = location.url
        self.base = base
        self._create_only = create
        self._path = os.path.realpath(location.local_path)
        self._folder = os.path.dirname(self._path)
        self._hidden: str | None = None
        self._held = Held(location, base, os.O_RDONLY) if base else None
        try:
            self._file: IO[bytes] = guarded(self._open, url=self.url, doing="create it")
        except BaseException:
            self._release()
            raise

    def _open(self) -> IO[bytes]:
        self._check_target()
        try:
            return self._create()
        except PermissionError:
            raise AccessDeniedError(
                f"can't create files in the folder {self._folder}, where it is written under a "
                "temporary name first; check its permissions"
            ) from None

    def _check_target(self) -> None:
        """Refuse at once what renaming would fail at, or would replace although it must not."""
        try:
            mode = os.stat(self._path).st_mode
        except PermissionError:
            return  # so is creating the temporary file
        except (FileNotFoundError, NotADirectoryError):
            if os.path.isdir(self._folder):
                return
            raise NotFoundError(f"there is no folder {self._folder}; create it first") from None
        if stat.S_ISDIR(mode):
            raise StoreError("it is a folder; give the name of a file in it")
        if not stat.S_ISREG(mode):
            raise StoreError("it is a device, pipe or socket; only files can be replaced")
        if not self._create_only and not os.access(self._path, os.W_OK):
            raise AccessDeniedError("the file is write-protected; make it writable, or remove it")

    def _create(self) -> IO[bytes]:
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
        return os.path.join(self._folder, temporary_name(os.path.basename(self._path)))

    def write(self, data: Bytes) -> None:
        """Append bytes to the temporary file."""

        def write_all() -> None:
            rest = memoryview(data).cast("B")
            while rest:
                rest = rest[self._file.write(rest) :]

        guarded(write_all, url=self.url, doing="write to it")

    def copy(self, start: int, stop: int) -> None:
        """Take bytes of the version that is replaced."""
        assert self.base is not None
        for piece in pieces_of(self.base, start, stop):
            self.write(piece)

    def commit(self) -> None:
        """Sync the file, put it under its name, sync the folder."""
        guarded(self._publish, url=self.url, doing="publish it")

    def _publish(self) -> None:
        os.fsync(self._file.fileno())
        if self._create_only:
            self._publish_new()
        else:
            self._keep_mode()
            if self._held is not None:
                self._held.check_has_its_name()
            self._replace()
        self._file.close()
        self._release()
        _sync_folder(self._folder)

    def _release(self) -> None:
        if self._held is not None:
            self._held.close()

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
            self._hidden = self._temporary_name()
            self._name_it(self._hidden)
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
        guarded(self._remove, url=self.url, doing="remove its temporary file")

    def _remove(self) -> None:
        self._file.close()
        self._release()
        self._remove_hidden()

    def _remove_hidden(self) -> None:
        if self._hidden is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._hidden)
            self._hidden = None


def _sync_folder(folder: str) -> None:
    """Make a new name in the folder last, where the system can; the file is there already."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
