"""Bytes that may be held at the same time."""

from __future__ import annotations

import threading

from .control import Control


class Budget:
    """A bound on borrowed memory; whoever wants more waits until others have given theirs back.

    Parameters
    ----------
    most : int
        Bytes. A larger piece is lent when nothing else is.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lent = 0
        self._changed = threading.Condition()

    def borrow(self, count: int, control: Control) -> None:
        """Wait until `count` bytes may be allocated.

        Raises
        ------
        Cancelled
        """
        with control.breaking(self._wake), self._changed:
            while self._lent and self._lent + count > self._most:
                self._changed.wait()
                control.check()
            self._lent += count

    def give_back(self, count: int) -> None:
        """Note that `count` bytes are no longer used."""
        with self._changed:
            self._lent -= count
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
