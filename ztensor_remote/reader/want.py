"""A component that somebody wants the decoded bytes of, and how they are checked as they come."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from ..codecs import PartialDigest, check_digest, compare_digests
from ..errors import located
from ..manifest import Component


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
    tensor, role : str or None
        For messages, where the caller does not add them.
    """

    part: Component
    length: int | None
    tensor: str | None = None
    role: str | None = None
    destination: memoryview | None = None


class Arrival:
    """Bytes of one component that come in pieces, in any order and from several threads.

    Parameters
    ----------
    want : Want
    destination : memoryview
        Where they are put.
    digest : str or None
        What they are compared with; None where they are not.
    """

    def __init__(self, want: Want, destination: memoryview, digest: str | None) -> None:
        self.want = want
        self.destination = destination
        self._digest = digest
        self._missing = len(destination)
        self._lock = threading.Lock()
        self._partial = PartialDigest.of(digest)

    def landed(self, start: int, stop: int) -> bool:
        """Take note of a piece; check all once it was the last, and return whether it was."""
        if self._partial is not None:
            self._partial.add(start, self.destination[start:stop])
        with self._lock:
            self._missing -= stop - start
            is_last = not self._missing
        if is_last and self._digest is not None:
            with located(tensor=self.want.tensor, component=self.want.role):
                if self._partial is None:
                    check_digest(self._digest, self.destination)
                else:
                    compare_digests(self._partial.text(), self._digest)
        return is_last
