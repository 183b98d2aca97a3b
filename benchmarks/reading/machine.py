"""The machine, made ready to be measured."""

from __future__ import annotations

import mmap
import os

_SHARE = 0.75
_STEP = 2 << 20
"""Bytes: a huge page."""


def touch_free_memory() -> None:
    """Write to most of the memory that is free, and free it again.

    A virtual machine gets its memory from its host when it first writes to it, which takes the host
    a second or two for each GiB. Whoever happens to be given such memory would be the slower one.
    """
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size = int(free * _SHARE) // _STEP * _STEP
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        for start in range(0, size, mmap.PAGESIZE):
            memory[start] = 1
