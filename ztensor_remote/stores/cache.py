"""A folder on this machine that keeps what was read from elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InvalidInputError, UnsupportedError
from .location import Location
from .source import Identity, Stats

if TYPE_CHECKING:
    from .blocks import Blocks

_LAYOUT = 1
"""Of the files in the folder; others are never looked at."""

_told: set[str] = set()


@dataclass(frozen=True)
class Cache:
    """A folder that keeps the bytes of remote objects, for all processes of one user on one host.

    Parameters
    ----------
    path : str or PathLike
        Made if it is not there. On a local disk: other hosts' changes are not seen.
    max_bytes : int, optional
        The most that it may take on the disk; objects that were not used for the longest time
        make way, but never one that is open or mapped. No bound by default.

    Raises
    ------
    UnsupportedError
        The system has no locks that die with their holder (Windows).
    InvalidInputError
        A size that is not positive.
    """

    path: str
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if sys.platform == "win32":
            raise UnsupportedError(
                "the cache needs the file locks of Linux or macOS; leave cache= out"
            )
        if self.max_bytes is not None and self.max_bytes <= 0:
            raise InvalidInputError(f"max_bytes={self.max_bytes}: a cache has to hold something")
        # Other processes may have another current folder.
        path = os.path.abspath(os.path.expanduser(os.fspath(self.path)))
        object.__setattr__(self, "path", path)


def cache_at(cache: Cache | str | os.PathLike[str] | None) -> Cache | None:
    """Return the cache that a caller means by a path, or by a `Cache`."""
    return cache if cache is None or isinstance(cache, Cache) else Cache(os.fspath(cache))


def name_of(location: Location, identity: Identity) -> str | None:
    """Return the name of a version of an object, made of nothing secret; None if it has none.

    An ETag says which bytes it is of, and so does a version for one URL. A time does only where
    all of the URL can be a part of the name: not its query, which may be a signature, nor what is
    inside a filesystem object.
    """
    if not identity.size:
        return None
    is_strong = identity.etag is not None and not identity.etag.startswith("W/")
    is_plain = location.fs is None and "::" not in location.path and "?" not in location.path
    if not is_strong and not (is_plain and (identity.version or identity.modified)):
        return None
    parts = [
        _LAYOUT,
        location.url,
        identity.size,
        identity.etag,
        identity.version,
        identity.modified,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def blocks_of(cache: Cache, location: Location, identity: Identity, stats: Stats) -> Blocks | None:
    """Open what there is of one version of an object; None where nothing of it can be kept.

    Raises
    ------
    InvalidInputError
        The folder is not the user's own.
    """
    from .blocks import open_blocks

    name = name_of(location, identity)
    if name is None:
        stats.uncached = "nothing names the object's version: no strong ETag, version or time"
        return None
    try:
        _prepare(cache.path)
        return open_blocks(os.path.join(cache.path, name), identity.size)
    except OSError as error:
        report(error, cache, stats)
        return None


def report(error: OSError, cache: Cache, stats: Stats) -> None:
    """Note that a cache's folder can't be used, and warn of it once."""
    stats.uncached = f"the cache can't be written: {error.strerror or error}"
    if cache.path not in _told:
        _told.add(cache.path)
        warnings.warn(
            f"{stats.uncached} ({cache.path}); reading goes on without it",
            RuntimeWarning,
            stacklevel=2,
        )


def _prepare(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except FileExistsError:
        raise InvalidInputError(f"the cache {path} is no folder") from None
    status = os.stat(path)
    if status.st_uid != os.geteuid():
        raise InvalidInputError(
            f"the cache {path} is another user's, who could change what is read; give a "
            "folder of your own"
        )
    is_open = status.st_mode & stat.S_IWOTH
    if is_open or (status.st_mode & stat.S_IWGRP and status.st_gid != os.getegid()):
        raise InvalidInputError(
            f"others may write to the cache {path} and change what is read; chmod go-w "
            "it, or give a folder inside it"
        )
