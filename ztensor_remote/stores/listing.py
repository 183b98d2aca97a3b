"""Find files by a pattern, or in a folder."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count, takewhile
from typing import Any

from ..errors import NotFoundError, UnsupportedError
from .failures import retried
from .folder import Folder
from .location import Location


def is_pattern(location: Location) -> bool:
    """Whether a location stands for all files that its name is like: it has a ``*``."""
    if location.data is not None or "*" not in location.path:
        return False
    return not (location.is_local and os.path.exists(location.local_path))


def matching(location: Location) -> list[Location]:
    """Return the files that a pattern is like, in the order of their names.

    Raises
    ------
    NotFoundError
        There is none.
    UnsupportedError
        The filesystem can't be listed.
    StoreError
    """
    check_listable(location)

    def found() -> list[str]:
        fs, path = location.resolve()
        fs.invalidate_cache()
        entries: dict[str, dict[str, Any]] = fs.glob(path, detail=True)
        return sorted(name for name, info in entries.items() if info["type"] == "file")

    names = retried(found, url=location.url, doing="look for files like it")
    if not names:
        raise NotFoundError("no file has a name like this", url=location.url)
    return [_at(location, name) for name in names]


def _at(location: Location, path: str) -> Location:
    """Return the location of a path that the filesystem has told."""
    if location.fs is not None or location.is_local:
        return replace(location, path=path)
    return location._edited(lambda link: f"{link.partition('://')[0]}://{path}")


def names_in(folder: Location) -> list[str]:
    """Return the names of the files in a folder, sorted; nothing where there is no folder.

    Raises
    ------
    UnsupportedError
        The filesystem can't be listed.
    StoreError
    """
    check_listable(folder)
    return sorted(Folder(folder).entries())


def check_listable(location: Location) -> None:
    """Refuse to look for files where nobody tells what there is.

    Raises
    ------
    UnsupportedError
    """
    reason = _why_not_listable(location)
    if reason is not None:
        raise UnsupportedError(
            f"{reason}; name the files in a list, or their .index.json", url=location.url
        )


def _why_not_listable(location: Location) -> str | None:
    if location.data is not None:
        return "bytes in memory are no folder"
    if location.is_in_store:
        return "a store of obstore's is read file by file"
    fs: Any = location.resolve()[0]
    if any(base.__name__ == "HTTPFileSystem" for base in type(fs).__mro__):
        return "a web server does not tell what files it has"
    return None


def named(locations: Sequence[Location]) -> Mapping[str, Location]:
    """Return locations by names that tell them apart: what their URLs don't have in common."""
    urls = [location.url for location in locations]
    shared = len(_folder_of_all(urls))
    names: dict[str, Location] = {}
    for url, location in zip(urls, locations, strict=True):
        names[_new(url[shared:], names)] = location
    return names


def _new(name: str, taken: Mapping[str, Location]) -> str:
    """Return a name that is not taken: queries that tell files apart are not shown."""
    if name not in taken:
        return name
    return next(made for number in count(2) if (made := f"{name} ({number})") not in taken)


def _folder_of_all(urls: Sequence[str]) -> str:
    """Return the folder that all have in common, with the slash at its end."""
    folders = [posixpath.dirname(url.replace(os.sep, "/")).split("/") for url in urls]
    same = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    common = "/".join(parts[0] for parts in same)
    return f"{common}/" if common and all(len(url) > len(common) for url in urls) else ""


def url_of_all(locations: Sequence[Location]) -> str:
    """Return what stands for a list of files in messages."""
    urls = [location.url for location in locations]
    folder = _folder_of_all(urls)
    names = [url[len(folder) :] for url in urls]
    if len(names) > 3:
        names = [names[0], "…", names[-1]]
    return f"{folder}{{{','.join(names)}}}"
