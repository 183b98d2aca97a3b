"""What adding to an object can promise, by the store that it is in."""

from __future__ import annotations

from dataclasses import dataclass

from .held import CAN_LOCK
from .location import Location
from .open import open_source, sink_class
from .trust import find_out


@dataclass(frozen=True, slots=True)
class Guarantees:
    """What holds for a file that is added to.

    Attributes
    ----------
    atomic : bool
        Readers see the file as it was, or with all that was added; never a part.
    exclusive : bool
        A change by another writer is noticed, and never lost.
    reason : str
        How, or why not.
    """

    atomic: bool
    exclusive: bool
    reason: str


_LOCAL = Guarantees(
    True,
    True,
    "the file is locked while it is added to; readers of other packages can't open it then",
)
_UNLOCKED = Guarantees(True, False, "this system has no locks that keep other writers out")
_CONDITIONAL = Guarantees(True, True, "the store publishes only if the version is still there")
_UNRELIABLE = Guarantees(
    True, False, "the store ignores the condition under which it is to publish; it was tried"
)
_ONE_PROCESS = Guarantees(True, True, "the memory is that of this process")
_UNCONDITIONAL = Guarantees(
    True, False, "the filesystem moves files under no condition: another writer can come between"
)


def guarantees_of(location: Location) -> Guarantees:
    """Return what adding to an object can promise.

    Servers that speak the protocol of S3 or GCS, but are not Amazon's or Google's, are tried once
    for each bucket: an object beside this one is written, and removed again.

    Raises
    ------
    StoreError, UnsupportedError
    """
    if location.is_local:
        return _LOCAL if CAN_LOCK else _UNLOCKED
    make = sink_class(location)
    if make is None:
        fs, _ = location.resolve()
        return _ONE_PROCESS if type(fs).__name__ == "MemoryFileSystem" else _UNCONDITIONAL
    strict = find_out(location, make, lambda place: open_source(place, window=8)[0])
    return _CONDITIONAL if strict else _UNRELIABLE
