"""Load many components at once: planned together, checked and decoded while others travel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..codecs import decode_all, is_checkable
from ..errors import FormatError, LimitError, UnsupportedError, located
from ..manifest import ZSTD, ZSTD_SEEKABLE, Component
from ..manifest.dtypes import storage_width
from ..manifest.validate import check_expansion
from ..stores import Fetch, Runs, Source, fetches_of, fill, forget, run_all, transfer
from .memory import allocate
from .want import Arrival, Want

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
        self._loaded: dict[Want, memoryview] = {}

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
            with _located(want):
                self._check(want)
                source = self._blobs.source_of(want.part)
            is_copied = want.part.is_raw and want.destination is not None
            is_shown = source.view(0, 0) is not None and not is_copied
            is_here = not want.part.length or is_shown
            (here if is_here else by_source[source]).append(want)
        run_all(partial(self._take, want) for want in here)
        by_source = {source: self._shown(source, group) for source, group in by_source.items()}
        if any(by_source.values()):
            fetches = self._fetches(by_source)
            transfer(fetches, by_source, limits=self._blobs.limits, progress=self._progress)
        return [self._loaded[want] for want in wants]

    def _check(self, want: Want) -> None:
        part, limit = want.part, self._blobs.limits.max_decoded
        if part.is_raw:
            return
        if part.encoding not in (ZSTD, ZSTD_SEEKABLE):
            raise UnsupportedError(
                f"encoding {part.encoding!r} is unknown; the stored bytes can't be decoded"
            )
        if want.length is None:
            return
        check_expansion(part, want.length, "the component")
        if want.length > limit:
            raise LimitError(
                f"decoding it needs {want.length} bytes, the limit is {limit}; if the file is "
                "trusted, open it with limits=Limits(max_decoded=...)"
            )

    # --- what is in memory, or mapped --------------------------------------------------------

    def _take(self, want: Want) -> None:
        with _located(want):
            stored = self._blobs.stored_here(want.part)
            self._use(want, stored)
        self._progress(want.part.length)

    # --- what a cache keeps ------------------------------------------------------------------

    def _shown(self, source: Source, wants: list[Want]) -> list[Want]:
        """Load what a cache has or can have as it is stored, and return the rest."""
        fit = [want for want in wants if want.part.is_raw]
        limits = self._blobs.limits
        if not fit or not fill(source, _runs_of(fit), limits=limits, progress=self._progress):
            return wants
        shown = run_all(partial(self._show, source, want) for want in fit)
        done = {want for want, is_shown in zip(fit, shown, strict=True) if is_shown}
        return [want for want in wants if want not in done]

    def _show(self, source: Source, want: Want) -> bool:
        view = source.view(want.part.offset, want.part.length)
        if view is None:
            return False
        with self._judging(want):
            self._use(want, view)
        return True

    # --- what has to be fetched --------------------------------------------------------------

    def _fetches(self, by_source: dict[Source, list[Want]]) -> Iterator[Fetch]:
        for source, wants in by_source.items():
            yield from self._fetches_raw(source, [want for want in wants if want.part.is_raw])
            for want in wants:
                if not want.part.is_raw:
                    yield self._fetch_whole(source, want)

    def _fetches_raw(self, source: Source, wants: list[Want]) -> Iterable[Fetch]:
        arrivals = [Arrival(want, self._destination(want), self._digest(want)) for want in wants]
        if not arrivals:
            return []

        def landed(index: int, start: int, stop: int) -> None:
            arrival = arrivals[index]
            with self._judging(arrival.want):
                is_last = arrival.landed(start, stop)
            if is_last:
                swap_bytes(arrival.destination, arrival.want.part)

        destinations = [arrival.destination for arrival in arrivals]
        return fetches_of(
            source, _runs_of(wants), destinations, limits=self._blobs.limits, landed=landed
        )

    def _destination(self, want: Want) -> memoryview:
        memory = want.destination
        if memory is None:
            memory = allocate(want.part.length)
        self._loaded[want] = memory
        return memory

    def _fetch_whole(self, source: Source, want: Want) -> Fetch:
        part = want.part

        def decode(stored: memoryview) -> None:
            with self._judging(want):
                self._decode(want, stored)

        return Fetch(source, part.offset, part.length, None, decode, part.length)

    # --- bytes that are there ----------------------------------------------------------------

    def _use(self, want: Want, stored: memoryview) -> None:
        """Take stored bytes that stay where they are, as they are or decoded."""
        if want.part.is_raw and not want.part.big_endian and want.destination is None:
            self._check_digest(want.part, stored)
            self._loaded[want] = stored
        else:
            self._decode(want, stored)

    def _decode(self, want: Want, stored: memoryview) -> None:
        """Turn all stored bytes of a component into decoded ones, and check them."""
        part = want.part
        covers_decoded = self._blobs.manifest.digests_cover_decoded
        if not covers_decoded:
            self._check_digest(part, stored)
        decoded = self._decoded(want, stored)
        if covers_decoded:
            self._check_digest(part, decoded)
        swap_bytes(decoded, part)
        self._loaded[want] = decoded

    def _decoded(self, want: Want, stored: memoryview) -> memoryview:
        if want.length is None:
            return memoryview(decode_all(stored, limit=self._blobs.limits.max_decoded))
        memory = allocate(want.length) if want.destination is None else want.destination
        self._blobs.decode(want.part, stored, memory)
        return memory

    @contextmanager
    def _judging(self, want: Want) -> Iterator[None]:
        """Have bytes that turn out to be wrong fetched anew the next time, not kept."""
        try:
            with _located(want):
                yield
        except FormatError:
            part = want.part
            forget(self._blobs.source_of(part), part.offset, part.length)
            raise

    def _digest(self, want: Want) -> str | None:
        """Return the digest that raw bytes must have, if they are to be compared with one."""
        digest = want.part.digest
        if not self._verify or digest is None:
            return None
        return digest if is_checkable(digest, self._blobs.manifest.digest_algorithms) else None

    def _check_digest(self, part: Component, data: memoryview) -> None:
        if self._verify:
            self._blobs.check_digest(part, data, again=self._again)


def _runs_of(wants: Sequence[Want]) -> Runs:
    """Return the stored bytes of components, one after another."""
    offsets = np.array([want.part.offset for want in wants], np.int64)
    lengths = np.array([want.part.length for want in wants], np.int64)
    return Runs(offsets, lengths, np.cumsum(lengths) - lengths)


def _located(want: Want) -> AbstractContextManager[None]:
    return located(tensor=want.tensor, component=want.role)


def swap_bytes(destination: memoryview, part: Component) -> None:
    """Turn big-endian elements into little-endian ones, in place."""
    width = storage_width(part.dtype)
    if part.big_endian and width > 1:
        np.frombuffer(destination, dtype=f"u{width}").byteswap(inplace=True)
