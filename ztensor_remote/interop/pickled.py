"""How files with pickles in them are told, which needs nothing of what reads them."""

from __future__ import annotations

from collections.abc import Iterable

PICKLE = "data.pkl"
"""The member of PyTorch's zip files that says what is in them."""

LONGEST_MAGIC = 32
MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
"""The number that PyTorch's files which are no zip files begin with, within a pickle."""

_FIRST = {2: b"}](c)\x8a", 3: b"}](c)\x8a", 4: b"\x95", 5: b"\x95"}
"""What may follow the number of the protocol."""


def is_archive(names: Iterable[str]) -> bool:
    """Whether a zip file with these members is one of PyTorch's."""
    return any(name.endswith(f"/{PICKLE}") for name in names)


def is_legacy(head: bytes) -> bool:
    """Whether a file begins as PyTorch's did before they were zip files."""
    return MAGIC in head[:LONGEST_MAGIC]


def is_pickle(head: bytes) -> bool:
    """Whether a file begins as pickles do; those of protocols 0 and 1 can't be told."""
    return head[0] == 0x80 and head[2:3] in _FIRST.get(head[1], ())
