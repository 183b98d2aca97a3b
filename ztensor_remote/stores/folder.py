"""A folder of objects that are listed, created once and deleted."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from ..errors import ConcurrentWriteError, NotFoundError
from ..types import Bytes
from .execute import run_all
from .failures import by_client, guarded, retried
from .location import Location
from .open import open_sink
from .sink import Sink, aborting

_EXCLUSIVE = frozenset(("GCSFileSystem", "AzureBlobFileSystem", "MemoryFileSystem"))
_PROBED = frozenset(("S3FileSystem",))
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")

_probed: dict[str, bool] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in a folder.

    Attributes
    ----------
    name : str
    size : int
        In bytes.
    modified : float or None
        Seconds since the epoch, where the listing tells.
    """

    name: str
    size: int
    modified: float | None


class Folder:
    """A folder on any filesystem; one that does not exist is empty.

    Parameters
    ----------
    location : Location
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.url = location.url

    def entries(self) -> dict[str, Entry]:
        """Return what is in it by name, as it is now."""
        try:
            found = retried(self._list, url=self.url, doing="list it")
        except NotFoundError:
            return {}
        entries = (entry_of(info) for info in found if info["type"] == "file")
        return {entry.name: entry for entry in entries}

    def _list(self) -> list[dict[str, Any]]:
        fs, path = self.location.resolve()
        fs.invalidate_cache(path)
        found: list[dict[str, Any]] = by_client(fs, lambda: fs.ls(path, detail=True))
        return found

    def exists(self, name: str) -> bool:
        """Whether there is an object of this name now."""
        location = self.location.child(name)

        def look() -> bool:
            fs, path = location.resolve()
            fs.invalidate_cache(fs._parent(path))
            return bool(by_client(fs, lambda: fs.exists(path)))

        return retried(look, url=location.url, doing="look for it")

    def create(self, name: str, data: Bytes) -> None:
        """Store a new object.

        Raises
        ------
        ConcurrentWriteError
            There is one of this name; it stays as it is.
        StoreError
        """
        sink = self.begin(name, data, create=True)
        with aborting(sink):
            sink.commit()

    def begin(self, name: str, data: Bytes, *, create: bool) -> Sink:
        """Return a sink that has taken an object; it is not stored before the sink commits.

        Parameters
        ----------
        create : bool
            Committing fails where there is an object of this name.
        """
        sink = open_sink(self.location.child(name), create=create)
        with aborting(sink):
            sink.write(data)
        return sink

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; those that are gone already don't matter."""
        run_all([partial(self._delete, name) for name in names])

    def _delete(self, name: str) -> None:
        delete(self.location.child(name))

    def make(self) -> None:
        """Make the folder, where a filesystem wants that."""
        if self.location.is_local:
            fs, path = self.location.resolve()
            guarded(lambda: fs.makedirs(path, exist_ok=True), url=self.url, doing="make it")

    def is_exclusive(self) -> bool:
        """Whether `create` succeeds for one alone, however many try at once.

        Servers that speak S3 are asked, once a process: some accept conditions and ignore them.
        """
        if self.location.is_local:
            return True
        fs, _ = self.location.resolve()
        kinds = {kind.__name__ for kind in type(fs).__mro__}
        if kinds & _EXCLUSIVE:
            return True
        if not kinds & _PROBED:
            return False
        server = self.location.server
        if server not in _probed:
            _probed[server] = self._refuses_a_second()
        return _probed[server]

    def _refuses_a_second(self) -> bool:
        name = f".ztensor-probe-{secrets.token_hex(8)}"
        self.create(name, b"first")
        try:
            self.create(name, b"second")
        except ConcurrentWriteError:
            return True
        finally:
            self.delete([name])
        return False


def delete(location: Location) -> None:
    """Delete an object; one that is gone already does not matter.

    Raises
    ------
    StoreError
    """

    def remove() -> None:
        fs, path = location.resolve()
        by_client(fs, lambda: fs.rm_file(path))

    with suppress(NotFoundError):
        retried(remove, url=location.url, doing="delete it")


def entry_of(info: dict[str, Any]) -> Entry:
    """Return what a listing says of an object."""
    name = info["name"].rstrip("/").replace("\\", "/").rpartition("/")[2]
    times = (info[key] for key in _TIMES if info.get(key) is not None)
    return Entry(name, int(info["size"] or 0), _seconds(next(times, None)))


def _seconds(time: Any) -> float | None:
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    return time.timestamp() if isinstance(time, datetime) else time
