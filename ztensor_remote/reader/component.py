"""One component of a tensor, not yet read."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from typing import Any

import numpy as np

from ..errors import FormatError, UnsupportedError, located
from ..manifest import Component, Tensor
from ..manifest.dtypes import BY_STORAGE, storage_width
from .arrays import Array, as_array
from .blobs import Blobs
from .want import Want


class LazyComponent:
    """A component: what the manifest says of it, and its bytes on demand.

    Attributes
    ----------
    role : str
        Its name in the tensor, ``"data"``, ``"values"``, ….
    """

    def __init__(self, blobs: Blobs, tensor: Tensor, role: str) -> None:
        self._blobs = blobs
        self._tensor = tensor
        self._part: Component = tensor.components[role]
        self.role = role

    @property
    def dtype(self) -> np.dtype[Any]:
        """The storage dtype; a logical type may be laid over it."""
        return BY_STORAGE[self._part.dtype].numpy()

    @property
    def logical_type(self) -> str | None:
        """What the stored elements mean (``"f8_e4m3fn"``, ``"complex64"``), where stated."""
        return self._part.logical

    @property
    def offset(self) -> int:
        """First stored byte, in the file or shard; of chunks, where the first of them begins."""
        return self._part.offset

    @property
    def length(self) -> int:
        """Stored bytes."""
        return self._part.length

    @property
    def encoding(self) -> str:
        """How it is stored: ``"raw"``, ``"zstd"``, ``"zt.zstd-seekable/1"``, …."""
        return self._part.encoding

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of the chunks that a dataset of an HDF5 file is cut into; None for all others."""
        return None if self._part.grid is None else self._part.grid.chunk

    @property
    def decoded_length(self) -> int | None:
        """Bytes after decoding; None where neither manifest nor shape tell."""
        return self._want().length

    @property
    def digest(self) -> str | None:
        """The digest that the file states, as it spells it."""
        return self._part.digest

    @property
    def shard(self) -> str | None:
        """Name of the shard that holds the bytes; None for the file itself."""
        return self._part.shard

    def read(self) -> bytes:
        """Return the decoded bytes, little-endian.

        Raises
        ------
        UnsupportedError, FormatError, DigestError, StoreError
        """
        return bytes(self._decoded())

    def numpy(self) -> Array:
        """Return the decoded elements, shape (n,).

        Raises
        ------
        UnsupportedError, FormatError, DigestError, StoreError
        """
        with self._located():
            element = self._part.element
            decoded = self._decoded()
            count, rest = divmod(len(decoded) * 8, element.bits)
            if rest:
                raise FormatError(
                    f"{len(decoded)} bytes are no whole elements of {element.name}",
                    rule="LayoutRule",
                )
            return as_array(
                decoded, element, (count,), exact=self._blobs.manifest.of(self._part).is_exact
            )

    def _decoded(self) -> memoryview:
        with self._located():
            return self._blobs.decoded(self._part, self._want().length)

    def _want(self, destination: memoryview | None = None) -> Want:
        """Return what is to be loaded for the decoded bytes."""
        stated = self._part.stated_length
        length = _dense_length(self._tensor, self._part) if stated is None else stated
        return Want(self._part, length, self._tensor.name, self.role, destination)

    def _located(self) -> AbstractContextManager[None]:
        url = self._blobs.url_of(self._tensor)
        return located(url=url, tensor=self._tensor.name, component=self.role)

    def __repr__(self) -> str:
        logical = f" as {self.logical_type}" if self.logical_type else ""
        return (
            f"<LazyComponent {self.role!r} of {self._tensor.name!r}: {self._part.dtype}{logical}, "
            f"{self.length} bytes at {self.offset}, {self.encoding}>"
        )


def _dense_length(tensor: Tensor, part: Component) -> int | None:
    """Return the decoded bytes that a dense shape asks for; None where it does not tell."""
    if tensor.layout != "dense":
        return None
    count = tensor.stored_count
    if part.logical is None:
        return count * storage_width(part.dtype)
    with suppress(UnsupportedError):
        return part.element.nbytes(count)
    return None
