"""A component that somebody wants the decoded bytes of, and how they are checked as they come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from ..codecs import PartialDigest
from ..errors import FormatError, located
from ..manifest import Component
from ..stores import Runs, Source, forget


@dataclass(frozen=True, slots=True, eq=False)
class Want:
    """A component to load.

    Attributes
    ----------
    part : Component
    length : int or None
        Decoded bytes; None where neither shape nor manifest tell.
    destination : memoryview or None
        Where to put them; new memory otherwise.
    runs : Runs or None
        Which of the decoded bytes are wanted, in the order of their offsets, and where in the
        destination each belongs; all of them otherwise. Some can't be compared with a digest.
    tensor, role : str or None
        For messages, where the caller does not add them.
    """

    part: Component
    length: int | None
    tensor: str | None = None
    role: str | None = None
    destination: memoryview | None = None
    runs: Runs | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the destination takes, where that is known."""
        return self.part.length if self.runs is None else int(self.runs.lengths.sum())


def located_at(want: Want) -> AbstractContextManager[None]:
    """Have errors name the component."""
    return located(tensor=want.tensor, component=want.role)


@contextmanager
def judging(want: Want, source: Source) -> Iterator[None]:
    """Have bytes that turn out to be wrong fetched anew the next time, not kept."""
    try:
        with located_at(want):
            yield
    except FormatError:
        forget(source, want.part.offset, want.part.length)
        raise


class Arrival:
    """Raw bytes of one component that come in pieces, in any order and from several threads.

    Parameters
    ----------
    want : Want
    destination : memoryview
        Where they are put.
    digest : PartialDigest or None
        What they are compared with; None where they are not.
    """

    def __init__(self, want: Want, destination: memoryview, digest: PartialDigest | None) -> None:
        self.want = want
        self.destination = destination
        self._digest = digest
        self._missing = len(destination)
        self._lock = threading.Lock()

    def landed(self, start: int, stop: int, source: Source) -> bool:
        """Take note of a piece; return whether all are there, and are what they should be."""
        if self._digest is None:
            with self._lock:
                self._missing -= stop - start
                return not self._missing
        if not self._digest.add(start, self.destination[start:stop]):
            return False
        with judging(self.want, source):
            self._digest.check()
        return True
