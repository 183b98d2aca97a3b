"""NumPy's .npy: a header, which is a Python literal, and the elements of one array.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from ..errors import FormatError, UnsupportedError
from ..manifest import Component, Manifest, Tensor
from ..manifest.dtypes import dtype_of
from ..manifest.fields import MAX_RANK, MAX_U64, c_strides, element_count, normal_strides, shown
from .peek import Peek

MAGIC = b"\x93NUMPY"

MOST = 1 << 16
"""Bytes of a header; NumPy reads no longer ones than 10,000 unless it is told to."""

NAME = "data"
"""What the tensor of a file is called, which has only one."""

Make: TypeAlias = Callable[[str, int, int, "str | None", bool], Component]
"""Makes a component of a dtype, from a byte on, so many bytes long, logical type and order."""

_KEYS = {"descr", "fortran_order", "shape"}
_SIZED = "OVUSMm"
"""Kinds of elements of any size, which say no more of themselves in a layout's name."""

_DESCR = re.compile(r"[<>=|][A-Za-z][0-9]{0,9}(\[[A-Za-z0-9]{1,9}\])?")
_LONG = re.compile(r"(?<=[0-9])L\b")
"""What Python 2 has behind a size."""

_OTHER = "npy."
STORAGE = {
    "b1": ("bool", None),
    "c8": ("f32", "complex64"),
    "c16": ("f64", "complex128"),
} | {
    f"{kind}{width}": (f"{kind}{8 * width}", None)
    for kind, widths in {"i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}.items()
    for width in widths
}


@dataclass(frozen=True, slots=True)
class Header:
    """What a .npy file says of its array.

    Attributes
    ----------
    length : int
        Bytes of the header, behind which the elements begin.
    shape : tuple of int
    strides : tuple of int or None
        As `Tensor` has them.
    descr : object
        The dtype, as NumPy describes it.
    """

    length: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    descr: Any

    def tensor(self, name: str, size: int, make: Make) -> Tensor:
        """Return the tensor of a file, or member, that has `size` bytes.

        Where its elements are none of a tensor's, it has a layout of its own, and just bytes.

        Raises
        ------
        FormatError
        """
        order, kind = self._dtype()
        if self.length > size:
            reject(f"it has {size} bytes, its header {self.length}: it is cut off")
        if kind not in STORAGE:
            part = make("u8", self.length, size - self.length, None, False)
            attributes = {"descr": str(self.descr)}
            return Tensor(name, self.shape, f"{_OTHER}{kind}", {"data": part}, attributes)
        storage, logical = STORAGE[kind]
        nbytes = dtype_of(storage, logical).nbytes(element_count(self.shape))
        if self.length + nbytes > size:
            reject(f"it has {size} bytes, {self.shape} takes {self.length + nbytes}: it is cut off")
        part = make(storage, self.length, nbytes, logical, order == ">")
        return Tensor(name, self.shape, "dense", {"data": part}, strides=self.strides)

    def _dtype(self) -> tuple[str, str]:
        """Return the order of the bytes of an element, and its kind."""
        if isinstance(self.descr, list | tuple):
            return "|", "V"
        if not isinstance(self.descr, str) or not _DESCR.fullmatch(self.descr):
            reject(f"the dtype {shown(str(self.descr))} is unknown")
        order, kind = self.descr[0], self.descr[1:]
        return order, kind if kind in STORAGE or kind[0] not in _SIZED else kind[0]


def parse(peek: Peek) -> Manifest:
    """Return what a .npy file says of itself.

    Raises
    ------
    FormatError, UnsupportedError, StoreError
    """
    start = bytes(peek.read(0, min(12, peek.size)))
    header = read_header(bytes(peek.read(0, header_length(start))))

    def make(
        dtype: str, start: int, length: int, logical: str | None, big_endian: bool
    ) -> Component:
        return Component(dtype, start, length, logical, big_endian=big_endian)

    return Manifest("npy", {NAME: header.tensor(NAME, peek.size, make)})


def header_length(start: bytes) -> int:
    """Return the bytes of a header that begins with these twelve, or fewer.

    Raises
    ------
    FormatError, UnsupportedError
    """
    if not start.startswith(MAGIC):
        reject(f"it does not begin with {MAGIC!r}")
    if len(start) < 10:
        reject("it is cut off")
    major, minor = start[6], start[7]
    if minor or major not in (1, 2, 3):
        raise UnsupportedError(f".npy version {major}.{minor} can't be read; 1.0 to 3.0 can")
    width = 2 if major == 1 else 4
    if len(start) < 8 + width:
        reject("it is cut off")
    length = 8 + width + int.from_bytes(start[8 : 8 + width], "little")
    if length > MOST:
        reject(f"a header of {length} bytes is over {MOST}")
    return length


def read_header(data: bytes) -> Header:
    """Return what a header says.

    Parameters
    ----------
    data : bytes
        All of it, as long as `header_length` tells.

    Raises
    ------
    FormatError
    """
    if len(data) < header_length(data):
        reject("it is cut off")
    major = data[6]
    fields = _literal(data[10 if major == 1 else 12 :], "utf-8" if major == 3 else "latin-1")
    if not isinstance(fields, dict) or fields.keys() != _KEYS:
        reject(f"the header has not the keys {', '.join(sorted(_KEYS))}")
    shape, is_fortran = fields["shape"], fields["fortran_order"]
    if not isinstance(shape, tuple) or not all(
        type(size) is int and 0 <= size <= MAX_U64 for size in shape
    ):
        reject("the shape is no tuple of sizes")
    if len(shape) > MAX_RANK:
        reject(f"it has {len(shape)} dimensions; the most is {MAX_RANK}")
    element_count(shape)
    if not isinstance(is_fortran, bool):
        reject("fortran_order is neither True nor False")
    reverse = c_strides(shape[::-1])[::-1]
    strides = normal_strides(shape, reverse) if is_fortran else None
    return Header(len(data), shape, strides, fields["descr"])


def _literal(data: bytes, encoding: str) -> Any:
    try:
        text = _LONG.sub("", data.decode(encoding).strip())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python may refuse one day
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        reject("the header is no Python literal")


def reject(message: str) -> NoReturn:
    """Raise FormatError."""
    raise FormatError(f"not a valid .npy file: {message}", rule="Npy")
