"""Where a blob may start (SPEC.md §6.1, §9.2)."""

from __future__ import annotations


def align_up(offset: int, alignment: int) -> int:
    """Return the first multiple of `alignment` (a power of two) that is not below `offset`."""
    return (offset + alignment - 1) & -alignment


def alignment_of(offsets: list[int], *, floor: int, ceiling: int) -> int:
    """Return the coarsest power of two that divides every offset, within floor and ceiling.

    A file does not record its alignment; an append keeps the one it can observe.
    """
    alignment = ceiling
    while alignment > floor and any(offset % alignment for offset in offsets):
        alignment //= 2
    return alignment
