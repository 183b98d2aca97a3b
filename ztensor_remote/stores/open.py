"""Open an object to read or to write: the one place that knows what serves which filesystem."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError, UnsupportedError
from .append_local import LocalAppend
from .held import CAN_LOCK
from .limits import Limits
from .local import BytesSource, MappedSource, end_of
from .location import Location
from .parts import PartedSink
from .sink import BasedSink, CopyRefusedError, Sink, aborting
from .source import End, Identity, Source
from .trust import is_trusted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .remote import RemoteSource
    from .s3_plain import Plain

# By class name, not protocol: caches and wrappers borrow the protocol of what they wrap, but not
# its methods; and nothing need be imported to compare names.
_SOURCES = {
    "S3FileSystem": ("s3", "S3Source"),
    "GCSFileSystem": ("gcs", "GCSSource"),
    "AzureBlobFileSystem": ("azure", "AzureSource"),
    "HTTPFileSystem": ("http", "HTTPSource"),
    "HfFileSystem": ("hf", "HFSource"),
    "FsspecStore": ("obstore_store", "ObstoreSource"),
}
_SINKS = {
    "S3FileSystem": ("upload_s3", "S3Sink"),
    "GCSFileSystem": ("upload_gcs", "GCSSink"),
    "AzureBlobFileSystem": ("upload_azure", "AzureSink"),
}


def open_source(
    location: Location,
    *,
    window: int,
    end: End = "tail",
    limits: Limits | None = None,
    pinned: Identity | None = None,
) -> tuple[Source, memoryview]:
    """Open an object and return it with its last `window` bytes (or all, if it is smaller).

    Parameters
    ----------
    window : int
    end : {"tail", "head"}
        Whether it is the first bytes instead that are wanted.
    pinned : Identity, optional
        The version that is wanted, where it is known. Another one may be opened all the same.

    Raises
    ------
    InvalidInputError
        The location can't be that of an object.
    StoreError
        Not there, not allowed, not reachable.
    """
    here = _at_hand(location)
    if here is not None:
        return here, end_of(here, window, end)
    source = _remote(location, limits or Limits())
    if location.cache is not None:
        from .cached import open_cached

        return open_cached(source, location, window=window, end=end, pinned=pinned)
    return source, (source.open_head if end == "head" else source.open_tail)(window)


def reopen_source(location: Location, pinned: Identity, *, limits: Limits) -> Source:
    """Return an object that was opened elsewhere, at that version, without a request.

    What is local may be another version all the same; of a remote object, nothing else is read.

    Raises
    ------
    InvalidInputError, StoreError
    """
    here = _at_hand(location)
    if here is not None:
        return here
    source = _remote(location, limits)
    source.identity = pinned
    if location.cache is not None:
        from .cached import reopen_cached

        return reopen_cached(source, location)
    return source


def _at_hand(location: Location) -> BytesSource | MappedSource | None:
    if location.data is not None:
        return BytesSource(location.data)
    return MappedSource(location) if location.is_local else None


def prepare(locations: Iterable[Location]) -> None:
    """Make the clients of several locations, which threads would else make at once, each its own.

    Raises
    ------
    MissingDependencyError, StoreError
    """
    for location in {location.server: location for location in locations}.values():
        if location.data is None and not location.is_local and _plain(location) is None:
            location.resolve()


def _plain(location: Location) -> Plain | None:
    if not location.path.startswith("s3://"):
        return None
    from .s3_plain import plain_s3

    return plain_s3(location)


def _remote(location: Location, limits: Limits) -> RemoteSource:
    """Return the source of a remote object, without a request yet."""
    plain = _plain(location)
    if plain is not None:
        from .s3_plain import PlainS3Source

        return PlainS3Source(location, limits, plain)
    fs, path = location.resolve()
    if location.is_in_store:
        return _load("obstore_store", "ObstoreSource")(location, fs, path, limits)  # type: ignore[no-any-return]
    if _names_a_bucket(fs, path):
        raise InvalidInputError("the URL names a bucket; add the name of a file", url=location.url)
    make = _serving(fs, _SOURCES) or _load("generic", "GenericSource")
    return make(location, fs, path, limits)  # type: ignore[no-any-return]


def open_sink(location: Location, *, create: bool = False) -> Sink:
    """Open a stream that replaces the object at `location` when it is committed.

    Parameters
    ----------
    create : bool
        Committing raises ConcurrentWriteError where there is an object by then.

    Raises
    ------
    InvalidInputError, StoreError, UnsupportedError
    """
    sink: Sink = _sink_of(location, create=create)
    return sink


def open_rewrite(location: Location, base: Source) -> BasedSink:
    """Open a stream that replaces an object, and can take ranges of it.

    Parameters
    ----------
    base : Source
        The object as it is now, open until the stream is committed; publishing needs that version
        to be still there.

    Raises
    ------
    ConcurrentWriteError, InvalidInputError, StoreError, UnsupportedError
    """
    sink: BasedSink = _sink_of(location, base=base)
    if isinstance(sink, PartedSink):
        sink.trusted = is_trusted(location, sink)
    return sink


def open_append(location: Location, base: Source, *, in_place: bool) -> Sink:
    """Open a stream that continues an object, and publishes it as a whole.

    Parameters
    ----------
    base : Source
        The object as it is now; publishing needs that version to be still there.
    in_place : bool
        Whether a local file may be added to where it is: a torn tail can be told from it.

    Raises
    ------
    ConcurrentWriteError, InvalidInputError, StoreError, UnsupportedError
    """
    if in_place and isinstance(base, MappedSource) and CAN_LOCK:
        return LocalAppend(location, base)
    try:
        return _continued(location, base)
    except CopyRefusedError:
        return _continued(location, base)  # now that it is known not to copy


def _continued(location: Location, base: Source) -> Sink:
    sink = open_rewrite(location, base)
    with aborting(sink):
        sink.copy(0, base.identity.size)
    return sink


def _names_a_bucket(fs: Any, path: str) -> bool:
    """Whether a path in a store of buckets leads to no object in one."""
    has_buckets = any(base.__name__ in _SINKS for base in type(fs).__mro__)
    return has_buckets and not path.partition("/")[2]


def _sink_of(location: Location, **options: Any) -> Any:
    if location.data is not None:
        raise UnsupportedError("bytes can't be written to; give a path or a URL")
    if location.path.endswith(("/", os.sep)):
        raise InvalidInputError("a name that ends in / is a folder's", url=location.url)
    if location.is_local:
        return _load("upload_local", "LocalSink")(location, **options)
    make = sink_class(location)
    fs, path = location.resolve()
    if _names_a_bucket(fs, path):
        raise InvalidInputError("the URL names a bucket; add the name of a file", url=location.url)
    if location.is_in_store:
        make = _load("obstore_store", "ObstoreSink")
    make = make or _load("upload_generic", "GenericSink")
    return make(location, fs, path, **options)


def sink_class(location: Location) -> Any:
    """Return the class that uploads to a remote store, None for one that we know nothing of.

    Raises
    ------
    UnsupportedError
        It can't be written to.
    """
    fs, _ = location.resolve()
    if type(fs).__name__ == "HTTPFileSystem":
        raise UnsupportedError("web servers can't be written to", url=location.url)
    return _serving(fs, _SINKS)


def _serving(fs: Any, table: dict[str, tuple[str, str]]) -> Any:
    for base in type(fs).__mro__:
        if base.__name__ in table:
            return _load(*table[base.__name__])
    return None


def _load(module: str, name: str) -> Any:
    return getattr(import_module(f".{module}", __package__), name)
