"""zstd streams: any that a published writer made are read, framed seekable ones are written.

SPEC.md §4; RFC 8878; the seek table is that of the zstd seekable format 0.1.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from ..errors import FormatError, LimitError
from ..types import Bytes

FRAME_SIZE = 1 << 20
"""Decoded bytes of each frame but the last."""

_MAX_WINDOW = 1 << 27
"""What level 22 asks of a decoder."""

_LAST_MODEST_LEVEL = 19
"""Above it zstd reserves memory for inputs far larger than a frame, unless told otherwise."""

_FRAME_MAGIC = 0xFD2FB528
_SKIPPABLE_FIRST = 0x184D2A50
SKIPPABLE_MAGIC = 0x184D2A5E
SEEKABLE_MAGIC = 0x8F92EAB1
_DECODE_STEP = 1 << 20


class FrameEncoder:
    """Turn a byte stream into independent zstd frames and a seek table.

    Parameters
    ----------
    level : int
        1 (fast) to 22 (small).
    """

    def __init__(self, level: int) -> None:
        import zstandard

        self._compressor = zstandard.ZstdCompressor(
            level=level, write_checksum=True, write_content_size=False
        )
        self._level = level
        self._pending = bytearray()
        self._sizes: list[tuple[int, int]] = []

    def update(self, data: memoryview) -> Iterator[bytes]:
        """Take in bytes; yield the frames they complete."""
        at = 0
        if self._pending:
            at = min(FRAME_SIZE - len(self._pending), len(data))
            self._pending += data[:at]
            if len(self._pending) == FRAME_SIZE:
                yield self._frame(self._pending)
                self._pending = bytearray()
        while len(data) - at >= FRAME_SIZE:
            yield self._frame(data[at : at + FRAME_SIZE])
            at += FRAME_SIZE
        self._pending += data[at:]

    def finish(self) -> Iterator[bytes]:
        """Yield the last frame and the seek table."""
        if self._pending:
            yield self._frame(self._pending)
        yield self._seek_table()

    def _frame(self, data: Bytes) -> bytes:
        # Not told the size, it makes the bytes that published writers make (SPEC.md §4.3); the
        # highest levels would then take a window of 128 MiB and six times that in tables.
        size = len(data) if self._level > _LAST_MODEST_LEVEL else -1
        stream = self._compressor.compressobj(size=size)
        frame: bytes = stream.compress(data) + stream.flush()
        self._sizes.append((len(frame), len(data)))
        return frame

    def _seek_table(self) -> bytes:
        entries = b"".join(struct.pack("<II", stored, decoded) for stored, decoded in self._sizes)
        footer = struct.pack("<IBI", len(self._sizes), 0, SEEKABLE_MAGIC)
        body = entries + footer
        return struct.pack("<II", SKIPPABLE_MAGIC, len(body)) + body


def decode_into(data: Bytes, destination: memoryview) -> None:
    """Decode the frames in `data` so that they fill `destination` exactly.

    Raises
    ------
    FormatError
        Not zstd, trailing junk, or more or fewer bytes than the destination has.
    """
    with _Decoder(data) as stream:
        filled = 0
        while filled < len(destination):
            count = stream.readinto(destination[filled:])
            if not count:
                raise FormatError(
                    f"the zstd stream ends after {filled} of {len(destination)} bytes",
                    rule="DecodedLength",
                )
            filled += count
        if stream.read(1):
            raise FormatError(
                f"the zstd stream holds more than {len(destination)} bytes", rule="DecodedLength"
            )


def decode_all(data: Bytes, *, limit: int) -> bytearray:
    """Decode the frames in `data`, whose decoded size no manifest states.

    Parameters
    ----------
    limit : int
        The most bytes to decode.

    Raises
    ------
    FormatError, LimitError
    """
    decoded = bytearray()
    with _Decoder(data) as stream:
        while chunk := stream.read(_DECODE_STEP):
            decoded += chunk
            if len(decoded) > limit:
                raise LimitError(f"a zstd stream decodes to more than the limit of {limit} bytes")
    return decoded


def _check_whole(data: Bytes) -> None:
    """Check that the bytes are whole frames and nothing else (RFC 8878 §3.1.1).

    The stream reader stops without a word where its input ends, be it amid a frame.
    """
    at = 0
    while at < len(data):
        magic = int.from_bytes(data[at : at + 4], "little")
        if magic == _FRAME_MAGIC:
            at = _frame_end(data, at + 4)
        elif magic & ~15 == _SKIPPABLE_FIRST and at + 8 <= len(data):
            at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        else:
            raise FormatError("stored bytes are not valid zstd: junk after a frame", rule="Zstd")
    if at > len(data):
        raise FormatError("stored bytes are not valid zstd: the last frame is cut", rule="Zstd")


def _frame_end(data: Bytes, at: int) -> int:
    """Return where the frame ends whose header begins at `at`; past the data if it is cut."""
    if at >= len(data):
        return at + 1
    flags = data[at]
    is_single = flags >> 5 & 1
    at += 1 + (not is_single) + (0, 1, 2, 4)[flags & 3] + (is_single, 2, 4, 8)[flags >> 6]
    is_last = False
    while not is_last:
        if at + 3 > len(data):
            return len(data) + 1
        head = int.from_bytes(data[at : at + 3], "little")
        is_last, is_repeated = bool(head & 1), head >> 1 & 3 == 1
        at += 3 + (1 if is_repeated else head >> 3)
    return at + (4 if flags & 4 else 0)


class _Decoder:
    """A zstandard stream reader whose errors are ours."""

    def __init__(self, data: Bytes) -> None:
        import zstandard

        _check_whole(data)

        self._error = zstandard.ZstdError
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
        self._stream: Any = decompressor.stream_reader(data, read_across_frames=True)

    def __enter__(self) -> Any:
        return self._stream.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._stream.__exit__(kind, error, trace)
        if isinstance(error, self._error):
            raise FormatError(
                f"the stored bytes are not valid zstd: {error}", rule="Zstd"
            ) from None
