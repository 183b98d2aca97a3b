"""Take a reader, or what one can be opened from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import InvalidInputError
from ..reader import Reader


@contextmanager
def opened(source: Any, options: dict[str, Any]) -> Iterator[Reader]:
    """Give a reader of `source`, and close it if it was opened for this.

    Parameters
    ----------
    source : Reader, or a location as `Reader` takes it
    options : dict
        Keyword arguments of `Reader`.

    Raises
    ------
    InvalidInputError
        Options for a reader that is open already.
    """
    if not isinstance(source, Reader):
        with Reader(source, **options) as reader:
            yield reader
    elif options:
        raise InvalidInputError(f"the reader is open already, {', '.join(options)} come too late")
    else:
        yield source
