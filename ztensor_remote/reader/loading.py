"""Load many components at once: planned together, checked and decoded while others travel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..codecs import FRAME_SIZE, PartialDigest, SeekTable, check_digest
from ..manifest import DEFLATE, Component
from ..manifest.dtypes import storage_width
from ..stores import (
    Budget,
    Control,
    Fetch,
    Offsets,
    Request,
    Runs,
    Source,
    copy_out,
    fetches_of,
    fill,
    plan_for,
    run_all,
    transfer,
)
from .checking import Checking
from .decoding import Decoding, check_decodable, comes_in_pieces
from .memory import allocate
from .output import Filling, Growing, Picking
from .tiling import Tiling
from .want import Arrival, Want, judging, located_at

if TYPE_CHECKING:
    from .blobs import Blobs

Progress = Callable[[int], object]


_NOT_WORTH_SEEKING = 64 << 10
"""Stored bytes: to find out what could be left out costs more than it saves."""


class Loading:
    """One load.

    Parameters
    ----------
    blobs : Blobs
    verify, again : bool
        Whether components are compared with their digests, even if they were before.
    announce, progress : callable
        Told the stored bytes that are to come, once, and those that have come.
    """

    def __init__(
        self,
        blobs: Blobs,
        *,
        verify: bool,
        again: bool,
        announce: Progress = lambda count: None,
        progress: Progress = lambda count: None,
    ) -> None:
        self._blobs = blobs
        self._verify = verify
        self._again = again
        self._announce = announce
        self._progress = progress
        self._budget = Budget(blobs.limits.in_flight)
        self._loaded: dict[Want, memoryview] = {}
        self._decodings: dict[Want, Decoding | Checking | Tiling] = {}
        self._outputs: dict[Want, Filling | Growing | Picking | Tiling] = {}

    def load(self, wants: Sequence[Want]) -> list[memoryview]:
        """Return the decoded bytes of each, little-endian.

        Raises
        ------
        UnsupportedError, LimitError, FormatError, DigestError, StoreError
        """
        here, by_source = self._sorted(wants)
        self._blobs.seek_tables.find([want for want in wants if _needs_table(want)])
        self._begin(here, by_source)
        for tasks in run_all(partial(self._take, want) for want in here):
            run_all(tasks)
        by_source = {source: self._shown(source, group) for source, group in by_source.items()}
        if any(by_source.values()):
            fetches = self._fetches(by_source)
            transfer(fetches, by_source, limits=self._blobs.limits, progress=self._progress)
        self._loaded |= {want: output.memory for want, output in self._outputs.items()}
        return [self._loaded[want] for want in wants]

    def plan(self, wants: Sequence[Want]) -> list[tuple[Source, list[Request]]]:
        """Return the requests that `load` would make, as far as the seek tables are known."""
        _, by_source = self._sorted(wants)
        self._begin([], by_source)
        limits = self._blobs.limits
        return [
            (source, plan_for(source, self._runs(group)[0], limits=limits))
            for source, group in by_source.items()
        ]

    def _sorted(self, wants: Sequence[Want]) -> tuple[list[Want], dict[Source, list[Want]]]:
        """Tell what is in memory, or mapped, from what has to be fetched."""
        here: list[Want] = []
        by_source: dict[Source, list[Want]] = defaultdict(list)
        self._blobs.open_shards(want.part for want in wants)
        is_mapped: dict[Source, bool] = {}
        for want in wants:
            with located_at(want):
                check_decodable(want.part, want.length, self._blobs.limits)
                source = self._blobs.source_of(want.part)
            if source not in is_mapped:
                is_mapped[source] = source.view(0, 0) is not None
            is_copied = want.part.is_raw and (want.destination or want.runs) is not None
            is_shown = is_mapped[source] and not is_copied
            (here if is_shown or not want.part.length else by_source[source]).append(want)
        return here, by_source

    def _begin(self, here: Sequence[Want], by_source: Mapping[Source, Sequence[Want]]) -> None:
        """Find out where the decoded bytes go, and how many stored ones are to come."""
        total = 0
        for at_hand, wants in ((True, here), *((False, group) for group in by_source.values())):
            for want in wants:
                if self._goes_straight(want):
                    total += want.nbytes
                    continue
                with located_at(want):
                    decoding = self._pieces_of(want, at_hand=at_hand)
                self._decodings[want] = decoding
                total += sum(stop - start for start, stop in decoding.pieces)
        self._announce(total)

    # --- what is in memory, or mapped --------------------------------------------------------

    def _take(self, want: Want) -> list[Callable[[], object]]:
        """Take the bytes of one; return what is left to do, side by side."""
        with located_at(want):
            stored = self._blobs.stored_here(want.part)
            if want.part.is_raw:
                self._use(want, stored)
                self._progress(want.part.length)
                return []
            if not self._covers_decoded(want) and want.runs is None:
                self._check_digest(want.part, stored)
            decoding = self._decodings[want]
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

    def _take_piece(
        self, want: Want, decoding: Decoding | Checking | Tiling, number: int, data: memoryview
    ) -> None:
        self._decode(want, decoding, number, data, None)
        self._progress(len(data))

    # --- what a cache keeps ------------------------------------------------------------------

    def _shown(self, source: Source, wants: list[Want]) -> list[Want]:
        """Load what a cache has or can have as it is stored, and return the rest."""
        fit = [want for want in wants if want.part.is_raw and want.runs is None]
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
            if wants:
                yield from self._fetches_of(source, wants)

    def _fetches_of(self, source: Source, wants: list[Want]) -> Iterable[Fetch]:
        runs, raw, pieces = self._runs(wants)
        arrivals = [Arrival(want, self._destination(want), self._stated(want)) for want in raw]

        def landed(index: int, start: int, stop: int) -> None:
            arrival = arrivals[index]
            if arrival.landed(start, stop, source):
                swap_bytes(arrival.destination, arrival.want.part)

        def handed_over(index: int, data: memoryview, control: Control) -> None:
            want, number = pieces[index]
            self._decode(want, self._decodings[want], number, data, control)

        return fetches_of(
            source,
            runs,
            [arrival.destination for arrival in arrivals],
            limits=self._blobs.limits,
            landed=landed,
            handed_over=handed_over,
            in_order=any(self._decodings[want].is_ordered for want, _ in pieces),
        )

    def _runs(self, wants: Sequence[Want]) -> tuple[Runs, list[Want], list[tuple[Want, int]]]:
        """Return the stored bytes of all: raw and compressed ones lie between each other.

        Raw ones go to the destinations of the wants that come second, laid one after another; the
        others are handed over by their place among the pieces that come third.
        """
        raw: list[Want] = []
        pieces: list[tuple[Want, int]] = []
        whole: list[tuple[int, int, int]] = []
        each: list[Runs] = []
        filled = 0
        for want in wants:
            if self._goes_straight(want):
                if want.runs is None:
                    whole.append((want.part.offset, want.part.length, filled))
                else:
                    each.append(want.runs.moved(want.part.offset, filled))
                filled += want.nbytes
                raw.append(want)
                continue
            starts, stops = np.array(self._decodings[want].pieces, np.int64).reshape(-1, 2).T
            numbers = np.arange(len(starts))
            each.append(Runs(starts + want.part.offset, stops - starts, ~(numbers + len(pieces))))
            pieces += [(want, number) for number in numbers.tolist()]
        each.append(Runs(*np.array(whole, np.int64).reshape(-1, 3).T))
        return Runs.joined(each), raw, pieces

    def _destination(self, want: Want) -> memoryview:
        memory = allocate(want.nbytes) if want.destination is None else want.destination
        self._loaded[want] = memory
        return memory

    # --- what comes in pieces ----------------------------------------------------------------

    def _goes_straight(self, want: Want) -> bool:
        """Whether bytes go from the wire to where they belong: raw, and not by checked chunks."""
        is_checked = want.runs is not None and self._blobs.checks_slices_of(want.part)
        return want.part.is_raw and not is_checked

    def _pieces_of(self, want: Want, *, at_hand: bool) -> Decoding | Checking | Tiling:
        if want.part.grid is not None:
            budget, limits = self._budget, self._blobs.limits
            tiling = Tiling(want.part, want.axes, want.destination, budget=budget, limits=limits)
            self._outputs[want] = tiling
            return tiling
        chunks = want.part.chunk_digests
        if want.part.is_raw and want.runs is not None and chunks is not None:
            memory = allocate(want.nbytes) if want.destination is None else want.destination
            output = Picking(want.part.length, want.runs, memory)
            self._outputs[want] = output
            return Checking(want.part, chunks, want.runs, output)
        return self._decoding(want, at_hand=at_hand)

    def _decoding(self, want: Want, *, at_hand: bool) -> Decoding:
        part = want.part
        table = self._blobs.seek_tables.known(part)
        length = want.length if table is None else table.decoded_length
        check_decodable(part, length, self._blobs.limits)
        if part.encoding == DEFLATE and want.runs is not None:
            length = int((want.runs.offsets + want.runs.lengths).max())  # no more is decoded
            part = replace(part, decoded_length=length)
        output: Filling | Growing | Picking
        if length is None:
            output = Growing(self._blobs.limits.max_decoded)
        elif want.runs is not None:
            memory = allocate(want.nbytes) if want.destination is None else want.destination
            output = Picking(length, want.runs, memory)
        else:
            output = Filling(length, want.destination)
        self._outputs[want] = output
        covers_decoded = self._covers_decoded(want)
        digest = None if at_hand and not covers_decoded else self._digest(want)
        return Decoding(
            part,
            output,
            decoded_length=want.length,
            table=table,
            frames=_frames(table, want.runs),
            at_hand=at_hand,
            stored=None if covers_decoded else digest,
            decoded=digest if covers_decoded else None,
        )

    def _decode(
        self,
        want: Want,
        decoding: Decoding | Checking | Tiling,
        number: int,
        data: memoryview,
        control: Control | None,
    ) -> None:
        with judging(want, self._blobs.source_of(want.part)):
            if decoding.take(number, data, control):
                swap_bytes(self._outputs[want].memory, want.part)

    # --- digests -----------------------------------------------------------------------------

    def _covers_decoded(self, want: Want) -> bool:
        return self._blobs.manifest.of(want.part).digests_cover_decoded

    def _digest(self, want: Want) -> PartialDigest | None:
        """Return what compares the bytes of a component as they come, if there is anything to."""
        stated = self._stated(want)
        length = want.length if self._covers_decoded(want) else want.part.length
        if stated and not length:
            check_digest(stated, b"")
        return PartialDigest(stated, length) if stated and length else None

    def _stated(self, want: Want) -> str | None:
        """Return what the bytes of a component are compared with, if all of them are to come."""
        if not self._verify or want.runs is not None:
            return None
        return self._blobs.stated_digest(want.part, again=self._again)

    def _check_digest(self, part: Component, data: memoryview) -> None:
        if self._verify:
            self._blobs.check_digest(part, data, again=self._again)


def _frames(table: SeekTable | None, runs: Runs | None) -> Offsets | None:
    """Return the frames that are needed; None for all there may be."""
    if table is None or runs is None:
        return None
    return table.touched(runs.offsets, runs.lengths)


def _needs_table(want: Want) -> bool:
    """Whether the seek table is worth a request: what comes in one piece brings it along."""
    if want.part.is_raw or want.runs is None:
        return comes_in_pieces(want.part)
    is_long = want.length is not None and want.length > FRAME_SIZE
    return is_long and want.part.length > _NOT_WORTH_SEEKING


def swap_bytes(destination: memoryview, part: Component) -> None:
    """Turn big-endian elements into little-endian ones, in place."""
    width = storage_width(part.dtype)
    if part.big_endian and width > 1:
        np.frombuffer(destination, dtype=f"u{width}").byteswap(inplace=True)
