"""Read some of the bytes of a component: just the frames, or checked chunks, that they lie in."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..codecs import FRAME_SIZE
from ..stores import Control, Runs, fetches_of, run_all, transfer
from .checking import Checking
from .decoding import Decoding, check_decodable
from .output import Picking
from .want import Want, judging

if TYPE_CHECKING:
    from .blobs import Blobs

_NOT_WORTH_SEEKING = 64 << 10
"""Stored bytes: to find out what could be left out costs more than it saves."""


class Slicing:
    """One component that is read in part.

    Parameters
    ----------
    blobs : Blobs
    want : Want
        Its decoded length is known.
    """

    def __init__(self, blobs: Blobs, want: Want) -> None:
        self._blobs = blobs
        self._want = want

    def fill(self, runs: Runs, destination: memoryview) -> None:
        """Fill `destination` with runs of the decoded bytes.

        Raises
        ------
        UnsupportedError, LimitError, FormatError, StoreError
        """
        want, length = self._want, self._want.length
        assert length is not None
        check_decodable(want.part, length, self._blobs.limits)
        if not runs.lengths.any():
            return
        output = Picking(length, runs, destination)
        if want.part.chunk_digests is not None:
            self._read(Checking(want.part, want.part.chunk_digests, runs, output))
        else:
            self._read(self._decoding(length, runs, output))

    def _decoding(self, length: int, runs: Runs, output: Picking) -> Decoding:
        want = self._want
        if length > FRAME_SIZE and want.part.length > _NOT_WORTH_SEEKING:
            self._blobs.seek_tables.find([want])
        table = self._blobs.seek_tables.known(want.part)
        return Decoding(
            want.part,
            output,
            decoded_length=length,
            table=table,
            frames=None if table is None else table.touched(runs.offsets, runs.lengths),
            at_hand=self._blobs.is_mapped(want.part),
        )

    def _read(self, pieces: Decoding | Checking) -> None:
        if self._blobs.is_mapped(self._want.part):
            self._take(pieces)
        else:
            self._fetch(pieces)

    def _take(self, decoding: Decoding | Checking) -> None:
        stored = self._blobs.stored_here(self._want.part)
        run_all(
            partial(decoding.take, number, stored[start:stop], None)
            for number, (start, stop) in enumerate(decoding.pieces)
        )

    def _fetch(self, decoding: Decoding | Checking) -> None:
        part, limits = self._want.part, self._blobs.limits
        source = self._blobs.source_of(part)

        def handed_over(number: int, data: memoryview, control: Control) -> None:
            with judging(self._want, source):
                decoding.take(number, data, control)

        starts, stops = np.array(decoding.pieces, np.int64).T
        runs = Runs(starts + part.offset, stops - starts, ~np.arange(len(starts)))
        fetches = fetches_of(
            source,
            runs,
            [],
            limits=limits,
            handed_over=handed_over,
            in_order=decoding.is_ordered,
        )
        transfer(fetches, [source], limits=limits)
