"""A component that somebody wants the decoded bytes of, and how they are checked as they come."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from ..codecs import PartialDigest, check_digest
from ..errors import FormatError, located
from ..manifest import Component
from ..stores import Runs, Source, forget
from .selection import Positions


@dataclass(frozen=True, slots=True, eq=False)
class Want:
    """A component to load.

    Attributes
    ----------
    part : Component
    length : int or None
        Decoded bytes, of a part of an array in chunks those that are wanted; None where neither
        shape nor manifest tell.
    destination : memoryview or None
        Where to put them; new memory otherwise.
    runs : Runs or None
        Which of the decoded bytes are wanted, in the order of their offsets, and where in the
        destination each belongs; all of them otherwise. Some can't be compared with a digest.
    axes : tuple of range or int64 array, or None
        Which positions of an array in chunks are wanted on each axis, ascending; all otherwise.
    tensor, role : str or None
        For messages, where the caller does not add them.
    """

    part: Component
    length: int | None
    tensor: str | None = None
    role: str | None = None
    destination: memoryview | None = None
    runs: Runs | None = None
    axes: tuple[Positions, ...] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the destination takes, where that is known."""
        return self.part.length if self.runs is None else int(self.runs.lengths.sum())


def located_at(want: Want) -> located:
    """Have errors name the component."""
    return located(tensor=want.tensor, component=want.role)


class judging:
    """Have bytes that turn out to be wrong fetched anew the next time, not kept."""

    __slots__ = ("_source", "_want")

    def __init__(self, want: Want, source: Source) -> None:
        self._want = want
        self._source = source

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        want = self._want
        if isinstance(error, FormatError):
            forget(self._source, want.part.offset, want.part.span)
        place = located(url=self._source.url, tensor=want.tensor, component=want.role)
        place.__exit__(kind, error, trace)


class Arrival:
    """Raw bytes of one component that come in pieces, in any order and from several threads.

    Parameters
    ----------
    want : Want
    destination : memoryview
        Where they are put.
    stated : str or None
        The digest that they must have; None where they are not compared with one.
    """

    def __init__(self, want: Want, destination: memoryview, stated: str | None) -> None:
        self.want = want
        self.destination = destination
        self._stated = stated
        self._digest: PartialDigest | None = None
        self._missing = len(destination)
        self._lock = threading.Lock()

    def landed(self, start: int, stop: int, source: Source) -> bool:
        """Take note of a piece; return whether all are there, and are what they should be."""
        if self._stated is None:
            with self._lock:
                self._missing -= stop - start
                return not self._missing
        if stop - start == len(self.destination):
            with judging(self.want, source):
                check_digest(self._stated, self.destination)
            return True
        with self._lock:
            if self._digest is None:
                self._digest = PartialDigest(self._stated, len(self.destination))
        if not self._digest.add(start, self.destination[start:stop]):
            return False
        with judging(self.want, source):
            self._digest.check()
        return True
