"""What the way to each server is like: guessed at first, then learned from each answer."""

from __future__ import annotations

import os
import threading

from .plan import Costs

_NEAR = 0.003
"""Seconds of latency up to which the processors are what limits a transfer."""

_OVERHEAD = 0.0003
_OVER_READ = 1.25
_SMALLEST_PART = 5 << 18
_LARGEST_PART = 8 << 20
_LARGEST_NEAR = 32 << 20
"""Bytes: each request takes the client longer than the line, and no connection falls behind."""

_WEIGHT = 0.3
_FORGETTING = 1.002
_TELLING = 1 << 20
"""Bytes of a body that says something about speed."""


class Link:
    """The way to one server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latency: float | None = None
        self._stream = 80e6
        self._total = 1e9

    def answered(self, seconds: float) -> None:
        """Learn how long the first byte of an answer took.

        The shortest counts: others waited for each other, and rising with them would let ever
        more requests wait.
        """
        with self._lock:
            known = seconds if self._latency is None else self._latency * _FORGETTING
            self._latency = min(seconds, known)

    def streamed(self, nbytes: int, seconds: float) -> None:
        """Learn how fast a body came."""
        if nbytes >= _TELLING:
            with self._lock:
                self._stream += _WEIGHT * (nbytes / max(seconds, 1e-6) - self._stream)

    def moved(self, nbytes: int, seconds: float) -> None:
        """Learn how fast all connections of a transfer were together."""
        if nbytes >= 16 * _TELLING:
            with self._lock:
                self._total += _WEIGHT * (nbytes / max(seconds, 1e-6) - self._total)

    def costs(self, *, connections: int) -> Costs:
        """Return what requests cost.

        Parameters
        ----------
        connections : int
            The most that the caller allows.
        """
        with self._lock:
            latency = _NEAR if self._latency is None else self._latency
            is_near = latency < _NEAR
            return Costs(
                latency=latency,
                overhead=_OVERHEAD,
                stream=self._stream,
                total=max(self._total, self._stream),
                connections=min(connections, 2 * (os.cpu_count() or 2)) if is_near else connections,
                # At least what a connection carries while a request waits.
                smallest_part=min(max(_SMALLEST_PART, int(latency * self._stream)), _LARGEST_PART),
                largest_part=_LARGEST_NEAR if is_near else _LARGEST_PART,
                largest_borrowed=_LARGEST_PART,
                over_read=_OVER_READ,
            )


_links: dict[str, Link] = {}


def link_to(server: str) -> Link:
    """Return what this process knows of the way to a server."""
    return _links.setdefault(server, Link())
