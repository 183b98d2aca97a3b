"""Cut the torn tail off that a killed append has left."""

from __future__ import annotations

from typing import Any

from ..errors import UnsupportedError
from ..reader import open_file
from ..stores import MappedSource, aborting, locate, open_append


def repair(location: Any) -> int:
    """Make a local file end where its last whole generation does.

    Parameters
    ----------
    location : str or PathLike

    Returns
    -------
    int
        Bytes that were cut off; 0 where the file was whole.

    Raises
    ------
    UnsupportedError
        Not a local file: other stores publish files whole.
    ConcurrentWriteError
        A writer is adding to it at this moment.
    FormatError
        Nothing whole was found in it.
    """
    place = locate(location)
    if not place.is_local:
        raise UnsupportedError(
            "only local files can have a torn end; other stores publish a file whole or not at all",
            url=place.url,
        )
    opened = open_file(place, farthest=1 << 62)
    try:
        if not opened.recovered:
            return 0
        sink = open_append(place, opened.source, in_place=True)
        with aborting(sink):
            sink.commit()
        assert isinstance(opened.source, MappedSource)  # no other is recovered
        return opened.source.file_size - opened.source.identity.size
    finally:
        opened.source.close()
