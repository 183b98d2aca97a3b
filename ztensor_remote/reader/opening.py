"""From a location to a checked manifest, in one request where the tail is enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ..container import TAIL_WINDOW, Footer, Generation, parse_footer
from ..errors import FormatError, ObjectChangedError, located
from ..interop import Format, Peek, find_parser, first_end
from ..manifest import Manifest, parse_manifest
from ..stores import (
    Gathering,
    Identity,
    Limits,
    Location,
    MappedSource,
    Source,
    open_source,
    reopen_source,
)
from .recovery import FARTHEST, recover

_RIVALS = 8
"""How many replacements in a row an opening outlives."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A file whose manifest has been read, or several that are read as one.

    Attributes
    ----------
    place : Location or Gathering
    source : Source
    footer : Footer or None
        None for a file of another format, and for one whose manifest was known.
    manifest : Manifest
    recovered : bool
        The end of the file is torn, and this is the last whole generation before.
    files : mapping of str to Opened
        Each of several, by the name that its components have as their shard.
    """

    place: Location | Gathering
    source: Source
    footer: Footer | None
    manifest: Manifest
    recovered: bool = False
    files: Mapping[str, Opened] = field(default_factory=dict)

    def location_of(self, shard: str) -> Location:
        """Return where a shard lies."""
        if not isinstance(self.place, Location):
            file, _, name = shard.rpartition("/")
            return self.files[file].location_of(name)
        stated = self.manifest.shards[shard].file
        return self.place.sibling(stated or f"{self.place.stem}-{shard}.zt")

    def close(self) -> None:
        """Close the file, or all of several."""
        for source in (self.source, *(file.source for file in self.files.values())):
            source.close()


def open_file(
    location: Location,
    *,
    pinned: Identity | None = None,
    limits: Limits | None = None,
    format: Format = "auto",
    farthest: int = FARTHEST,
) -> Opened:
    """Open a file and read its manifest.

    Opening takes more than one request in places, and a writer may publish in between: what is
    asked for is the file as it is now, so it is then opened again.

    Parameters
    ----------
    location : Location
    pinned : Identity, optional
        The version it must still be.
    limits : Limits, optional
    format : Format
        What it is; ``"auto"`` finds out.
    farthest : int
        Bytes of a torn tail of a local file that are searched for the end of what is whole.

    Raises
    ------
    ObjectChangedError
        It is no longer the pinned version, or somebody keeps replacing it.
    FormatError, StoreError
    """
    for _ in range(_RIVALS if pinned is None else 0):
        with suppress(ObjectChangedError):
            return _open_once(location, pinned, limits, format, farthest)
    return _open_once(location, pinned, limits, format, farthest)


def reopen_file(
    location: Location, manifest: Manifest, *, pinned: Identity, limits: Limits
) -> Opened:
    """Open a file of which all is known already. Remote ones cost no request.

    Raises
    ------
    ObjectChangedError
        It is no longer the pinned version; of a remote file, that shows when it is first read.
    StoreError
    """
    source = reopen_source(location, pinned, limits=limits)
    with _closing_on_error(source):
        _check_pinned(source, pinned)
    return Opened(location, source, None, manifest)


def _check_pinned(source: Source, pinned: Identity | None) -> None:
    if pinned is not None and not pinned.matches(source.identity):
        raise ObjectChangedError("the object was replaced since this handle was made")


def _open_once(
    location: Location,
    pinned: Identity | None,
    limits: Limits | None,
    format: Format,
    farthest: int,
) -> Opened:
    end = first_end(location.path, format)
    source, piece = open_source(location, window=TAIL_WINDOW, end=end, limits=limits, pinned=pinned)
    with _closing_on_error(source):
        if not isinstance(source, MappedSource):  # of a torn file, the end is found first
            _check_pinned(source, pinned)
        try:
            opened = _parsed(location, Peek(source, piece, end, limits), format, farthest)
        finally:
            _check_pinned(source, pinned)
        return opened


def _parsed(location: Location, peek: Peek, format: Format, farthest: int) -> Opened:
    parse = find_parser(peek, location.path, format)
    if parse is not None:
        return Opened(location, peek.source, None, parse(peek))
    return _open_native(location, peek, farthest)


def _open_native(location: Location, peek: Peek, farthest: int) -> Opened:
    source, tail = peek.source, peek.tail(TAIL_WINDOW)
    try:
        footer = _footer(peek, tail)
        manifest = parse_manifest(
            _manifest_bytes(source, tail, footer), footer, size=source.identity.size
        )
    except FormatError:
        found = _recover(source, farthest)
        if found is None:
            raise
        return Opened(location, source, *found, recovered=True)
    return Opened(location, source, footer, manifest)


def _recover(source: Source, farthest: int) -> tuple[Footer, Manifest] | None:
    # Other stores publish a file whole, or not at all.
    return recover(source, farthest=farthest) if isinstance(source, MappedSource) else None


def open_shard(location: Location, *, size: int, limits: Limits) -> Source:
    """Open a file that another file's manifest refers to (SPEC.md §10.2).

    Raises
    ------
    FormatError
        It has another size than the manifest states, or is no version-2 file.
    """
    source, tail = open_source(location, window=Generation.V2.footer_size, limits=limits)
    with _closing_on_error(source):
        if source.identity.size != size:
            raise FormatError(
                f"this shard has {source.identity.size} bytes, the root manifest states {size}",
                rule="ShardIdentity",
            )
        if not _is_version_2(Peek(source, tail, "tail"), bytes(tail)):
            raise FormatError("this shard is no version-2 file", rule="ShardIdentity")
    return source


def open_data(location: Location, *, least: int, limits: Limits) -> Source:
    """Open a file of bare bytes, of which another file's manifest needs the first so many.

    Raises
    ------
    FormatError
        It has fewer.
    """
    source, _ = open_source(location, window=1, limits=limits)
    with _closing_on_error(source):
        if source.identity.size < least:
            raise FormatError(
                f"this file has {source.identity.size} bytes, there must be {least}",
                rule="ShardIdentity",
            )
    return source


def _is_version_2(peek: Peek, tail: bytes) -> bool:
    try:
        footer = parse_footer(tail, size=peek.size, head=peek.seen(0, 8))
    except FormatError:
        return False
    return footer is not None and footer.generation is Generation.V2


@contextmanager
def _closing_on_error(source: Source) -> Iterator[None]:
    try:
        with located(url=source.url):
            yield
    except BaseException:
        source.close()
        raise


def _footer(peek: Peek, tail: memoryview) -> Footer:
    last = bytes(tail[-Generation.V2.footer_size :])
    footer = parse_footer(last, size=peek.size, head=peek.seen(0, 8))
    if footer is None:
        footer = parse_footer(last, size=peek.size, head=bytes(peek.read(0, 8)))
    assert footer is not None
    return footer


def _manifest_bytes(source: Source, tail: memoryview, footer: Footer) -> bytes:
    """Return the manifest, asking only for the part that the tail does not have."""
    if not footer.manifest_length:
        return b""
    tail_start = source.identity.size - len(tail)
    stop = footer.manifest_offset + footer.manifest_length
    missing = min(tail_start, stop) - footer.manifest_offset
    in_tail = bytes(tail[max(0, footer.manifest_offset - tail_start) : max(0, stop - tail_start)])
    if missing <= 0:
        return in_tail
    front = bytearray(missing)
    source.read_into(footer.manifest_offset, memoryview(front))
    return bytes(front) + in_tail
