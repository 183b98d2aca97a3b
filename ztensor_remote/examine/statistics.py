"""Numbers that tell whether a tensor is sane, computed block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidInputError, UnsupportedError
from ..reader import LazyTensor
from ..reader.arrays import Array
from ..reader.blocks import blocks

_HELD = 32 << 20


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the elements of a tensor are like; of a sparse one, those that are stored.

    Attributes
    ----------
    count : int
    nan, inf, zeros : int
        How many of them are that; `inf` of either sign.
    minimum, maximum, mean, std : float or None
        Of those that are finite; None where none is.
    edges : tuple of float
        Bounds of the bins of the histogram, one more than there are bins.
    counts : tuple of int
        Finite elements in each bin.
    """

    count: int
    nan: int
    inf: int
    zeros: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    edges: tuple[float, ...]
    counts: tuple[int, ...]


def statistics(tensor: LazyTensor, *, bins: int = 20) -> Statistics:
    """Return the statistics of a tensor, in bounded memory.

    A tensor of more than 32 MiB is read twice: the histogram needs minimum and maximum first.

    Parameters
    ----------
    tensor : LazyTensor
        Dense or sparse, of real numbers.
    bins : int
        Of the histogram.

    Raises
    ------
    UnsupportedError, FormatError, StoreError
    """
    if bins < 1:
        raise InvalidInputError(f"bins={bins}: one or more")
    if tensor.dtype.kind == "c":
        raise UnsupportedError("complex numbers have no order", tensor=tensor.name)
    read = _reading(tensor)
    sums = _Sums()
    for block in read():
        sums.add(block)
    if not sums.finite:
        return Statistics(
            sums.count, sums.nan, sums.inf, sums.zeros, None, None, None, None, (), ()
        )
    counts = np.zeros(bins, np.int64)
    span = (sums.minimum, sums.maximum)
    edges = np.histogram_bin_edges(np.empty(0), bins, span)
    for block in read():
        counts += np.histogram(block[np.isfinite(block)], edges)[0]
    mean = sums.total / sums.finite
    return Statistics(
        sums.count,
        sums.nan,
        sums.inf,
        sums.zeros,
        *span,
        mean,
        max(0.0, sums.squares / sums.finite - mean * mean) ** 0.5,
        tuple(map(float, edges)),
        tuple(map(int, counts)),
    )


def _reading(tensor: LazyTensor) -> Callable[[], Iterable[Array]]:
    """Return what yields the elements as floating-point numbers, each time it is called."""
    if tensor.layout in ("sparse_csr", "sparse_coo"):
        held = [_floats(tensor.sparse().values)]
        return lambda: held
    if tensor.layout != "dense":
        raise UnsupportedError(
            f"layout {tensor.format!r} has no single array of numbers", tensor=tensor.name
        )
    if tensor.nbytes <= _HELD:
        held = [_floats(tensor.numpy())]
        return lambda: held
    return lambda: map(_floats, blocks(tensor))


def _floats(array: Array) -> Array:
    small = array.dtype.itemsize <= 4 and array.dtype.kind not in "iu"
    return array.astype(np.float32 if small else np.float64).reshape(-1)


class _Sums:
    def __init__(self) -> None:
        self.count = self.nan = self.inf = self.zeros = self.finite = 0
        self.minimum, self.maximum = np.inf, -np.inf
        self.total = self.squares = 0.0

    def add(self, block: Array) -> None:
        finite = block[np.isfinite(block)]
        self.count += block.size
        self.nan += int(np.isnan(block).sum())
        self.inf += int(np.isinf(block).sum())
        self.zeros += int((block == 0).sum())
        self.finite += finite.size
        if finite.size:
            self.minimum = min(self.minimum, float(finite.min()))
            self.maximum = max(self.maximum, float(finite.max()))
            self.total += float(finite.sum(dtype=np.float64))
            self.squares += float(np.square(finite, dtype=np.float64).sum())
