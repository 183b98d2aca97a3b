"""Compressed bytes to decoded ones, as they come: frame by frame in any order, or as a stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from ..codecs import (
    Inflater,
    Latin1Decoder,
    PartialDigest,
    SeekTable,
    StreamDecoder,
    VarintDecoder,
    decode_into,
)
from ..errors import LimitError, UnsupportedError
from ..manifest import CHUNKS, DEFLATE, FRAMED, LATIN_1, STREAMS, VARINTS, Component
from ..manifest.dtypes import storage_width
from ..manifest.validate import check_expansion, check_whole
from ..stores import Control, Limits, Offsets
from .output import Output
from .seeking import read_table_of

DECODABLE = STREAMS | FRAMED | {CHUNKS}
_WHOLE = 8 << 20
"""Stored bytes up to which a component comes in one piece, its seek table with it."""

_STEP = 4 << 20
"""Stored bytes of the pieces of a stream."""


def comes_in_pieces(part: Component) -> bool:
    """Whether a component is so large that it is not held whole."""
    return not part.is_raw and part.length > _WHOLE


def check_decodable(part: Component, length: int | None, limits: Limits) -> None:
    """Refuse what can't be decoded to so many bytes, or may not.

    Raises
    ------
    UnsupportedError, LimitError, FormatError
    """
    check_whole(part)
    if part.is_raw:
        return
    if part.encoding not in DECODABLE:
        raise UnsupportedError(
            f"encoding {part.encoding!r} is unknown; the stored bytes can't be decoded"
        )
    if length is None:
        return
    check_expansion(part, length, "the component")
    if length > limits.max_decoded:
        raise LimitError(
            f"decoding it needs {length} bytes, the limit is {limits.max_decoded}; if the file is "
            "trusted, open it with limits=Limits(max_decoded=...)"
        )


def decoder_of(
    part: Component, write: Callable[[bytes], object]
) -> StreamDecoder | Inflater | Latin1Decoder | VarintDecoder:
    """Return what decodes the stored bytes of a component in their order."""
    if part.encoding == LATIN_1:
        return Latin1Decoder(write)
    if part.encoding == DEFLATE:
        return Inflater(write, start=part.skipped, length=part.decoded_length)
    if part.encoding == VARINTS:
        return VarintDecoder(write, storage_width(part.dtype))
    return StreamDecoder(write)


class Decoding:
    """One compressed component on its way to its output.

    Parameters
    ----------
    part : Component
    output : Output
    decoded_length : int or None
        What all of it decodes to, where that is known.
    table : SeekTable or None
        None where it has none, or comes in one piece, which may hold one.
    frames : int64 array, optional
        Numbers of the frames that are needed; all by default.
    at_hand : bool
        Whether all stored bytes are in memory, or mapped: without a table they are one piece then.
    stored, decoded : PartialDigest or None
        What all stored bytes, or all decoded bytes, are compared with.

    Attributes
    ----------
    pieces : list of (int, int)
        The stored bytes that `take` must be given, relative to the blob.
    is_ordered : bool
        Whether a piece waits for those before it, so that they must be fetched in order.
    """

    def __init__(
        self,
        part: Component,
        output: Output,
        *,
        decoded_length: int | None,
        table: SeekTable | None,
        frames: Offsets | None = None,
        at_hand: bool = False,
        stored: PartialDigest | None = None,
        decoded: PartialDigest | None = None,
    ) -> None:
        self.part = part
        self.output = output
        self._decoded_length = decoded_length
        self._table = table
        self._frames = _all_frames(table) if frames is None else frames
        self._stored, self._decoded = stored, decoded
        self.pieces = _pieces(part, table, frames, at_hand)
        self._missing = sum(stop - start for start, stop in self.pieces)
        self._lock = threading.Lock()
        self._order = _Order()
        self._stream: _Stream | None = None
        if table is None and len(self.pieces) > 1:
            self._stream = _Stream(part, output, decoded)
        is_hashed_in_order = stored is not None and stored.is_ordered
        self.is_ordered = self._stream is not None or is_hashed_in_order

    def take(self, number: int, data: memoryview, control: Control | None) -> bool:
        """Decode a piece; return whether it was the last.

        Parameters
        ----------
        number : int
            Its place among `pieces`.
        data : memoryview
        control : Control or None
            Breaks the wait of a piece for those before it, where order matters; None for bytes
            that are at hand, whose order does not.

        Raises
        ------
        FormatError, DigestError, LimitError
        """
        start, stop = self.pieces[number]
        if self.is_ordered:
            with self._order.turn(start, stop, control):
                self._compare_stored(start, data)
                if self._stream is not None:
                    self._stream.feed(data)
        else:
            self._compare_stored(start, data)
        if self._stream is None:
            self._decode(number, data)
        with self._lock:
            self._missing -= len(data)
            is_last = not self._missing
        if is_last and self._stream is not None:
            self._stream.finish()
        return is_last

    def _compare_stored(self, start: int, data: memoryview) -> None:
        if self._stored is not None and self._stored.add(start, data):
            self._stored.check()

    def _decode(self, number: int, data: memoryview) -> None:
        if self._table is not None and len(self._table):
            self._decode_frame(self._table, int(self._frames[number]), data)
            return
        table = read_table_of(self.part, data, self._decoded_length)
        if table is None:
            stream = _Stream(self.part, self.output, self._decoded)
            stream.feed(data)
            stream.finish()
            return
        for frame in range(len(table)):
            start = int(table.stored[frame])
            self._decode_frame(table, frame, data[start:])

    def _decode_frame(self, table: SeekTable, frame: int, data: memoryview) -> None:
        """Decode the frame that `data` begins with."""
        start, stop = int(table.decoded[frame]), int(table.decoded[frame + 1])
        data = data[: int(table.stored[frame + 1] - table.stored[frame])]
        room = self.output.room(start, stop)
        memory = np.empty(stop - start, np.uint8).data if room is None else room
        decode_into(data, memory)
        if room is None:
            self.output.take(start, memory)
        if self._decoded is not None and start < stop and self._decoded.add(start, memory):
            self._decoded.check()


def _all_frames(table: SeekTable | None) -> Offsets:
    return np.arange(0 if table is None else len(table))


def _pieces(
    part: Component, table: SeekTable | None, frames: Offsets | None, at_hand: bool
) -> list[tuple[int, int]]:
    if table is None and comes_in_pieces(part) and not at_hand:
        return [(at, min(at + _STEP, part.length)) for at in range(0, part.length, _STEP)]
    if table is None or not len(table):
        return [(0, part.length)]
    if frames is not None:
        starts, stops = table.stored[frames], table.stored[frames + 1]
    else:  # the last brings the table along: digests cover that too
        starts, stops = table.stored[:-1], np.append(table.stored[1:-1], part.length)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


class _Stream:
    """What is decoded in order."""

    def __init__(self, part: Component, output: Output, digest: PartialDigest | None) -> None:
        # Apart from the stream: what the decoder writes to must not lead back to the decoder.
        self._written = _Written(output, digest)
        self._decoder = decoder_of(part, self._written.take)
        self.feed = self._decoder.feed

    def finish(self) -> None:
        self._decoder.finish()
        self._written.finish()


class _Written:
    """Takes what a stream decodes to, from its first byte on."""

    def __init__(self, output: Output, digest: PartialDigest | None) -> None:
        self._output = output
        self._digest = digest
        self._reached = 0

    def take(self, data: bytes) -> None:
        self._output.take(self._reached, data)
        if self._digest is not None and self._digest.add(self._reached, data):
            self._digest.check()
        self._reached += len(data)

    def finish(self) -> None:
        self._output.end(self._reached)


class _Order:
    """Lets pieces through in order, whichever of them comes first."""

    def __init__(self) -> None:
        self._reached = 0
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, start: int, stop: int, control: Control | None) -> Iterator[None]:
        """Wait for those before. The transfer begins pieces in order, so that the first is there.

        Raises
        ------
        Cancelled
        """
        if control is not None:
            with control.breaking(self._wake), self._changed:
                while self._reached != start:
                    self._changed.wait()
                    control.check()
        yield  # a failure keeps the others waiting, until it has ended the transfer
        with self._changed:
            self._reached = stop
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
