"""Write framed zstd: independent frames, compressed side by side, and a table of their sizes.

SPEC.md §4.3; the seek table is that of the zstd seekable format 0.1.1.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .zstd import FRAME_SIZE, SEEKABLE_MAGIC, SKIPPABLE_MAGIC

_LAST_MODEST_LEVEL = 19
"""Above it zstd reserves memory for inputs far larger than a frame, unless told otherwise."""

_THREADS = min(os.cpu_count() or 2, 8)
_MOST_UNDER_WAY = 2 * _THREADS
"""Frames that are held at the same time, whatever the size of the stream."""


class FrameEncoder:
    """Turn a byte stream into independent zstd frames and a seek table.

    The bytes that come out depend on nothing but those that go in, and the level.

    Parameters
    ----------
    level : int
        1 (fast) to 22 (small).
    """

    def __init__(self, level: int) -> None:
        self._level = level
        self._pending = bytearray()
        self._under_way: deque[tuple[int, Future[bytes]]] = deque()
        self._idle: list[Any] = []
        self._sizes: list[tuple[int, int]] = []

    def update(self, data: memoryview) -> Iterator[bytes]:
        """Take in bytes, which may change afterwards; yield frames that are complete."""
        at = 0
        if self._pending:
            at = min(FRAME_SIZE - len(self._pending), len(data))
            self._pending += data[:at]
            if len(self._pending) == FRAME_SIZE:
                yield from self._begin(bytes(self._pending))
                self._pending.clear()
        while len(data) - at >= FRAME_SIZE:
            yield from self._begin(bytes(data[at : at + FRAME_SIZE]))
            at += FRAME_SIZE
        self._pending += data[at:]

    def finish(self) -> Iterator[bytes]:
        """Yield the remaining frames and the seek table."""
        last = bytes(self._pending)
        while self._under_way:
            yield self._oldest()
        if last:
            yield self._noted(len(last), self._frame(last))
        yield self._seek_table()

    def _begin(self, data: bytes) -> Iterator[bytes]:
        """Compress a frame in the background; wait for the oldest where too many are."""
        self._under_way.append((len(data), _pool().submit(self._frame, data)))
        if len(self._under_way) == _MOST_UNDER_WAY:
            yield self._oldest()

    def _oldest(self) -> bytes:
        decoded, frame = self._under_way.popleft()
        return self._noted(decoded, frame.result())

    def _noted(self, decoded: int, frame: bytes) -> bytes:
        self._sizes.append((len(frame), decoded))
        return frame

    def _frame(self, data: bytes) -> bytes:
        try:
            compressor = self._idle.pop()
        except IndexError:
            compressor = self._compressor()
        # Not told the size, it makes the bytes that published writers make (SPEC.md §4.3); the
        # highest levels would then take a window of 128 MiB and six times that in tables.
        size = len(data) if self._level > _LAST_MODEST_LEVEL else -1
        stream = compressor.compressobj(size=size)
        frame: bytes = stream.compress(data) + stream.flush()
        self._idle.append(compressor)
        return frame

    def _compressor(self) -> Any:
        import zstandard

        return zstandard.ZstdCompressor(
            level=self._level, write_checksum=True, write_content_size=False
        )

    def _seek_table(self) -> bytes:
        entries = b"".join(struct.pack("<II", stored, decoded) for stored, decoded in self._sizes)
        footer = struct.pack("<IBI", len(self._sizes), 0, SEEKABLE_MAGIC)
        body = entries + footer
        return struct.pack("<II", SKIPPABLE_MAGIC, len(body)) + body


_pools: dict[int, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    """Return this process's pool: threads don't survive a fork."""
    pid = os.getpid()
    if pid not in _pools:
        _pools.clear()
        _pools[pid] = ThreadPoolExecutor(_THREADS, thread_name_prefix="ztensor-zstd")
    return _pools[pid]
