"""Decoded bytes to arrays, and arrays to tensors of other libraries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ..errors import (
    FormatError,
    InvalidInputError,
    LimitError,
    MissingDependencyError,
    UnsupportedError,
)
from ..manifest.dtypes import COMPLEX32, DType
from ..types import Framework

if TYPE_CHECKING:
    from jax import Array as JaxArray
    from torch import Tensor as TorchTensor
    from torch import dtype as TorchDType

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_ELEMENTS = np.iinfo(np.intp).max // 16
"""Of the widest dtype; a size of 0 does not keep NumPy from multiplying the others."""


def as_array(data: memoryview, element: DType, shape: tuple[int, ...], *, exact: bool) -> Array:
    """Return the elements in `data`, as a view wherever NumPy has such elements.

    Parameters
    ----------
    data : memoryview
    element : DType
    shape : tuple of int
    exact : bool
        Whether bools must be 0 or 1; otherwise all that is not 0 is true.

    Raises
    ------
    FormatError
        A bool that is neither 0 nor 1, or padding bits that are set.
    UnsupportedError
        NumPy has no arrays of this shape.
    """
    check_shape(shape)
    if element.is_packed:
        return _unpack(data, element, shape)
    if element == COMPLEX32:
        halves = np.frombuffer(data, np.float16)
        return halves.astype(np.float32).view(np.complex64).reshape(shape)
    if element.name == "bool" and not _are_bits(data):
        if exact:
            raise FormatError("a bool is stored as neither 0 nor 1", rule="LayoutData")
        bools: Array = np.frombuffer(data, np.uint8) != 0
        return bools.reshape(shape)
    return np.ndarray(shape, element.numpy(), buffer=data if len(data) else b"\0" * 16)


def as_strided(
    data: memoryview,
    element: DType,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *,
    exact: bool,
    limit: int,
) -> Array:
    """Return the elements in `data` that lie so many elements apart on each axis.

    Raises
    ------
    FormatError, UnsupportedError
        As `as_array` does.
    LimitError
        Many elements are the same one, and each by itself would take more than `limit` bytes.
    """
    check_shape(shape)
    flat = as_array(data, element, (len(data) * 8 // element.bits,), exact=exact)
    if 0 in shape:
        return flat[:0].reshape(shape)
    steps = tuple(by * flat.itemsize for by in strides)
    is_shared = flat.size < math.prod(shape)  # what is written to one would change others
    if is_shared and math.prod(shape) * flat.itemsize > limit:
        raise LimitError(
            f"its elements, of which many are the same, would need more than the limit of {limit} "
            "bytes; if the file is trusted, open it with limits=Limits(max_decoded=...)"
        )
    return np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=not is_shared)


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse shapes that a file may have and NumPy can't, even where there are no elements.

    Raises
    ------
    UnsupportedError
    """
    if math.prod(filter(None, shape)) > _MOST_ELEMENTS:
        raise UnsupportedError(f"NumPy has no arrays of the shape {shape}")


def _are_bits(data: memoryview) -> bool:
    values = np.frombuffer(data, np.uint8)
    return not values.size or bool(values.max() <= 1)


def _unpack(data: memoryview, element: DType, shape: tuple[int, ...]) -> Array:
    """Return 4-bit elements one a byte, the low half of each stored byte first."""
    count = int(np.prod(shape, dtype=object))
    stored = np.frombuffer(data, np.uint8)
    if count % 2 and stored[-1] >> 4:
        raise FormatError("final odd f4 nibble must be zero", rule="LayoutData")
    halves = np.empty((stored.size, 2), np.uint8)
    np.bitwise_and(stored, 15, out=halves[:, 0])
    np.right_shift(stored, 4, out=halves[:, 1])
    return halves.ravel()[:count].view(element.numpy()).reshape(shape)


def check_framework(to: str) -> None:
    """Refuse what arrays can't be returned as.

    Raises
    ------
    InvalidInputError
    """
    if to not in get_args(Framework):
        names = ", ".join(map(repr, get_args(Framework)))
        raise InvalidInputError(f"to={to!r} is not supported; use one of {names}")


def to_torch(array: Array, element: DType | None = None) -> TorchTensor:
    """Return a CPU tensor over the array's memory.

    torch has no NumPy counterpart for bfloat16, fp8 and fp4: those travel as integers of the same
    width. A read-only array is copied, since torch can't protect memory.

    Parameters
    ----------
    array : numpy.ndarray
    element : DType, optional
        What it was stored as, where torch may have that and NumPy not.

    Raises
    ------
    MissingDependencyError, UnsupportedError
    """
    torch = import_torch()
    dtype = torch_dtype(array.dtype)
    made: TorchTensor
    if not array.size:  # NumPy's strides of nothing are none that torch can view it by
        is_half = element == COMPLEX32
        made = torch.empty(array.shape, dtype=torch.complex32 if is_half else dtype)
        return made
    if not array.flags.writeable:
        array = array.copy()
    if is_foreign(array.dtype):
        array = array.view(f"u{array.itemsize}")
    made = torch.from_numpy(array).view(dtype)
    return made.to(torch.complex32) if element == COMPLEX32 else made


def is_foreign(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is one of ml_dtypes, which other libraries don't take from NumPy.

    Its `kind` does not tell: that of float8_e5m2 is "f".
    """
    return dtype.isbuiltin == 2


def torch_dtype(dtype: np.dtype[Any]) -> TorchDType:
    """Return torch's name for a NumPy dtype.

    Raises
    ------
    UnsupportedError
    """
    found = getattr(import_torch(), dtype.name, None)
    if found is None:
        raise UnsupportedError(f"torch has no dtype {dtype.name}; read it with to='numpy'")
    return found  # type: ignore[no-any-return]


def import_torch() -> Any:
    """Return torch, or say how to get it."""
    try:
        import torch
    except ImportError:
        raise MissingDependencyError(
            "this needs PyTorch: pip install 'ztensor-remote[torch]'"
        ) from None
    return torch


def to_jax(array: Array, device: Any = None) -> JaxArray:
    """Return a JAX array, over the array's memory where the device can use it.

    Nothing may write to that memory afterwards.

    Parameters
    ----------
    array : numpy.ndarray
    device : jax.Device or jax.sharding.Sharding, optional
        JAX's default device otherwise.

    Raises
    ------
    UnsupportedError
        JAX has no such dtype, or would store another one.
    MissingDependencyError
    """
    jax = import_jax()
    check_jax_dtype(array.dtype)
    made: JaxArray = jax.device_put(array, device, may_alias=True)
    return made


def check_jax_dtype(dtype: np.dtype[Any]) -> None:
    """Refuse dtypes that JAX does not have, or silently makes others of.

    Raises
    ------
    UnsupportedError, MissingDependencyError
    """
    try:
        taken = import_jax().device_put(np.empty(0, dtype)).dtype
    except TypeError:
        raise UnsupportedError(f"JAX has no dtype {dtype.name}; read it as NumPy's") from None
    if taken != dtype:
        raise UnsupportedError(
            f"JAX would make {taken.name} of {dtype.name}: allow it 64 bits with "
            "jax.config.update('jax_enable_x64', True), or read it as NumPy's and convert it"
        )


def import_jax() -> Any:
    """Return JAX, or say how to get it."""
    try:
        import jax
    except ImportError as error:
        raise MissingDependencyError(
            f"this needs JAX ({error}): pip install 'ztensor-remote[jax]'"
        ) from None
    return jax
