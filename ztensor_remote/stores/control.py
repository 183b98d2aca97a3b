"""How a transfer is stopped: by a failure elsewhere, by its caller, by the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import StoreTimeoutError


class Cancelled(BaseException):
    """The transfer was given up. No `Exception`, for it is no failure: that is told elsewhere."""


class Control:
    """Whether a transfer goes on. One serves all of its requests.

    Parameters
    ----------
    deadline : float, optional
        Seconds from now after which it fails.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self._seconds = deadline
        self._end = None if deadline is None else time.monotonic() + deadline
        self._lock = threading.Lock()
        self._cancelled = False
        self._breakers: set[Callable[[], None]] = set()

    def check(self) -> None:
        """Return if the transfer goes on.

        Raises
        ------
        Cancelled, StoreTimeoutError
        """
        if self._cancelled:
            raise Cancelled
        if self._end is not None and time.monotonic() > self._end:
            raise StoreTimeoutError(
                f"the transfer was not done within its deadline of {self._seconds:g} seconds"
            )

    def cancel(self) -> None:
        """Give the transfer up, and break what its threads wait for."""
        with self._lock:
            self._cancelled = True
            breakers = list(self._breakers)
        for broken in breakers:
            broken()

    @property
    def is_timed(self) -> bool:
        """Whether there is a deadline."""
        return self._end is not None

    def remaining(self, most: float) -> float:
        """Return how many seconds may still be waited for one thing, `most` at most."""
        if self._end is None:
            return most
        return max(0.001, min(most, self._end - time.monotonic()))

    def pause(self, seconds: float) -> None:
        """Sleep, unless the transfer ends meanwhile."""
        woken = threading.Event()
        with self.breaking(woken.set):
            woken.wait(self.remaining(seconds))
        self.check()

    @contextmanager
    def child(self) -> Iterator[Control]:
        """Give a control that ends with this one, and can be ended alone."""
        child = Control()
        child._seconds, child._end = self._seconds, self._end
        with self.breaking(child.cancel):
            yield child

    @contextmanager
    def breaking(self, broken: Callable[[], None]) -> Iterator[None]:
        """Have `broken` called, from another thread, if the transfer is given up meanwhile."""
        with self._lock:
            if self._cancelled:
                raise Cancelled
            self._breakers.add(broken)
        try:
            yield
        finally:
            with self._lock:
                self._breakers.discard(broken)
