"""Decode zstd: any stream that a published writer made, as a whole or as its bytes come.

SPEC.md §4; RFC 8878.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import FormatError
from ..types import Bytes

FRAME_SIZE = 1 << 20
"""Decoded bytes of each frame that we write, but the last of a blob."""

SKIPPABLE_MAGIC = 0x184D2A5E
SEEKABLE_MAGIC = 0x8F92EAB1

_MAX_WINDOW = 1 << 27
"""What level 22 asks of a decoder."""

_WORTH_KEEPING = 16 << 20
"""Bytes: a decoder whose window has made it larger is not kept for the next frame."""

_FRAME_MAGIC = 0xFD2FB528
_SKIPPABLE_FIRST = 0x184D2A50


def decode_into(data: Bytes, destination: memoryview) -> None:
    """Decode the frames in `data` so that they fill `destination` exactly.

    Raises
    ------
    FormatError
        Not zstd, trailing junk, or more or fewer bytes than the destination has.
    """
    walk = _Walk()  # the reader stops without a word where its input ends, be it amid a frame
    walk.feed(data)
    walk.finish()
    with _decoder() as decoder, decoder.stream_reader(data, read_across_frames=True) as stream:
        filled = 0
        while filled < len(destination):
            count = stream.readinto(destination[filled:])
            if not count:
                raise too_short(filled, len(destination))
            filled += count
        if stream.read(1):
            raise too_long(len(destination))


class StreamDecoder:
    """A decoder that is fed a stream piece by piece, in memory that does not grow with it.

    Parameters
    ----------
    write : callable
        Given the decoded bytes, 128 KiB or fewer at a time. It must not refer to this decoder:
        the garbage collector does not see through zstandard's objects, and neither would ever go.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._walk = _Walk()
        self._writer = _new_decoder().stream_writer(_Output(write))

    def feed(self, data: Bytes) -> None:
        """Decode the next stored bytes.

        Raises
        ------
        FormatError
        """
        self._walk.feed(data)
        with _translated():
            self._writer.write(data)

    def finish(self) -> None:
        """Check that the last frame is whole.

        Raises
        ------
        FormatError
        """
        self._walk.finish()


class _Output:
    """What zstandard takes for a file."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def write(self, data: bytes) -> int:
        self._write(data)
        return len(data)


def too_short(filled: int, expected: int) -> FormatError:
    """Return the error for a stream that holds less than it must."""
    return FormatError(f"the stream ends after {filled} of {expected} bytes", rule="DecodedLength")


def too_long(expected: int) -> FormatError:
    """Return the error for a stream that holds more than it may."""
    return FormatError(f"the stream holds more than {expected} bytes", rule="DecodedLength")


_Step = tuple[int, int, bool]
"""Bytes to pass over, bytes to look at then, and whether a frame may begin or the stream end."""


class _Walk:
    """Follows a stream from frame to frame: whole frames, and nothing else (RFC 8878 §3.1.1)."""

    def __init__(self) -> None:
        self._steps = _frames()
        self._skip, self._need, self._is_between = next(self._steps)
        self._head = b""

    def feed(self, data: Bytes) -> None:
        at = 0
        while at < len(data):
            if self._skip:
                passed = min(self._skip, len(data) - at)
                self._skip -= passed
                at += passed
                continue
            more = bytes(data[at : at + self._need - len(self._head)])
            self._head += more
            at += len(more)
            if len(self._head) == self._need:
                self._skip, self._need, self._is_between = self._steps.send(self._head)
                self._head = b""

    def finish(self) -> None:
        if self._head or self._skip or not self._is_between:
            raise FormatError(
                "the stored bytes are not valid zstd: the last frame is cut", rule="Zstd"
            )


def _frames() -> Generator[_Step, bytes, None]:
    skip = 0
    while True:
        magic = int.from_bytes((yield skip, 4, True), "little")
        if magic == _FRAME_MAGIC:
            skip = yield from _blocks()
        elif magic & ~15 == _SKIPPABLE_FIRST:
            skip = int.from_bytes((yield 0, 4, False), "little")
        else:
            raise FormatError(
                "the stored bytes are not valid zstd: junk after a frame", rule="Zstd"
            )


def _blocks() -> Generator[_Step, bytes, int]:
    """Follow a frame after its magic number; return the bytes that its last block still has."""
    flags = (yield 0, 1, False)[0]
    is_single = flags >> 5 & 1
    skip = (not is_single) + (0, 1, 2, 4)[flags & 3] + (is_single, 2, 4, 8)[flags >> 6]
    is_last = False
    while not is_last:
        head = int.from_bytes((yield skip, 3, False), "little")
        is_last, is_repeated = bool(head & 1), head >> 1 & 3 == 1
        skip = 1 if is_repeated else head >> 3
    return skip + (4 if flags & 4 else 0)


def _new_decoder() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)


class _Decoders:
    """Decoders to borrow: no more than there are processors, since each may hold a window."""

    def __init__(self) -> None:
        self.room = threading.BoundedSemaphore(os.cpu_count() or 2)
        self.idle: list[Any] = []


_decoders: dict[int, _Decoders] = {}


@contextmanager
def _decoder() -> Iterator[Any]:
    """Lend a decoder of this process: one that was lent at a fork would never come back."""
    pid = os.getpid()
    if pid not in _decoders:
        _decoders.clear()
    decoders = _decoders.setdefault(pid, _Decoders())
    with decoders.room, _translated():
        try:
            decoder = decoders.idle.pop()
        except IndexError:
            decoder = _new_decoder()
        yield decoder
        if decoder.memory_size() <= _WORTH_KEEPING:
            decoders.idle.append(decoder)


@contextmanager
def _translated() -> Iterator[None]:
    import zstandard

    try:
        yield
    except zstandard.ZstdError as error:
        if "not enough memory" in str(error):  # this machine's fault, not that of the file
            raise MemoryError(str(error)) from None
        raise FormatError(f"the stored bytes are not valid zstd: {error}", rule="Zstd") from None
