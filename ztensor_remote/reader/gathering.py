"""Several files opened as one: a list, what a pattern or an index names, what a folder has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from ..errors import (
    LimitError,
    NotFoundError,
    ObjectChangedError,
    StoreError,
    UnsupportedError,
    located,
)
from ..interop import MOST_FILES, Format, Peek, check_indexed, choose, is_index, parse_index
from ..manifest import Manifest
from ..manifest.assembled import assembled
from ..stores import (
    GatheredSource,
    Gathering,
    Identity,
    Limits,
    Location,
    Stats,
    is_pattern,
    matching,
    named,
    names_in,
    open_source,
    prepare,
    run_all,
    url_of_all,
)
from .opening import Opened, open_file, reopen_file

Place: TypeAlias = Location | Sequence[Location] | Gathering
"""Where a model lies: a file, whatever stands for several, or the several that were found."""

_INDEX_WINDOW = 1 << 20


@dataclass(frozen=True, slots=True)
class _Named:
    """A file, and what an index says of it."""

    location: Location
    tensors: Set[str] | None = None
    index: Location | None = None


def open_place(
    place: Place,
    *,
    pinned: Identity | None = None,
    limits: Limits,
    format: Format = "auto",
) -> Opened:
    """Open a file, or the files that a place stands for, as one.

    Parameters
    ----------
    place : Location, sequence of Location or Gathering
    pinned : Identity, optional
        The version that it, or each of them, must still be.
    limits : Limits
    format : Format
        Of each; in a folder, of those that are meant.

    Raises
    ------
    NotFoundError, AccessDeniedError, ObjectChangedError, StoreError
    DuplicateNameError
        Two files have a tensor of one name.
    FormatError
        One is no file of tensors, or an index says something else than the files that it names.
    UnsupportedError
        The filesystem can't tell what files there are.
    """
    stats = Stats()
    if isinstance(place, Gathering):
        each = [_Named(location) for location in place.files.values()]
        return _open_all(place.url, each, stats, pinned, limits, format)
    if not isinstance(place, Location):
        each = [file for item in place for file in _files_at(item, limits, format, stats)]
        return _open_all(url_of_all(list(place)), each, stats, pinned, limits, format)
    if _is_of_many(place):
        each = _files_at(place, limits, format, stats)
        return _open_all(place.url, each, stats, pinned, limits, format)
    try:
        return open_file(place, pinned=pinned, limits=limits, format=format)
    except NotFoundError:
        each = _files_instead(place, limits, format, stats)
        if not each:
            raise
    return _open_all(place.url, each, stats, pinned, limits, format)


def reopen_place(
    place: Location | Gathering, manifest: Manifest, *, pinned: Identity, limits: Limits
) -> Opened:
    """Open a file, or several, of which all is known already; see `reopen_file`.

    Raises
    ------
    ObjectChangedError, StoreError
    """
    if isinstance(place, Location):
        return reopen_file(place, manifest, pinned=pinned, limits=limits)
    prepare(place.files.values())
    versions = dict(pinned.files)
    opened = _side_by_side(
        {
            name: partial(
                reopen_file, location, manifest.files[name], pinned=versions[name], limits=limits
            )
            for name, location in place.files.items()
        },
        limits,
    )
    source = GatheredSource(place.url, versions, Stats())
    return Opened(place, source, None, manifest, files=opened)


# --- which files --------------------------------------------------------------------------------


def _is_of_many(place: Location) -> bool:
    return place.path.endswith("/") or is_index(place.path) or is_pattern(place)


def _files_at(place: Location, limits: Limits, format: Format, stats: Stats) -> list[_Named]:
    """Return the files that a place stands for, or the place itself."""
    if is_pattern(place):
        return [_Named(location) for location in matching(place)]
    if is_index(place.path):
        return _files_of_index(place, limits, stats)
    if place.path.endswith("/"):
        return _files_in(place, names_in(place), limits, format, stats)
    return [_Named(place)]


def _files_of_index(place: Location, limits: Limits, stats: Stats) -> list[_Named]:
    source, head = open_source(place, window=_INDEX_WINDOW, end="head", limits=limits)
    with closing(source), located(url=source.url):
        files = parse_index(Peek(source, head, "head"))
        stats.add_all(source.stats)
    return [_Named(place.sibling(file), tensors, place) for file, tensors in files.items()]


def _files_in(
    folder: Location, names: Sequence[str], limits: Limits, format: Format, stats: Stats
) -> list[_Named]:
    with located(url=folder.url):
        chosen = choose(names, format)
    if not chosen:
        there = f"none of its {len(names)} files has tensors" if names else "there is nothing in it"
        raise NotFoundError(f"no folder of tensor files: {there}", url=folder.url)
    return [
        file for name in chosen for file in _files_at(folder.child(name), limits, format, stats)
    ]


def _files_instead(place: Location, limits: Limits, format: Format, stats: Stats) -> list[_Named]:
    """Return the files of the folder of this name; nothing if there is none that can be seen."""
    try:
        names = names_in(place)
    except (StoreError, UnsupportedError):
        return []
    return _files_in(place, names, limits, format, stats) if names else []


# --- opened -------------------------------------------------------------------------------------


def _open_all(
    url: str,
    each: Sequence[_Named],
    stats: Stats,
    pinned: Identity | None,
    limits: Limits,
    format: Format,
) -> Opened:
    if len(each) > MOST_FILES:
        raise LimitError(f"{len(each)} files are more than {MOST_FILES}", url=url)
    files = dict(zip(named([file.location for file in each]), each, strict=True))
    versions = dict(pinned.files) if pinned is not None else {}
    prepare(file.location for file in each)
    opened = _side_by_side(
        {
            name: partial(_open_one, file, versions.get(name), limits, format)
            for name, file in files.items()
        },
        limits,
    )
    try:
        with located(url=url):
            for name, file in files.items():
                if file.tensors is not None:
                    check_indexed(name, file.tensors, opened[name].manifest.tensors.keys())
            source = GatheredSource(
                url, {name: one.source.identity for name, one in opened.items()}, stats
            )
            if pinned is not None and not pinned.matches(source.identity):
                raise ObjectChangedError("the files are others since this handle was made")
            manifest = assembled({name: one.manifest for name, one in opened.items()})
    except BaseException:
        _close(opened.values())
        raise
    indexes = {file.index.url: file.index for file in each if file.index is not None}
    locations = {name: file.location for name, file in files.items()}
    place = Gathering(url, locations, list(indexes.values()))
    recovered = any(one.recovered for one in opened.values())
    return Opened(place, source, None, manifest, recovered, opened)


def _open_one(file: _Named, pinned: Identity | None, limits: Limits, format: Format) -> Opened:
    try:
        return open_file(file.location, pinned=pinned, limits=limits, format=format)
    except NotFoundError as error:
        if file.index is not None:
            error.message += f"; {file.index.url} names it"
        raise


def _side_by_side(
    tasks: Mapping[str, Callable[[], Opened]], limits: Limits
) -> Mapping[str, Opened]:
    opened: dict[str, Opened] = {}

    def keep(name: str) -> None:
        opened[name] = tasks[name]()

    try:
        run_all((partial(keep, name) for name in tasks), most=limits.connections)
    except BaseException:
        _close(opened.values())
        raise
    return {name: opened[name] for name in tasks}


def _close(opened: Iterable[Opened]) -> None:
    for each in opened:
        each.close()
