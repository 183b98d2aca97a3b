"""Memory that the caller gives to be read into."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .arrays import Array


def bytes_of(out: Array, *, shape: tuple[int, ...], dtype: np.dtype[Any]) -> memoryview:
    """Return the bytes of an array that can take a tensor.

    Raises
    ------
    InvalidInputError
        Another shape or dtype, not C-contiguous, or read-only.
    """
    if not isinstance(out, np.ndarray):
        raise InvalidInputError(f"can read into a numpy array, not a {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        raise InvalidInputError(
            f"the array is {out.dtype} {out.shape}, the tensor is {dtype} {shape}"
        )
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise InvalidInputError("the array must be C-contiguous and writable")
    return out.reshape(-1).view(np.uint8).data
