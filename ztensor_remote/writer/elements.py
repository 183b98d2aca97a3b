"""What can be written: arrays of any library, as streams of little-endian bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from ..manifest.dtypes import DType, dtype_named, is_dtype_name
from ..reader.arrays import Array, is_foreign

_STEP = 1 << 18
"""Elements converted at a time, where memory has to be reordered."""


@dataclass(frozen=True, slots=True)
class Elements:
    """An array that is about to be stored.

    Attributes
    ----------
    array : numpy.ndarray
        Any strides, any byte order.
    element : DType
    """

    array: Array
    element: DType

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        shape: tuple[int, ...] = self.array.shape
        return shape

    @property
    def nbytes(self) -> int:
        """Bytes that `chunks` yields in all."""
        return self.element.nbytes(self.array.size)

    @property
    def is_in_place(self) -> bool:
        """Whether `chunks` yields the array's own memory."""
        return not self.element.is_packed and _is_stored_form(self.array)

    def chunks(self) -> Iterator[memoryview]:
        """Yield the elements in C order, little-endian, packed where the type is.

        Contiguous memory is passed on as it is; the rest is converted piece by piece, each piece
        valid until the next is asked for.
        """
        pieces = _pieces(self.array)
        return _packed(pieces) if self.element.is_packed else pieces


def elements_of(value: Any) -> Elements:
    """Return `value` as something that can be stored.

    Parameters
    ----------
    value : numpy.ndarray, torch.Tensor on the CPU, or anything with ``__array__``

    Raises
    ------
    InvalidInputError
        Not an array, or of a dtype that no file can hold.
    """
    array = _torch_array(value) if is_torch(value) else _numpy_array(value)
    return Elements(array, dtype_named(array.dtype.newbyteorder("=").name))


def is_torch(value: Any) -> bool:
    """Whether `value` is a torch tensor (torch itself is not imported to find out)."""
    return any(base.__module__.partition(".")[0] == "torch" for base in type(value).__mro__[:-1])


def _numpy_array(value: Any) -> Array:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"a {type(value).__name__} can't be turned into an array: {error}"
        ) from None
    if isinstance(value, np.ma.MaskedArray):
        raise InvalidInputError("a masked array can't be stored; fill it, or store mask and data")
    return array


def _torch_array(tensor: Any) -> Array:
    if tensor.device.type != "cpu":
        raise InvalidInputError(f"the tensor is on {tensor.device}; copy it first: tensor.cpu()")
    if str(tensor.layout) != "torch.strided":
        raise InvalidInputError(
            f"a tensor of layout {tensor.layout} can't be stored; convert it: tensor.to_dense(), "
            "tensor.to_sparse_coo() or tensor.to_sparse_csr()"
        )
    tensor = tensor.detach().resolve_conj().resolve_neg()
    name = str(tensor.dtype).removeprefix("torch.")
    element = dtype_named(name)
    target = element.numpy()
    if not is_foreign(target):
        array: Array = tensor.numpy()
        return array
    import torch

    words = {1: torch.uint8, 2: torch.int16}[target.itemsize]
    integers: Array = tensor.view(words).numpy()
    return integers.view(target)


def _pieces(array: Array) -> Iterator[memoryview]:
    if array.dtype == bool and array.size and array.view(np.uint8).max() > 1:
        array = array.view(np.uint8) != 0  # memory that was something else before
    if is_foreign(array.dtype):  # NumPy's own machinery copies them slower
        array = array.view(f"u{array.itemsize}")
    if _is_stored_form(array):
        yield _as_bytes(array)
        return
    nditer: Any = np.nditer  # the stubs know no op_dtypes for a single operand
    pieces = nditer(
        array,
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["readonly"]],
        op_dtypes=[array.dtype.newbyteorder("<")],
        order="C",
        casting="equiv",
        buffersize=_STEP,
    )
    for piece in pieces:
        yield _as_bytes(np.ascontiguousarray(piece))


def _is_stored_form(array: Array) -> bool:
    return bool(array.flags.c_contiguous and array.dtype == array.dtype.newbyteorder("<"))


def _as_bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _packed(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
    """Put two 4-bit elements in a byte, the first in the low half; a last odd one is padded."""
    left = np.empty(0, np.uint8)
    for piece in pieces:
        nibbles = np.concatenate((left, np.frombuffer(piece, np.uint8)))
        even = len(nibbles) & ~1
        left = nibbles[even:]
        yield (nibbles[:even:2] | nibbles[1:even:2] << 4).data
    if len(left):
        yield left.data


def dtype_name(dtype: Any) -> str:
    """Return the NumPy name of a NumPy or torch dtype, or of a name that either knows.

    Raises
    ------
    InvalidInputError
    """
    if str(dtype).startswith("torch."):
        return str(dtype).removeprefix("torch.")
    if isinstance(dtype, str) and is_dtype_name(dtype):
        return dtype
    try:
        return str(np.dtype(dtype).newbyteorder("=").name)
    except TypeError:
        raise InvalidInputError(f"{dtype!r} is no dtype") from None
