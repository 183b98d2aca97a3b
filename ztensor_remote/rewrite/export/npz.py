"""Write NumPy's .npz: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from zipfile import ZipFile, ZipInfo

import numpy as np

from ...errors import UnsupportedError
from ...types import Bytes
from ...writer.blob import Output
from .item import LEAVE_OUT, Item, refuse
from .plan import Tensors

_ALIGNMENT = 64
_ENDING = ".npy"
_LOCAL_HEADER = 30
_ZIP64_FIELD = 20
_PADDING = b"\x35\xd9"
"""Of an extra field that is there for its length, as Android's zipalign has it."""
_LONGEST_NAME = 65535


@dataclass(frozen=True, slots=True)
class Npz:
    """A member of a zip file for each tensor, stored as it is."""

    items: Sequence[Item]
    reads_all: ClassVar[bool] = True

    def write(self, output: Output, tensors: Tensors) -> None:
        """Write the members, then the directory, which has the checksums."""
        with ZipFile(_Stream(output), "w") as archive:
            for item in self.items:
                header = _header(item)
                info = ZipInfo(item.name + _ENDING)  # of 1980, so that equal files are equal
                info.file_size = len(header) + item.nbytes
                info.extra = _padding(output.offset + _LOCAL_HEADER + _ZIP64_FIELD, info.filename)
                with archive.open(info, "w", force_zip64=True) as member:
                    member.write(header)
                    tensors.pour(item, member.write)


def plan(items: Sequence[Item], attributes: Mapping[str, Any]) -> Npz:
    """Return the file.

    Raises
    ------
    UnsupportedError
    """
    if attributes:
        raise UnsupportedError(
            f"npz has no attributes, and {next(iter(attributes))!r} is one; {LEAVE_OUT}"
        )
    for item in items:
        if item.layout != "dense":
            raise refuse(item, f"npz has no quantized tensors, and this one is {item.layout}")
        if item.element.numpy().isbuiltin != 1:
            raise refuse(item, f"npz has no {item.element.name}")
        if "\0" in item.name or len((item.name + _ENDING).encode()) > _LONGEST_NAME:
            raise refuse(item, "npz has no place for this name")
    return Npz(items)


def _header(item: Item) -> bytes:
    """Return what comes before the elements; its length is a multiple of 64."""
    described = {
        "descr": np.lib.format.dtype_to_descr(item.element.numpy().newbyteorder("<")),
        "fortran_order": False,
        "shape": item.shape,
    }
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue()


def _padding(end: int, name: str) -> bytes:
    """Return an extra field after which the content of the member is aligned."""
    length = -(end + len(name.encode()) + 4) % _ALIGNMENT
    return _PADDING + length.to_bytes(2, "little") + bytes(length)


class _Stream(io.RawIOBase):
    """A file that is written from its beginning to its end."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, data: Bytes) -> int:  # type: ignore[override]
        """Take the next bytes."""
        self._output.write(data)
        return len(data)
