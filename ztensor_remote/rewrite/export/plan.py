"""What is to be written: checked and known to the byte before anything is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from ...container import align_up
from ...writer.blob import Output
from .item import Item, Write


class Tensors(Protocol):
    """Where the bytes of tensors come from, each to be asked for once, in order."""

    def pour(self, item: Item, write: Write) -> None:
        """Hand on the decoded bytes of a tensor, piece by piece."""

    def add_to(self, output: Output, item: Item) -> None:
        """Write them to a file, or have the store copy them."""


class Plan(Protocol):
    """A file of a certain format.

    Attributes
    ----------
    items : sequence of Item
        In the order of their bytes.
    reads_all : bool
        Whether all bytes have to pass through here.
    """

    @property
    def items(self) -> Sequence[Item]: ...  # noqa: D102

    @property
    def reads_all(self) -> bool: ...  # noqa: D102

    def write(self, output: Output, tensors: Tensors) -> None:
        """Write the file."""


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
    reads_all: ClassVar[bool] = False

    def write(self, output: Output, tensors: Tensors) -> None:
        """Write header and tensors."""
        output.write(self.head)
        for item in self.items:
            tensors.add_to(output, item)
            output.pad_to(self.alignment)


def offsets_of(items: Sequence[Item], alignment: int = 1) -> list[int]:
    """Return where each tensor begins, counted from the first, and where all end."""
    offsets = [0]
    for item in items:
        offsets.append(align_up(offsets[-1] + item.nbytes, alignment))
    return offsets
