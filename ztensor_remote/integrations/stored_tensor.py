"""A stored tensor as tasks carry it to other processes, and a name for its content."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ..reader import LazyTensor, Reader


class StoredTensor:
    """A tensor that each process reads by one opened file, kept open between tasks.

    Parameters
    ----------
    tensor : LazyTensor
    """

    def __init__(self, tensor: LazyTensor) -> None:
        self.handle = tensor._handle
        self.name, self.shape, self.ndim = tensor.name, tensor.shape, tensor.ndim
        self.dtype = tensor.dtype

    def __getitem__(self, key: Any) -> Any:
        """Return the selected elements, fetching only the bytes that slices and integers need."""
        tensor = self.handle.reader()[self.name]
        if not isinstance(key, tuple) or not any(isinstance(item, _FANCY) for item in key):
            return tensor[key]
        return tensor[tuple(map(_around, key))][tuple(map(_within, key))]


_FANCY = (list, np.ndarray)


def _around(item: Any) -> Any:
    """Return the slice to read for an index."""
    if isinstance(item, _FANCY):
        return slice(None)
    return item if isinstance(item, slice) else slice(item, item + 1 or None)


def _within(item: Any) -> Any:
    """Return what an index is in what was read for it."""
    if isinstance(item, _FANCY):
        return item
    return slice(None) if isinstance(item, slice) else 0


def token_of(reader: Reader) -> str:
    """Return a name for the content of a file: that of the same object, in every process.

    It tells nothing of options, and so of credentials.
    """
    data = [place.data for place in reader._locations if place.data is not None]
    contents = [hashlib.sha256(each).hexdigest() for each in data]
    known = repr([reader.url, reader.identity, contents])
    return hashlib.sha256(known.encode()).hexdigest()[:32]
