"""What is to be written: checked and known to the byte before anything is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...container import align_up
from ...writer.blob import Output
from .item import Item, Write

Pour = Callable[[Item, Write], None]
"""Hands on the decoded bytes of a tensor, piece by piece."""


class Plan(Protocol):
    """A file of a certain format.

    Attributes
    ----------
    items : sequence of Item
        In the order of their bytes.
    """

    @property
    def items(self) -> Sequence[Item]: ...  # noqa: D102

    def write(self, output: Output, pour: Pour) -> None:
        """Write the file, asking for the bytes of each tensor once, in order."""


@dataclass(frozen=True, slots=True)
class HeadFirst:
    """A header, and the tensors behind it.

    Attributes
    ----------
    head : bytes
        Of a length that is a multiple of `alignment`.
    items : sequence of Item
    alignment : int
        What each tensor is filled up to with zeros, a power of two.
    """

    head: bytes
    items: Sequence[Item]
    alignment: int = 1

    def write(self, output: Output, pour: Pour) -> None:
        """Write header and tensors."""
        output.write(self.head)
        for item in self.items:
            pour(item, output.write)
            output.pad_to(self.alignment)


def offsets_of(items: Sequence[Item], alignment: int = 1) -> list[int]:
    """Return where each tensor begins, counted from the first, and where all end."""
    offsets = [0]
    for item in items:
        offsets.append(align_up(offsets[-1] + item.nbytes, alignment))
    return offsets
