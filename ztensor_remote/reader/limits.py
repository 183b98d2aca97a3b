"""How much memory a file may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for what reading may allocate.

    Attributes
    ----------
    max_decoded : int
        Bytes that one compressed or sparse tensor may become. What is stored raw is bounded by
        the file's size anyway.
    """

    max_decoded: int = 64 << 30
