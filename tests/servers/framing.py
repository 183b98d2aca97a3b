"""HTTP/1.1 message bodies, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http.client import HTTPResponse
from io import BufferedIOBase

BLOCK = 1 << 16


def read_sized(stream: BufferedIOBase, size: int) -> Iterator[bytes]:
    """Yield a body of known length."""
    while size:
        block = stream.read1(min(size, BLOCK))
        if not block:
            raise ConnectionAbortedError("the body ended early")
        yield block
        size -= len(block)


def read_chunked(stream: BufferedIOBase) -> Iterator[bytes]:
    """Yield a body that comes in chunks, and pass over its trailers."""
    while size := int(_line(stream).partition(b";")[0], 16):
        yield from read_sized(stream, size)
        _line(stream)
    while _line(stream).strip():
        pass


def read_answer(response: HTTPResponse) -> Iterator[bytes]:
    """Yield a server's body."""
    while block := response.read1(BLOCK):
        yield block
    if response.length:
        raise ConnectionAbortedError("the body ended early")


def first(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield the first ``size`` bytes."""
    while size > 0 and (block := next(blocks, b"")):
        yield block[:size]
        size -= len(block)


def single(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes one by one."""
    for block in blocks:
        for position in range(len(block)):
            yield block[position : position + 1]


def all_but_last(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield everything but the last ``size`` bytes."""
    held = b""
    for block in blocks:
        held += block
        ready = len(held) - size
        if ready > 0:
            yield held[:ready]
            held = held[ready:]


def inverted(blocks: Iterable[bytes], position: int) -> Iterator[bytes]:
    """Yield the same bytes but for one, of which every bit is inverted."""
    for block in blocks:
        if 0 <= position < len(block):
            changed = bytearray(block)
            changed[position] ^= 0xFF
            yield bytes(changed)
        else:
            yield block
        position -= len(block)


def _line(stream: BufferedIOBase) -> bytes:
    line = stream.readline()
    if not line:
        raise ConnectionAbortedError("the body ended early")
    return line
