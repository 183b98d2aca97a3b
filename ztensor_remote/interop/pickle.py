"""Pickles of arrays, as ``pickle.dump`` writes them: no byte of them is executed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..errors import UnsupportedError
from ..manifest import Manifest
from . import archive, torch
from .peek import Peek
from .pickled import LONGEST_MAGIC, is_legacy
from .pickles import (
    NAMES,
    Bytes,
    Machine,
    Named,
    Placing,
    Region,
    Run,
    Steps,
    Storage,
    Stream,
    contents_of,
)

_NESTED = "torch.storage._load_from_bytes"


def parse(peek: Peek) -> Manifest:
    """Return what a pickle says of itself, in whatever form PyTorch or Python wrote it.

    Raises
    ------
    UnsupportedError
        It names something that is neither a tensor nor a plain value.
    FormatError, LimitError, StoreError
    """
    head = bytes(peek.read(0, min(LONGEST_MAGIC, peek.size)))
    if head.startswith(archive.MAGIC) or is_legacy(head):
        return torch.parse(peek)
    stream, steps = Stream(peek.read, 0, peek.size), Steps()
    nested = _Nested(peek, steps)
    names = NAMES | {_NESTED: Named(_NESTED, nested.load)}
    found = contents_of(Machine(stream, names, steps=steps).load())
    if stream.at != peek.size:
        raise UnsupportedError(
            f"a pickle ends at {stream.at} of {peek.size} bytes; files with more than one, or with "
            "something behind it, can't be read"
        )
    placing = Placing(Run(0, peek.size), nested.region_of)
    return Manifest("pickle", placing.tensors(found.tensors), found.attributes)


class _Nested:
    """Storages of PyTorch's in a pickle of Python's: each is a whole file of before zip files."""

    def __init__(self, peek: Peek, steps: Steps) -> None:
        self._peek, self._steps = peek, steps
        self._storages: dict[int, Storage] = {}
        self._regions: dict[str, Region] = {}

    def load(self, arguments: tuple[Any, ...]) -> Storage:
        """``torch.storage._load_from_bytes``, where the bytes lie in the file as they are."""
        match arguments:
            case (Bytes(encoding="raw") as data,):
                if data.offset not in self._storages:
                    self._storages[data.offset] = self._read(data)
                return self._storages[data.offset]
        raise UnsupportedError(
            "PyTorch's tensors in this pickle are stored as text; protocol 3 or later can be read"
        )

    def _read(self, data: Bytes) -> Storage:
        stream = Stream(self._peek.read, data.offset, data.offset + data.length)
        legacy = torch.read_legacy(stream, self._steps)
        if not isinstance(legacy.value, Storage) or legacy.is_big_endian:
            raise UnsupportedError(f"what is pickled at {data.offset} is no storage of PyTorch's")
        storage = replace(legacy.value, key=f"{data.offset}")
        self._regions[storage.key] = legacy.region_of(legacy.value)
        return storage

    def region_of(self, storage: Storage) -> Region:
        """Return where a storage lies."""
        return self._regions[storage.key]
