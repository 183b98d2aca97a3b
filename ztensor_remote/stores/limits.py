"""Bounds for what reading takes: memory, connections, time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for what reading takes.

    Attributes
    ----------
    max_decoded : int
        Bytes that one compressed or sparse tensor may become. What is stored raw is bounded by
        the file's size anyway.
    connections : int
        Requests under way at the same time.
    in_flight : int
        Bytes held besides the results: compressed data, and what is fetched to be picked from.
    timeout : float
        Seconds without a byte after which a request fails, and is sent again.
    deadline : float or None
        Seconds that one call may take in all.
    hedge_after : float or None
        Seconds after which a request that is not done gets a second one beside it, and the
        faster of the two counts. Off by default: it costs requests and bytes.
    """

    max_decoded: int = 64 << 30
    connections: int = 64
    in_flight: int = 48 << 20
    timeout: float = 30.0
    deadline: float | None = None
    hedge_after: float | None = None
