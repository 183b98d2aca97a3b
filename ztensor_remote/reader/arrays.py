"""Decoded bytes to arrays, and arrays to tensors of other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FormatError, MissingDependencyError, UnsupportedError
from ..manifest.dtypes import DType

if TYPE_CHECKING:
    from torch import Tensor as TorchTensor
    from torch import dtype as TorchDType

Array = np.ndarray[Any, np.dtype[Any]]


def as_array(data: memoryview, element: DType, shape: tuple[int, ...]) -> Array:
    """Return the elements in `data`, as a view wherever an element has bytes of its own.

    Raises
    ------
    FormatError
        A bool that is neither 0 nor 1, or padding bits that are set.
    """
    if element.is_packed:
        return _unpack(data, element, shape)
    if element.name == "bool":
        _check_bools(data)
    return np.ndarray(shape, element.numpy(), buffer=data if len(data) else b"\0" * 16)


def _check_bools(data: memoryview) -> None:
    values = np.frombuffer(data, np.uint8)
    if values.size and values.max() > 1:
        raise FormatError("a bool is stored as neither 0 nor 1", rule="LayoutData")


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


def to_torch(array: Array) -> TorchTensor:
    """Return a CPU tensor over the array's memory.

    torch has no NumPy counterpart for bfloat16, fp8 and fp4: those travel as integers of the same
    width. A read-only array is copied, since torch can't protect memory.

    Raises
    ------
    MissingDependencyError, UnsupportedError
    """
    torch = import_torch()
    dtype = torch_dtype(array.dtype)
    if not array.flags.writeable:
        array = array.copy()
    if is_foreign(array.dtype):
        array = array.view(f"u{array.itemsize}")
    tensor: TorchTensor = torch.from_numpy(array)
    return tensor.view(dtype)


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
