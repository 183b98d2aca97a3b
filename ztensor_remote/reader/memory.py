"""Memory for what is read."""

from __future__ import annotations

import numpy as np

_LINE = 64
"""Bytes: a line of the cache, and what the widest vector instructions like."""

_HUGE_PAGE = 2 << 20
"""Bytes. NumPy asks the kernel for such pages, and gets them where a whole one fits."""


def allocate(nbytes: int, *, zeroed: bool = False) -> memoryview:
    """Return writable memory that begins on a line of the cache, or on a huge page if it is large.

    What lies before the first huge page would be had 4 KiB at a time, each by a fault of its own.
    Zeros cost nothing until they are touched.
    """
    alignment = _LINE if nbytes < 2 * _HUGE_PAGE else _HUGE_PAGE
    memory = (np.zeros if zeroed else np.empty)(nbytes + alignment, np.uint8)
    start = -memory.__array_interface__["data"][0] % alignment
    return memory[start : start + nbytes].data
