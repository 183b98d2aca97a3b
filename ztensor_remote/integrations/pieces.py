"""Read a tensor piece by piece, and compare it with its digest as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from ..codecs import PartialDigest
from ..errors import located
from ..reader import LazyTensor
from ..reader.arrays import Array

Key: TypeAlias = "tuple[int | slice, ...]"


def pieces_of(stored: LazyTensor, most: int) -> Iterator[tuple[Key, Array]]:
    """Yield the index expressions of runs of rows, in order, with their elements.

    Parameters
    ----------
    stored : LazyTensor
        Dense. One that is compressed, or needs its elements converted, is a single piece.
    most : int
        Bytes of a piece.

    Raises
    ------
    DigestError
        After the last piece: not all are what was stored.
    FormatError, StoreError
    """
    part = stored._tensor.components["data"]
    if not part.is_raw or part.big_endian or part.element.name == "bool":
        yield (), stored.numpy()
        return
    digest = _digest_of(stored)
    start = 0
    for key in keys_of(stored.shape, stored.nbytes, most):
        piece = np.ascontiguousarray(stored[key])
        if digest is not None:
            digest.add(start, piece.reshape(-1).view(np.uint8).data)
            start += piece.nbytes
        yield key, piece
    if digest is not None:
        with located(url=stored._blobs.source.url, tensor=stored.name, component="data"):
            digest.check()


def _digest_of(stored: LazyTensor) -> PartialDigest | None:
    blobs, part = stored._blobs, stored._tensor.components["data"]
    stated = blobs.stated_digest(part) if blobs.verify else None
    return None if stated is None else PartialDigest(stated, part.length)


def keys_of(shape: tuple[int, ...], nbytes: int, most: int) -> Iterator[Key]:
    """Cut a tensor of so many bytes into runs of rows of at most `most`, in order."""
    if nbytes <= most or not shape:
        yield ()
        return
    row = nbytes // shape[0]
    if row > most:
        for index in range(shape[0]):
            for rest in keys_of(shape[1:], row, most):
                yield (index, *rest)
        return
    step = most // row
    for start in range(0, shape[0], step):
        yield (slice(start, start + step),)
