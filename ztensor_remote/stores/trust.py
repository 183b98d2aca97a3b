"""Which stores keep the condition under which an object is to be published.

That nothing failed does not say so: many servers that speak S3 ignore conditions.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..errors import ConcurrentWriteError
from .location import Location
from .parts import PartedSink
from .source import Source

_found: dict[str, bool] = {}


def is_trusted(location: Location, sink: PartedSink) -> bool:
    """Whether it is known, without asking."""
    return _found.get(location.server, False) or sink.is_known_strict()


def find_out(
    location: Location,
    make: Callable[..., PartedSink],
    open_source: Callable[[Location], Source],
) -> bool:
    """Find out, once for each bucket, by an object that is removed again.

    Parameters
    ----------
    location : Location
        Of any object there; the one that is written lies beside it.
    make : callable
        Makes a sink of a location, a filesystem and a path.
    open_source : callable

    Raises
    ------
    StoreError
    """
    fs, path = location.resolve()
    if make(location, fs, path).is_known_strict():
        return True
    key = location.server
    if key not in _found:
        place = location.sibling(f".ztensor-probe-{secrets.token_hex(8)}")
        _found[key] = _keeps_condition(place, make, open_source)
    return _found[key]


def _keeps_condition(
    place: Location,
    make: Callable[..., PartedSink],
    open_source: Callable[[Location], Source],
) -> bool:
    """Replace an object that was replaced meanwhile, which must fail."""
    fs, path = place.resolve()
    try:
        _put(make(place, fs, path), b"first")
        stale = open_source(place)
        _put(make(place, fs, path), b"second")
        sink = make(place, fs, path, base=stale)
        sink.trusted = True  # or it would look for itself
        return not _replaces(sink)
    finally:
        with suppress(Exception):
            fs.rm_file(path)


def _replaces(sink: PartedSink) -> bool:
    try:
        sink.write(b"third")
        sink.commit_in_parts()
    except ConcurrentWriteError:
        return False
    finally:
        sink.abort()
    return True


def _put(sink: Any, data: bytes) -> None:
    try:
        sink.write(data)
        sink.commit()
    finally:
        sink.abort()
