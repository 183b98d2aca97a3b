"""Arrays of NumPy: their elements are bytes in the pickle."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...manifest.dtypes import BY_NAME, DType, is_dtype_name
from ...manifest.fields import MAX_RANK, element_count
from .stream import reject
from .values import Bytes, Named, as_text, kind, refuse

_OF_NUMBERS = re.compile(r"[<>=|]?([biufc][0-9]{1,2}|[?bBhHiIlLqQefdFD])")
"""The names that NumPy has for dtypes of plain numbers; it warns of some others."""


@dataclass(slots=True, eq=False)
class Dtype:
    """A dtype as it is put together: made first, then given its byte order."""

    element: DType
    big_endian: bool = False

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.element.bits // 8

    def build(self, state: Any) -> None:
        """Take what the pickle says beyond the name."""
        match state:
            case (_, order, None, None, None, *_) if as_text(order) in ("<", ">", "|", "="):
                self.big_endian = as_text(order) == ">"
            case _:
                refuse("numpy.dtype of several fields")


@dataclass(slots=True, eq=False)
class Array:
    """An array as it is put together.

    Attributes
    ----------
    shape : tuple of int
    dtype : Dtype or None
        None as long as the array has no elements.
    is_fortran : bool
        Whether the first axis is the innermost one.
    data : Bytes or None
    """

    shape: tuple[int, ...] = ()
    dtype: Dtype | None = None
    is_fortran: bool = False
    data: Bytes | None = None

    def build(self, state: Any) -> None:
        """Take the state of an array."""
        match state:
            case (_, tuple() as shape, Dtype() as dtype, int() as is_fortran, data):
                self._fill(shape, dtype, bool(is_fortran), data)
            case _:
                reject("the state of an array is none")

    def _fill(self, shape: Any, dtype: Dtype, is_fortran: bool, data: Any) -> None:
        self.shape = checked_sizes(shape, "the shape of an array")
        if not isinstance(data, Bytes):
            reject(f"the elements of an array are no bytes, but a {kind(data)}")
        if element_count(self.shape) * dtype.itemsize != data.length:
            reject(
                f"{self.shape} of {dtype.element.name} does not take the {data.length} bytes it has"
            )
        self.dtype, self.is_fortran, self.data = dtype, is_fortran, data

    @property
    def strides(self) -> tuple[int, ...]:
        """From one element to the next on each axis, in elements."""
        axes = range(len(self.shape))
        if self.is_fortran:
            return tuple(math.prod(self.shape[:axis]) for axis in axes)
        return tuple(math.prod(self.shape[axis + 1 :]) for axis in axes)


def checked_sizes(sizes: Any, what: str) -> tuple[int, ...]:
    """Return a tuple of sizes, if it is one."""
    if not isinstance(sizes, tuple | list) or len(sizes) > MAX_RANK:
        reject(f"{what} is no tuple of at most {MAX_RANK} sizes")
    if not all(type(size) is int and 0 <= size < 1 << 63 for size in sizes):
        reject(f"{what} has something else than sizes")
    return tuple(sizes)


def _made(arguments: tuple[Any, ...]) -> Array:
    match arguments:
        case (Named(name="numpy.ndarray"), *_):
            return Array()
    refuse("an array of a class of its own")


def _of_buffer(arguments: tuple[Any, ...]) -> Array:
    match arguments:
        case (data, Dtype() as dtype, tuple() as shape, order) if as_text(order) in ("C", "F"):
            array = Array()
            array.build((1, shape, dtype, as_text(order) == "F", data))
            return array
    reject("an array is made of something else than a buffer, a dtype, a shape and an order")


def _dtype(arguments: tuple[Any, ...]) -> Dtype:
    match arguments:
        case (Named(value=DType() as element), *_):
            return Dtype(element)
        case (name, *_) if (text := as_text(name)) is not None:
            return _dtype_named(text)
    refuse("numpy.dtype of a class")


def _dtype_named(text: str) -> Dtype:
    try:
        dtype = np.dtype(text) if _OF_NUMBERS.fullmatch(text) else None
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "biufc" or not is_dtype_name(dtype.name):
        refuse(f"numpy.dtype({text[:20]!r})")
    return Dtype(BY_NAME[dtype.name], dtype.str[0] == ">")


def _scalar(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (Dtype() as dtype, Bytes(data=bytes() as data)):
            if len(data) != dtype.itemsize:
                reject("a number has more bytes than its dtype, or fewer")
            number = np.frombuffer(data, dtype.element.numpy())
            return (number.byteswap() if dtype.big_endian else number)[0].item()
    reject("a number is made of something else than a dtype and its bytes")


ARRAY_NAMES = {
    named.name: named
    for named in (
        Named("numpy.ndarray"),
        Named("numpy.dtype", _dtype),
        *(
            Named(f"numpy.{core}.{name}", call)
            for core in ("core", "_core")
            for name, call in {
                "multiarray._reconstruct": _made,
                "multiarray.scalar": _scalar,
                "numeric._frombuffer": _of_buffer,
            }.items()
        ),
        *(
            Named(f"ml_dtypes.{element.name}", value=element)
            for element in BY_NAME.values()
            if not hasattr(np, element.name) and not element.is_packed
        ),
    )
}
