"""Decode integers of protobuf: seven bits a byte, the lowest first, to so many bytes each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import FormatError
from ..types import Bytes

_LONGEST = 10
"""Bytes of an integer; a negative one has them all."""

_STEP = 1 << 20


class VarintDecoder:
    """A decoder that is fed integers piece by piece.

    Parameters
    ----------
    write : callable
        Given them little-endian.
    width : int
        Bytes of each; what does not fit is cut off, as it is by protobuf.
    """

    def __init__(self, write: Callable[[bytes], object], width: int) -> None:
        self._write = write
        self._dtype = np.dtype(f"<u{width}")
        self._rest = b""

    def feed(self, data: Bytes) -> None:
        """Decode the next stored bytes.

        Raises
        ------
        FormatError
        """
        view = memoryview(data)
        for start in range(0, len(view), _STEP):
            self._decode(np.frombuffer(self._rest + bytes(view[start : start + _STEP]), np.uint8))

    def _decode(self, stored: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        stops = np.flatnonzero(stored < 0x80) + 1
        end = int(stops[-1]) if len(stops) else 0
        lengths = np.diff(stops, prepend=0)
        self._rest = stored[end:].tobytes()
        if lengths.max(initial=len(self._rest)) > _LONGEST:
            raise FormatError("an integer is longer than ten bytes", rule="Encoding")
        if not end:
            return
        starts = stops - lengths
        places = np.arange(end) - np.repeat(starts, lengths)
        bits = (stored[:end] & 0x7F).astype(np.uint64) << (7 * places).astype(np.uint64)
        self._write(np.add.reduceat(bits, starts).astype(self._dtype).tobytes())

    def finish(self) -> None:
        """Check that the last integer is whole.

        Raises
        ------
        FormatError
        """
        if self._rest:
            raise FormatError("the last integer is cut off", rule="Encoding")
