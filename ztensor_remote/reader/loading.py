"""Load many components at once: planned together, checked and decoded while others travel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..codecs import PartialDigest, check_digest
from ..manifest import Component
from ..manifest.dtypes import storage_width
from ..stores import Control, Fetch, Runs, Source, copy_out, fetches_of, fill, run_all, transfer
from .decoding import Decoding, check_decodable, comes_in_pieces
from .memory import allocate
from .output import Filling, Growing
from .want import Arrival, Want, judging, located_at

if TYPE_CHECKING:
    from .blobs import Blobs

Progress = Callable[[int], object]


class Loading:
    """One load.

    Parameters
    ----------
    blobs : Blobs
    verify, again : bool
        Whether components are compared with their digests, even if they were before.
    progress : callable
        Told the stored bytes that have come.
    """

    def __init__(self, blobs: Blobs, *, verify: bool, again: bool, progress: Progress) -> None:
        self._blobs = blobs
        self._verify = verify
        self._again = again
        self._progress = progress
        self._covers_decoded = blobs.manifest.digests_cover_decoded
        self._loaded: dict[Want, memoryview] = {}
        self._outputs: dict[Want, Filling | Growing] = {}

    def load(self, wants: Sequence[Want]) -> list[memoryview]:
        """Return the decoded bytes of each, little-endian.

        Raises
        ------
        UnsupportedError, LimitError, FormatError, DigestError, StoreError
        """
        by_source: dict[Source, list[Want]] = defaultdict(list)
        here: list[Want] = []
        self._blobs.open_shards(want.part for want in wants)
        for want in wants:
            with located_at(want):
                check_decodable(want.part, want.length, self._blobs.limits)
                source = self._blobs.source_of(want.part)
            is_copied = want.part.is_raw and want.destination is not None
            is_shown = source.view(0, 0) is not None and not is_copied
            is_here = not want.part.length or is_shown
            (here if is_here else by_source[source]).append(want)
        # Framed or not, what comes in one piece brings its seek table along.
        self._blobs.seek_tables.find([want for want in wants if comes_in_pieces(want.part)])
        for tasks in run_all(partial(self._take, want) for want in here):
            run_all(tasks)
        by_source = {source: self._shown(source, group) for source, group in by_source.items()}
        if any(by_source.values()):
            fetches = self._fetches(by_source)
            transfer(fetches, by_source, limits=self._blobs.limits, progress=self._progress)
        self._loaded |= {want: output.memory for want, output in self._outputs.items()}
        return [self._loaded[want] for want in wants]

    # --- what is in memory, or mapped --------------------------------------------------------

    def _take(self, want: Want) -> list[Callable[[], object]]:
        """Take the bytes of one; return what is left to do, side by side."""
        with located_at(want):
            stored = self._blobs.stored_here(want.part)
            if want.part.is_raw:
                self._use(want, stored)
                self._progress(want.part.length)
                return []
            if not self._covers_decoded:
                self._check_digest(want.part, stored)
            decoding = self._decoding(want, at_hand=True)
        return [
            partial(self._take_piece, want, decoding, number, stored[start:stop])
            for number, (start, stop) in enumerate(decoding.pieces)
        ]

    def _use(self, want: Want, stored: memoryview) -> None:
        """Take raw bytes that stay where they are: as they are, or copied to their destination."""
        self._check_digest(want.part, stored)
        if want.destination is not None or want.part.big_endian:
            memory = allocate(len(stored)) if want.destination is None else want.destination
            copy_out(stored, [memory])
            swap_bytes(memory, want.part)
            stored = memory
        self._loaded[want] = stored

    def _take_piece(self, want: Want, decoding: Decoding, number: int, data: memoryview) -> None:
        self._decode(want, decoding, number, data, None)
        self._progress(len(data))

    # --- what a cache keeps ------------------------------------------------------------------

    def _shown(self, source: Source, wants: list[Want]) -> list[Want]:
        """Load what a cache has or can have as it is stored, and return the rest."""
        fit = [want for want in wants if want.part.is_raw]
        limits = self._blobs.limits
        offsets = np.array([want.part.offset for want in fit], np.int64)
        lengths = np.array([want.part.length for want in fit], np.int64)
        runs = Runs(offsets, lengths, np.cumsum(lengths) - lengths)
        if not fit or not fill(source, runs, limits=limits, progress=self._progress):
            return wants
        shown = run_all(partial(self._show, source, want) for want in fit)
        done = {want for want, is_shown in zip(fit, shown, strict=True) if is_shown}
        return [want for want in wants if want not in done]

    def _show(self, source: Source, want: Want) -> bool:
        view = source.view(want.part.offset, want.part.length)
        if view is None:
            return False
        with judging(want, source):
            self._use(want, view)
        return True

    # --- what has to be fetched --------------------------------------------------------------

    def _fetches(self, by_source: dict[Source, list[Want]]) -> Iterator[Fetch]:
        for source, wants in by_source.items():
            yield from self._fetches_of(source, wants)

    def _fetches_of(self, source: Source, wants: list[Want]) -> Iterable[Fetch]:
        """Plan raw and compressed bytes together, for they lie between each other."""
        arrivals: list[Arrival] = []
        pieces: list[tuple[Want, Decoding, int]] = []
        rows: list[tuple[int, int, int]] = []
        filled = 0
        for want in wants:
            part = want.part
            if part.is_raw:
                arrivals.append(Arrival(want, self._destination(want), self._digest(want)))
                rows.append((part.offset, part.length, filled))
                filled += part.length
                continue
            decoding = self._decoding(want)
            for number, (start, stop) in enumerate(decoding.pieces):
                rows.append((part.offset + start, stop - start, ~len(pieces)))
                pieces.append((want, decoding, number))

        def landed(index: int, start: int, stop: int) -> None:
            arrival = arrivals[index]
            with judging(arrival.want, source):
                is_last = arrival.landed(start, stop)
            if is_last:
                swap_bytes(arrival.destination, arrival.want.part)

        def handed_over(index: int, data: memoryview, control: Control) -> None:
            self._decode(*pieces[index], data, control)

        runs = Runs(*np.array(rows, np.int64).reshape(-1, 3).T)
        return fetches_of(
            source,
            runs,
            [arrival.destination for arrival in arrivals],
            limits=self._blobs.limits,
            landed=landed,
            handed_over=handed_over,
            in_order=any(decoding.is_ordered for _, decoding, _ in pieces),
        )

    def _destination(self, want: Want) -> memoryview:
        memory = allocate(want.part.length) if want.destination is None else want.destination
        self._loaded[want] = memory
        return memory

    # --- what is compressed ------------------------------------------------------------------

    def _decoding(self, want: Want, *, at_hand: bool = False) -> Decoding:
        table = self._blobs.seek_tables.known(want.part)
        length = want.length if table is None else table.decoded_length
        check_decodable(want.part, length, self._blobs.limits)
        output: Filling | Growing
        if length is None:
            output = Growing(self._blobs.limits.max_decoded)
        else:
            output = Filling(length, want.destination)
        self._outputs[want] = output
        digest = None if at_hand and not self._covers_decoded else self._digest(want)
        return Decoding(
            want.part,
            output,
            decoded_length=want.length,
            table=table,
            at_hand=at_hand,
            stored=None if self._covers_decoded else digest,
            decoded=digest if self._covers_decoded else None,
        )

    def _decode(
        self,
        want: Want,
        decoding: Decoding,
        number: int,
        data: memoryview,
        control: Control | None,
    ) -> None:
        with judging(want, self._blobs.source_of(want.part)):
            if decoding.take(number, data, control):
                swap_bytes(self._outputs[want].memory, want.part)

    # --- digests -----------------------------------------------------------------------------

    def _digest(self, want: Want) -> PartialDigest | None:
        """Return what compares the bytes of a component as they come, if there is anything to."""
        if not self._verify:
            return None
        stated = self._blobs.stated_digest(want.part, again=self._again)
        length = want.length if self._covers_decoded else want.part.length
        if stated and not length:
            check_digest(stated, b"")
        return PartialDigest(stated, length) if stated and length else None

    def _check_digest(self, part: Component, data: memoryview) -> None:
        if self._verify:
            self._blobs.check_digest(part, data, again=self._again)


def swap_bytes(destination: memoryview, part: Component) -> None:
    """Turn big-endian elements into little-endian ones, in place."""
    width = storage_width(part.dtype)
    if part.big_endian and width > 1:
        np.frombuffer(destination, dtype=f"u{width}").byteswap(inplace=True)
