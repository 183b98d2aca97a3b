"""Fetch what h5py will look for in a file, before it asks for one thing at a time.

Nothing depends on what is understood here: what is not foreseen costs a request when it is asked
for. https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .hdf5_view import View

_HEADER = 16 << 10
"""Bytes that are read of an object: its header, and what was written with it."""

_NODE = 4 << 10
"""Bytes that a node of a tree takes at most, for arrays of up to five dimensions."""

_LAYOUT, _SYMBOL_TABLE = 8, 17
_CHUNKED = 2
_OF_CHUNKS = 1
_NEXT = {b"FAHD": 16, b"EAHD": 60, b"BTHD": 16, b"HEAP": 24}
"""Where the header of an array, tree or heap has the address of what is to be read next."""


def read_ahead(view: View, objects: Sequence[int], *, base: int) -> None:
    """Read the headers of objects, and what finds their members or chunks, level by level.

    Parameters
    ----------
    view : View
    objects : sequence of int
        Their addresses.
    base : int
        Where addresses count from.

    Raises
    ------
    LimitError, StoreError
    """
    view.prefetch([(base + address, _HEADER) for address in objects])
    nodes = {node for address in objects for node in _roots(view.seen(base + address, _NODE))}
    seen: set[tuple[int, int]] = set()
    while nodes:
        view.prefetch([(base + address, _NODE) for address, _ in nodes])
        seen |= nodes
        below = (_below(view.seen(base + address, _NODE), keys) for address, keys in nodes)
        nodes = {node for each in below for node in each} - seen


def _roots(header: bytes) -> Iterator[tuple[int, int]]:
    """Yield what an object's parts are found by: addresses, and the bytes of the keys there."""
    for kind, data in _messages(header):
        if kind == _SYMBOL_TABLE:
            yield int.from_bytes(data[:8], "little"), 8
            yield int.from_bytes(data[8:16], "little"), 0
        if kind == _LAYOUT and len(data) > 11 and data[0] > 2 and data[1] == _CHUNKED:
            address = data[3:11] if data[0] == 3 else data[-8:]
            yield int.from_bytes(address, "little"), 8 + 8 * data[2]


def _messages(header: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the messages of an object's header, as far as it is at hand."""
    if header[:1] == b"\1":
        at, width, size = 16, 8, slice(2, 4)
        end = at + int.from_bytes(header[8:12], "little")
    elif header[:4] == b"OHDR" and len(header) > 5:
        flags = header[5]
        at, wide = 6 + 16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1), 1 << (flags & 3)
        end = at + wide + int.from_bytes(header[at : at + wide], "little")
        at, width, size = at + wide, 6 if flags & 4 else 4, slice(1, 3)
    else:
        return
    while at + width <= min(end, len(header)):
        head = header[at : at + width]
        length = int.from_bytes(head[size], "little")
        yield head[0], header[at + width : at + width + length]
        at += width + length


def _below(node: bytes, keys: int) -> Iterator[tuple[int, int]]:
    """Yield the nodes that follow one, as `_roots` does."""
    following = _NEXT.get(node[:4])
    if following is not None:
        yield int.from_bytes(node[following : following + 8], "little"), 0
    if node[:4] != b"TREE" or len(node) < 24 or (node[4] == _OF_CHUNKS and not node[5]):
        return
    count = int.from_bytes(node[6:8], "little")
    for at in range(24 + keys, min(len(node) - 7, 24 + (keys + 8) * count), keys + 8):
        yield int.from_bytes(node[at : at + 8], "little"), keys
