"""A second request for a range whose first one takes too long; the faster one counts.

Stores answer one request in many much later than the rest, and the same request again at once
(Dean and Barroso, "The Tail at Scale", 2013).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from .control import Cancelled, Control
from .local import copy_out
from .source import Source


def read_hedged(
    source: Source,
    offset: int,
    pieces: Sequence[memoryview],
    *,
    after: float,
    control: Control,
) -> None:
    """Fill the pieces as `Source.read_into` does.

    Parameters
    ----------
    after : float
        Seconds to wait for the first request before there is a second.

    Raises
    ------
    ZTensorError
        Both failed.
    """
    with control.child() as first, control.child() as second:
        attempt = _Attempt(source, offset, pieces, first, rival=second)
        try:
            if attempt.is_over(after):
                attempt.settle()
                return
            memory = np.empty(sum(map(len, pieces)), np.uint8).data
            try:
                source.read_into(offset, memory, control=second)
            except Cancelled:
                control.check()
            except Exception:
                pass  # the first one may still come; if not, its failure is as good as this one
            else:
                attempt.stop()
                copy_out(memory, pieces)
                return
            attempt.settle()
        finally:
            attempt.stop()


class _Attempt:
    """A read in a thread of its own, which stops its rival when it succeeds."""

    def __init__(
        self,
        source: Source,
        offset: int,
        pieces: Sequence[memoryview],
        control: Control,
        *,
        rival: Control,
    ) -> None:
        self._control = control
        self._failure: BaseException | None = None

        def read() -> None:
            try:
                source.read_into(offset, *pieces, control=control)
            except BaseException as error:
                self._failure = error
            else:
                rival.cancel()

        self._thread = threading.Thread(target=read, name="ztensor-hedge", daemon=True)
        self._thread.start()

    def is_over(self, seconds: float) -> bool:
        self._thread.join(self._control.remaining(seconds))
        return not self._thread.is_alive()

    def settle(self) -> None:
        """Wait for the outcome, and raise it if it is a failure."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Return when nothing is written any more."""
        self._control.cancel()
        self._thread.join()
