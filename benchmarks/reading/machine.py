"""The machine, made ready to be measured."""

from __future__ import annotations

import mmap


def touch_memory(nbytes: int) -> None:
    """Write to so much free memory, and free it again: what is asked for next is made of it.

    A virtual machine may have given free memory back to its host, which then takes a second or two
    for each GiB that is written to. Whoever is given such memory would seem to be the slower one.
    """
    if not nbytes:
        return
    with mmap.mmap(-1, nbytes) as memory:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        for start in range(0, nbytes, mmap.PAGESIZE):
            memory[start] = 1
