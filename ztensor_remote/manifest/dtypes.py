"""The element types: how they are stored, what they mean, what NumPy calls them (SPEC.md §2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import FormatError, InvalidInputError, UnsupportedError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class DType:
    """An element type.

    Attributes
    ----------
    name : str
        The NumPy or ml_dtypes scalar name, ``"float32"``, ``"bfloat16"``, ``"float8_e4m3fn"``.
    storage : str
        What each stored element is: ``"f32"``, ``"u8"``, ….
    logical : str or None
        The registered meaning laid over the storage elements, if any.
    bits : int
        Stored bits of one logical element.
    """

    name: str
    storage: str
    logical: str | None
    bits: int

    def nbytes(self, count: int) -> int:
        """Return the stored bytes of `count` elements; packed types round up."""
        return (count * self.bits + 7) // 8

    @property
    def is_packed(self) -> bool:
        """Whether several elements share a byte (low bits first)."""
        return self.bits < 8

    @property
    def is_as_stored(self) -> bool:
        """Whether an element takes the same bits in an array."""
        return not self.is_packed and self.name != COMPLEX32.name

    @property
    def is_encoded(self) -> bool:
        """Whether all stored bytes have to be looked at to have an array: to convert or check."""
        return not self.is_as_stored or self.name == "bool"

    def numpy(self) -> np.dtype[Any]:
        """Return the NumPy dtype of a decoded element; of complex32, that of the same values."""
        return _numpy_dtype("complex64" if self.name == COMPLEX32.name else self.name)


_PLAIN = (
    DType("float64", "f64", None, 64),
    DType("float32", "f32", None, 32),
    DType("float16", "f16", None, 16),
    DType("bfloat16", "bf16", None, 16),
    DType("int64", "i64", None, 64),
    DType("int32", "i32", None, 32),
    DType("int16", "i16", None, 16),
    DType("int8", "i8", None, 8),
    DType("uint64", "u64", None, 64),
    DType("uint32", "u32", None, 32),
    DType("uint16", "u16", None, 16),
    DType("uint8", "u8", None, 8),
    DType("bool", "bool", None, 8),
)
_LOGICAL = (
    DType("bool", "u8", "bool", 8),
    DType("float8_e4m3fn", "u8", "f8_e4m3fn", 8),
    DType("float8_e5m2", "u8", "f8_e5m2", 8),
    DType("float8_e4m3fnuz", "u8", "f8_e4m3fnuz", 8),
    DType("float8_e5m2fnuz", "u8", "f8_e5m2fnuz", 8),
    DType("float8_e8m0fnu", "u8", "f8_e8m0", 8),
    DType("float4_e2m1fn", "u8", "f4_e2m1", 4),
    DType("complex64", "f32", "complex64", 64),
    DType("complex128", "f64", "complex128", 128),
)

COMPLEX32 = DType("complex32", "f16", "complex32", 32)
"""PyTorch's complex numbers of two halves, which NumPy does not have: read, and never written."""

BY_STORAGE = {dtype.storage: dtype for dtype in _PLAIN}
BY_LOGICAL = {dtype.logical: dtype for dtype in _LOGICAL if dtype.logical}
BY_NAME = {dtype.name: dtype for dtype in (*_LOGICAL, *_PLAIN)}
STORAGE_2 = frozenset(BY_STORAGE) - {"bool"}
"""Version 2 has no ``bool`` storage: there it is a logical type over ``u8``."""

LONG_NAMES = {dtype.name: dtype.storage for dtype in _PLAIN}
"""Versions 0.1 and 1.0 spell the 13 storage types out."""

SHORT_TO_LONG = {short: long for long, short in LONG_NAMES.items()}


def storage_width(storage: str) -> int:
    """Return the bytes of one storage element."""
    return BY_STORAGE[storage].bits // 8


def dtype_of(storage: str, logical: str | None) -> DType:
    """Return the element type of a component.

    Raises
    ------
    UnsupportedError
        The logical type is not one we know; its raw bytes can still be read.
    FormatError
        The logical type is laid over the wrong storage type.
    """
    if logical is None:
        return BY_STORAGE[storage]
    dtype = BY_LOGICAL.get(logical)
    if (storage, logical) == (COMPLEX32.storage, COMPLEX32.logical):
        return COMPLEX32
    if dtype is None:
        raise UnsupportedError(
            f"logical type {logical!r} is unknown; read the component's bytes instead"
        )
    if dtype.storage != storage:
        raise FormatError(
            f"logical type {logical!r} needs {dtype.storage!r} storage, not {storage!r}",
            rule="Schema",
        )
    return dtype


def is_dtype_name(name: str) -> bool:
    """Whether `dtype_named` knows the name."""
    return name in BY_NAME or name in BY_STORAGE or name in BY_LOGICAL


def dtype_named(name: str) -> DType:
    """Return the element type with this NumPy, ml_dtypes or short name.

    Raises
    ------
    InvalidInputError
        No format version can store it.
    """
    dtype = BY_NAME.get(name) or BY_STORAGE.get(name) or BY_LOGICAL.get(name)
    if dtype is None:
        raise InvalidInputError(
            f"dtype {name!r} can't be stored; convert to one of {', '.join(sorted(BY_NAME))}"
        )
    return dtype


@cache
def _numpy_dtype(name: str) -> np.dtype[Any]:
    import numpy as np

    if name in np.sctypeDict:
        return np.dtype(name)
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype
