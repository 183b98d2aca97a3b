"""Elements of blocks that several of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import LimitError, UnsupportedError
from ..interop import dequantize, is_blocks, why_unread
from ..manifest import Tensor
from .arrays import Array, check_shape

if TYPE_CHECKING:
    from .tensor import LazyTensor

_ITEM = 4
"""Bytes of a float32."""


def no_array(tensor: Tensor) -> UnsupportedError:
    """Return the error for who wants the one array of a tensor that has none."""
    why = why_unread(tensor.format)
    if why is not None:
        return UnsupportedError(why)
    way = "call .dequantize(), or read" if is_blocks(tensor.format) else "read"
    parts = ", ".join(f".components[{role!r}]" for role in tensor.components)
    other = " in this version of the format" if tensor.is_misnamed else ""
    return UnsupportedError(
        f"layout {tensor.format!r} has no single array{other}; {way} its components: {parts}"
    )


def dequantized(tensor: LazyTensor) -> Array:
    """Return the elements of a tensor of blocks.

    Raises
    ------
    UnsupportedError, LimitError
    """
    if not is_blocks(tensor.format):
        raise UnsupportedError(f"layout {tensor.format!r} is not one of blocks; use .numpy()")
    check_shape(tensor.shape)
    nbytes, limit = tensor.size * _ITEM, tensor._blobs.limits.max_decoded
    if nbytes > limit:
        raise LimitError(
            f"its elements need {nbytes} bytes, the limit is {limit}; if the file is trusted, "
            "open it with limits=Limits(max_decoded=...)"
        )
    part = tensor._tensor.components["blocks"]
    stored = tensor._blobs.decoded(part, part.length)
    return dequantize(tensor.format, stored, big_endian=part.big_endian).reshape(tensor.shape)
