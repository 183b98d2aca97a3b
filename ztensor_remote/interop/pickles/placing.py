"""From what a pickle says of its tensors to what a manifest says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ...errors import FormatError, UnsupportedError
from ...manifest import LATIN_1, Component, Tensor
from ...manifest.fields import c_strides, normal_strides
from .arrays import Array
from .stream import reject
from .tensors import Sparse, Storage, Strided

_ESCAPED = "pickle.escaped"
"""The encoding of bytes that nothing decodes: as a text with escapes, or one that is deflated."""


class Region(Protocol):
    """A run of bytes that components can be parts of."""

    def part(
        self,
        dtype: str,
        start: int,
        length: int,
        logical: str | None = None,
        big_endian: bool = False,
    ) -> Component:
        """Return so many bytes, from `start` on, as a component."""


@dataclass(frozen=True, slots=True)
class Run:
    """A region that lies in the file as it is."""

    offset: int
    length: int

    def part(
        self,
        dtype: str,
        start: int,
        length: int,
        logical: str | None = None,
        big_endian: bool = False,
    ) -> Component:
        """Return some of its bytes as a component."""
        if start + length > self.length:
            reject(f"{length} bytes at {start} are more than the {self.length} that are there")
        return Component(dtype, self.offset + start, length, logical, big_endian=big_endian)


@dataclass(frozen=True, slots=True)
class Placing:
    """Where things lie.

    Attributes
    ----------
    pickled : Region
        The pickle itself.
    region_of : callable
        Returns the region of a storage, by its key.
    big_endian : bool
        Of the elements in storages.
    """

    pickled: Region
    region_of: Callable[[Storage], Region]
    big_endian: bool = False

    def tensors(self, found: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return tensors as a manifest has them.

        Raises
        ------
        FormatError, UnsupportedError
        """
        tensors = {}
        for name, value in found.items():
            try:
                tensors[name] = self._tensor(name, value)
            except (FormatError, UnsupportedError) as error:
                raise error.at(tensor=name) from None
        return tensors

    def _tensor(self, name: str, value: Any) -> Tensor:
        if isinstance(value, Sparse):
            parts = {role: self._strided(part) for role, part in value.parts.items()}
            return Tensor(name, value.shape, value.layout, parts)
        if isinstance(value, Storage):
            count = value.nbytes * 8 // value.element.bits
            value = Strided(value, value.element, 0, (count,), (1,))
        part = self._array(value) if isinstance(value, Array) else self._strided(value)
        strides = normal_strides(value.shape, _sane_strides(value.shape, value.strides))
        return Tensor(name, value.shape, "dense", {"data": part}, strides=strides)

    def _strided(self, value: Strided) -> Component:
        storage, element = value.storage, value.element
        return self.region_of(storage).part(
            element.storage,
            storage.start + value.offset,
            value.nbytes,
            logical=element.logical,
            big_endian=self.big_endian,
        )

    def _array(self, value: Array) -> Component:
        if value.dtype is None or value.data is None:
            reject("an array has no elements")
        element, data = value.dtype.element, value.data
        part = self.pickled.part(
            element.storage,
            data.offset,
            data.stored,
            logical=element.logical,
            big_endian=value.dtype.big_endian,
        )
        if data.encoding == "raw":
            return part
        encoding = LATIN_1 if data.encoding == "latin-1" and part.is_raw else _ESCAPED
        return replace(part, encoding=encoding, decoded_length=data.length)


def _sane_strides(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Return strides without those that mean nothing, on axes with one element."""
    plain = c_strides(shape)
    return tuple(
        other if size == 1 else by for size, by, other in zip(shape, strides, plain, strict=True)
    )
