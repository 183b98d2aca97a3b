"""Find the seek tables of compressed components, whose frames can then be read by themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ..codecs import SeekTable, likely_table_length, read_table, table_length
from ..errors import FormatError
from ..manifest import FRAMED, ZSTD_SEEKABLE, Component
from ..stores import Fetch, Limits, Runs, Source, fetches_of, transfer
from .want import Want, judging


def read_table_of(part: Component, tail: memoryview, decoded: int | None) -> SeekTable | None:
    """Return the table at the end of a component; None where it has none, and needs none.

    Raises
    ------
    FormatError
        The encoding demands one.
    """
    if part.encoding not in FRAMED:
        return None
    try:
        return read_table(tail, part.length, decoded)
    except FormatError:
        if part.encoding == ZSTD_SEEKABLE:
            raise
        return None


class SeekTables:
    """The tables that a model's components turned out to have, or not to have.

    Parameters
    ----------
    source_of : callable
        Gives the file that holds a component.
    limits : Limits
    """

    def __init__(self, source_of: Callable[[Component], Source], limits: Limits) -> None:
        self._source_of = source_of
        self._limits = limits
        self._known: dict[Component, SeekTable | None] = {}

    def known(self, part: Component) -> SeekTable | None:
        """Return the table that was found."""
        return self._known.get(part)

    def find(self, wants: Sequence[Want]) -> None:
        """Find the tables of components, by one request each where they are not known.

        Raises
        ------
        FormatError, StoreError
        """
        new = {
            want.part: want
            for want in wants
            if want.part not in self._known and want.part.encoding in FRAMED
        }
        lengths = {
            part: likely_table_length(part.length, want.length) for part, want in new.items()
        }
        tails = self._fetch(lengths)
        longer = {part: _stated_length(tail) for part, tail in tails.items()}
        tails |= self._fetch(
            {part: size for part, size in longer.items() if lengths[part] < size <= part.length}
        )
        for part, want in new.items():
            with judging(want, self._source_of(part)):
                self._known[part] = read_table_of(part, tails[part], want.length)

    def _fetch(self, lengths: Mapping[Component, int]) -> dict[Component, memoryview]:
        """Return so many last bytes of each component."""
        tails = {part: np.empty(length, np.uint8).data for part, length in lengths.items()}
        by_source: dict[Source, list[Component]] = defaultdict(list)
        for part in tails:
            by_source[self._source_of(part)].append(part)

        def fetches() -> Iterator[Fetch]:
            for source, parts in by_source.items():
                sizes = np.array([lengths[part] for part in parts], np.int64)
                ends = np.array([part.offset + part.length for part in parts], np.int64)
                runs = Runs(ends - sizes, sizes, np.cumsum(sizes) - sizes)
                memory = [tails[part] for part in parts]
                yield from fetches_of(source, runs, memory, limits=self._limits)

        if tails:
            transfer(fetches(), by_source, limits=self._limits)
        return tails


def _stated_length(tail: memoryview) -> int:
    try:
        return table_length(tail)
    except FormatError:
        return 0
