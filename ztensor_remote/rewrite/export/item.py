"""A tensor on its way out: one run of elements, as other formats have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...errors import UnsupportedError, located
from ...interop import is_blocks
from ...manifest import Component
from ...manifest.dtypes import BY_NAME, DType
from ...manifest.fields import element_count
from ..copying import Chosen

Write = Callable[[memoryview], object]


@dataclass(frozen=True, slots=True)
class Item:
    """A tensor that is a single component.

    Attributes
    ----------
    chosen : Chosen
    role : str
        Of the component.
    element : DType
        Of blocks that elements share, that of their bytes.
    nbytes : int
        Decoded.
    """

    chosen: Chosen
    role: str
    element: DType
    nbytes: int

    @property
    def name(self) -> str:
        """Its name in the new file."""
        return self.chosen.name

    @property
    def shape(self) -> tuple[int, ...]:
        """In elements, the outermost first."""
        return self.chosen.tensor.shape

    @property
    def layout(self) -> str:
        """``"dense"``, or the id of its blocks."""
        return self.chosen.tensor.layout

    @property
    def is_rearranged(self) -> bool:
        """Whether its elements are stored in another order than C's."""
        return self.chosen.tensor._tensor.is_rearranged

    @property
    def part(self) -> Component:
        """Its component."""
        return self.chosen.tensor._tensor.components[self.role]


def item_of(chosen: Chosen, form: str) -> Item:
    """Return a tensor as one run of elements.

    Raises
    ------
    UnsupportedError
        It is sparse or quantized, or its elements are of an unknown type.
    FormatError
    """
    tensor = chosen.tensor
    with located(url=chosen.blobs.source.url, tensor=tensor.name):
        if is_blocks(tensor.layout):
            [(role, lazy)] = tensor.components.items()
            part = tensor._tensor.components[role]
            return Item(chosen, role, part.element, lazy.decoded_length or part.length)
        if tensor.layout != "dense":
            raise UnsupportedError(
                f"{form} has dense tensors alone, and this one is {tensor.layout}"
            )
        tensor._check_layout()
        element = BY_NAME[tensor.dtype.name]
        return Item(chosen, "data", element, element.nbytes(element_count(tensor.shape)))


def refuse(item: Item, message: str) -> UnsupportedError:
    """Return the error for a tensor that a format can't hold."""
    return UnsupportedError(
        message, url=item.chosen.blobs.source.url, tensor=item.chosen.tensor.name
    )


LEAVE_OUT = "leave them out with drop_attributes=True (--drop-attributes)"
"""The way out for attributes."""
