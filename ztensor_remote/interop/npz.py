"""NumPy's .npz: a zip file whose members are .npy files, stored or deflated."""

from __future__ import annotations

from dataclasses import replace

from ..errors import FormatError, UnsupportedError
from ..manifest import Manifest, Tensor
from .archive import Placed, locate, members_of
from .npy import header_length, read_header, reject
from .peek import Peek

ENDING = ".npy"

_WINDOW = 512
"""Bytes of a member in which most headers are, even deflated ones; NumPy fills them up to 128."""

_LARGER_WINDOW = 4096


def parse(peek: Peek) -> Manifest:
    """Return what a .npz file says of itself, whose arrays are called like its members.

    Members of another kind are passed over.

    Raises
    ------
    FormatError, LimitError, UnsupportedError, StoreError
    """
    arrays = [member for member in members_of(peek).values() if member.name.endswith(ENDING)]
    tensors = {}
    for placed in locate(peek, arrays, _WINDOW):
        name = placed.member.name.removesuffix(ENDING)
        try:
            tensors[name] = _tensor(peek, name, placed)
        except (FormatError, UnsupportedError) as error:
            raise error.at(tensor=name) from None
    return Manifest("npz", tensors)


def _tensor(peek: Peek, name: str, placed: Placed) -> Tensor:
    start = _head(peek, placed, 12)
    head = _head(peek, placed, header_length(start))
    tensor = read_header(head).tensor(name, placed.member.size, placed.part)
    part = tensor.components["data"]
    if len(head) + (part.stated_length or 0) == placed.member.size:
        part = replace(part, digest=placed.digest_behind(head))
    return replace(tensor, components={"data": part})


def _head(peek: Peek, placed: Placed, length: int) -> bytes:
    """Return the first decoded bytes of a member."""
    head = placed.decoded_head(length)
    wanted = min(length, placed.member.size)
    if len(head) < wanted:  # rare: a long header, or one that compresses badly
        [placed] = locate(peek, [placed.member], 2 * length + _LARGER_WINDOW)
        head = placed.decoded_head(length)
    if len(head) < wanted:
        reject("it is cut off")
    return head
