"""Memory for what is read."""

from __future__ import annotations

import numpy as np

_ALIGNMENT = 64
"""Bytes: a line of the cache, and what the widest vector instructions like."""


def allocate(nbytes: int) -> memoryview:
    """Return writable memory that begins on a line of the cache."""
    memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
    start = -memory.__array_interface__["data"][0] % _ALIGNMENT
    return memory[start : start + nbytes].data
