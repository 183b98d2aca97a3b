"""Where tensors come from and go to: files that are opened, and a place that must be free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from ..errors import InvalidInputError, StoreError
from ..interop import Format
from ..reader import Reader, open
from ..stores import Location, locate, open_source
from ..types import StorageOptions


@contextmanager
def opened(
    sources: Any, storage_options: StorageOptions | None, format: Format = "auto"
) -> Iterator[list[Reader]]:
    """Open each source; a `Reader` among them is taken as it is, and stays open.

    Raises
    ------
    InvalidInputError, FormatError, StoreError
    """
    listed = list(sources) if isinstance(sources, list | tuple) else [sources]
    if not listed:
        raise InvalidInputError("there is no file to read: give one or more")
    with ExitStack() as stack:
        readers = []
        for source in listed:
            if isinstance(source, Reader):
                readers.append(source)
            else:
                reader = open(source, storage_options=storage_options, format=format)
                readers.append(stack.enter_context(reader))
        yield readers


def place_for(
    target: Any,
    readers: Sequence[Reader],
    storage_options: StorageOptions | None,
    *,
    overwrite: bool,
) -> Location:
    """Return the location to write to.

    Parameters
    ----------
    storage_options : mapping, optional
        None takes those of the first source, where its filesystem is of the same kind.
    overwrite : bool
        Whether something may be there already.

    Raises
    ------
    InvalidInputError
        There is a file already.
    """
    place = locate_like(target, readers[0]._locations[0], storage_options)
    if not overwrite:
        refuse_existing(place)
    return place


def locate_like(target: Any, other: Location, storage_options: StorageOptions | None) -> Location:
    """Return a location, with the options of another one if it has none and is of the same kind."""
    place = locate(target, storage_options=storage_options)
    if storage_options is None and not place.storage_options and _is_alike(other, place):
        return locate(target, storage_options=other.storage_options)
    return place


def _is_alike(one: Location, other: Location) -> bool:
    protocols = [each.path.rpartition("://")[0] for each in (one, other)]
    return not other.is_local and protocols[0] == protocols[1]


def refuse_existing(place: Location) -> None:
    """Refuse to write where there is a file.

    Raises
    ------
    InvalidInputError
    """
    # Without the right to look, the condition under which the file is published decides.
    with suppress(StoreError):
        source, _ = open_source(place, window=1)
        source.close()
        raise InvalidInputError(
            "there is a file already; choose another name, or overwrite it (overwrite=True, "
            "--overwrite)",
            url=place.url,
        )
