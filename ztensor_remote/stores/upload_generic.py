"""Write to any fsspec filesystem: under a temporary name, then moved."""

from __future__ import annotations

import posixpath
import threading
from typing import Any

from ..errors import NotFoundError, UnsupportedError
from ..types import Bytes
from .failures import guarded
from .generic import GenericSource
from .location import Location
from .parts import rival
from .sink import temporary_name
from .source import Source, pieces_of

_publishing = threading.Lock()
"""Between the look and the move; other processes can still come between."""


class GenericSink:
    """A temporary file beside the target, moved over it at commit.

    Parameters
    ----------
    base : Source, optional
        The version that is replaced: publishing needs it to be still there.
    create : bool
        Publishing fails where there is a file already.
    """

    def __init__(
        self,
        location: Location,
        fs: Any,
        path: str,
        *,
        base: Source | None = None,
        create: bool = False,
    ) -> None:
        self.url = location.url
        self.base = base
        self._fs = fs
        self._path = path
        self._create_only = create
        folder, name = posixpath.split(path)
        self._temporary = posixpath.join(folder, temporary_name(name))
        self._file = guarded(self._create, url=self.url, doing="create it")

    def _create(self) -> Any:
        try:
            return self._fs.open(self._temporary, "wb")
        except FileNotFoundError:
            folder = posixpath.dirname(self._path)
            raise NotFoundError(
                f"there is no folder {folder}; create it first", url=self.url
            ) from None
        except (NotImplementedError, ValueError) as error:
            raise UnsupportedError(
                f"{type(self._fs).__name__} can't be written to ({error})", url=self.url
            ) from None

    def write(self, data: Bytes) -> None:
        """Append bytes to the temporary file."""
        guarded(lambda: self._file.write(data), url=self.url, doing="write to it")

    def copy(self, start: int, stop: int) -> None:
        """Take bytes of the version that is replaced; they pass through this process."""
        assert self.base is not None
        for piece in pieces_of(self.base, start, stop):
            self.write(bytes(piece))

    def commit(self) -> None:
        """Close the temporary file and move it into place."""
        guarded(self._publish, url=self.url, doing="publish it")

    def _publish(self) -> None:
        self._file.close()
        with _publishing:
            if self._create_only and self._fs.exists(self._path):
                raise rival(self.url)
            if isinstance(self.base, GenericSource) and not self.base.is_unchanged():
                raise rival(self.url)
            self._fs.mv(self._temporary, self._path)
        self._fs.invalidate_cache(self._path)

    def abort(self) -> None:
        """Remove the temporary file."""
        guarded(self._remove, url=self.url, doing=f"remove its temporary file {self._temporary}")

    def _remove(self) -> None:
        try:
            if not self._file.closed:
                self._file.close()
        finally:
            if self._fs.exists(self._temporary):
                self._fs.rm_file(self._temporary)


class MemorySink:
    """Collect an object in memory; `data` is it once committed."""

    def __init__(self) -> None:
        self.url = "<bytes>"
        self.data = b""
        self._buffer = bytearray()

    def write(self, data: Bytes) -> None:
        """Append bytes."""
        self._buffer += data

    def commit(self) -> None:
        """Publish the bytes as `data`."""
        self.data = bytes(self._buffer)

    def abort(self) -> None:
        """Forget the bytes."""
        self._buffer = bytearray()
