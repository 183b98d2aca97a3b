"""Pickles of arrays, as ``pickle.dump`` writes them: no byte of them is executed."""

from __future__ import annotations

from ..errors import UnsupportedError
from ..manifest import Manifest
from . import archive, torch
from .peek import Peek
from .pickles import NAMES, Machine, Placing, Run, Stream, contents_of

_FIRST = {2: b"}](c)\x8a", 3: b"}](c)\x8a", 4: b"\x95", 5: b"\x95"}
"""What may follow the number of the protocol."""


def is_one(head: bytes) -> bool:
    """Whether a file begins as pickles do; those of protocols 0 and 1 can't be told."""
    return head[0] == 0x80 and head[2:3] in _FIRST.get(head[1], ())


def parse(peek: Peek) -> Manifest:
    """Return what a pickle says of itself, in whatever form PyTorch or Python wrote it.

    Raises
    ------
    UnsupportedError
        It names something that is neither a tensor nor a plain value.
    FormatError, LimitError, StoreError
    """
    head = bytes(peek.read(0, min(torch.LONGEST_MAGIC, peek.size)))
    if head.startswith(archive.MAGIC) or torch.is_legacy(head):
        return torch.parse(peek)
    stream = Stream(peek.read, 0, peek.size)
    found = contents_of(Machine(stream, NAMES).load())
    if stream.at != peek.size:
        raise UnsupportedError(
            f"a pickle ends at {stream.at} of {peek.size} bytes; files with more than one, or with "
            "something behind it, can't be read"
        )
    placing = Placing(Run(0, peek.size), torch.no_storage)
    return Manifest("pickle", placing.tensors(found.tensors), found.attributes)
