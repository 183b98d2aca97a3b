"""Stored bytes to decoded bytes: fetch, check the digest, decompress, put in native order."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from typing import Self

from ..codecs import check_digest, is_checkable
from ..errors import ClosedError, ZTensorError
from ..manifest import Component, Tensor
from ..manifest.validate import check_alignment
from ..stores import Limits, Source, Stats, run_all
from ..types import Verify
from .loading import Loading, Progress
from .opening import Opened, open_data, open_shard
from .read_plan import ReadPlan, read_plan
from .seeking import SeekTables
from .want import Want


class Blobs:
    """The bytes of one model: its file and the shards its manifest names, or its files.

    Parameters
    ----------
    opened : Opened
    verify : bool or "slices"
        Whether whole components are compared with their digests, and parts with those of chunks.
    limits : Limits
    """

    def __init__(self, opened: Opened, verify: Verify, limits: Limits) -> None:
        self.opened = opened
        self.source = opened.source
        self.manifest = opened.manifest
        self.verify = verify
        self.limits = limits
        self.seek_tables = SeekTables(self.source_of, limits)
        self.closed = False
        self._shards = {name: file.source for name, file in opened.files.items()}
        self._lock = threading.Lock()
        self._verified: set[Component] = set()
        self._held: dict[Component, list[memoryview]] = {}

    def source_of(self, part: Component) -> Source:
        """Return the file that holds the bytes of `part`, opening a shard at its first use."""
        self.check_open()
        if self.manifest.of(part).is_aligned:
            check_alignment(part)
        if part.shard is None:
            return self.source
        with self._lock:
            if part.shard not in self._shards:
                self._shards[part.shard] = self._open_shard(part.shard)
            return self._shards[part.shard]

    def _open_shard(self, name: str) -> Source:
        shard, place = self.manifest.shards[name], self.opened.location_of(name)
        if shard.is_bare:
            return open_data(place, least=shard.size, limits=self.limits)
        return open_shard(place, size=shard.size, limits=self.limits)

    def open_shards(self, parts: Iterable[Component]) -> None:
        """Open the shards that hold these parts side by side, where there are several.

        One that can't be opened is told of when its bytes are asked for.
        """
        self.check_open()
        with self._lock:
            names = {part.shard for part in parts if part.shard} - self._shards.keys()
            if len(names) > 1:
                found = run_all(partial(self._opened_shard, name) for name in sorted(names))
                self._shards.update(source for source in found if source is not None)

    def _opened_shard(self, name: str) -> tuple[str, Source] | None:
        with suppress(ZTensorError):
            return name, self._open_shard(name)
        return None

    def is_exact(self, tensor: Tensor) -> bool:
        """Whether the file of a tensor is of a version that forbids what others let pass."""
        return self.manifest.of_tensor(tensor).is_exact

    def url_of(self, tensor: Tensor) -> str:
        """Return the URL to name for a tensor: that of its file, where there are several."""
        if not self.opened.files:
            return self.source.url
        part = next(iter(tensor.components.values()), None)
        file = self.opened.files.get(str(part.shard)) if part is not None else None
        return self.source.url if file is None else file.source.url

    @property
    def stats(self) -> Stats:
        """What reading all files has cost so far."""
        total = Stats()
        for source in (self.source, *self._shards.values()):
            total.add_all(source.stats)
        return total

    def check_open(self) -> None:
        """Refuse to go on after `close`."""
        if self.closed:
            raise ClosedError("the reader is closed", url=self.source.url)

    def close(self) -> None:
        """Close all files."""
        self.closed = True
        for source in (self.source, *self._shards.values()):
            source.close()

    def view(
        self, part: Component, *, private: bool = False, whole: bool = True
    ) -> memoryview | None:
        """Return the decoded bytes without a copy; None where they must be fetched or decoded.

        They are compared with their digest unless the caller won't use the whole of them.
        """
        if not part.is_raw or part.big_endian:
            return None
        source = self.source_of(part)
        offset = part.offset if part.length else 0  # no bytes may be said to lie anywhere
        view = (source.private_view if private else source.view)(offset, part.length)
        if view is not None and whole and self.verify:
            self.check_digest(part, view)
        return view

    def is_mapped(self, part: Component) -> bool:
        """Whether all of the file that holds `part` is mapped or in memory."""
        return self.source_of(part).view(0, 0) is not None

    def stored_here(self, part: Component) -> memoryview:
        """Return the stored bytes, from first to last, of a file that is mapped or in memory."""
        source = self.source_of(part)
        view = source.view(part.offset, part.span) if part.length else memoryview(b"")
        assert view is not None
        return view

    def load(
        self,
        wants: Sequence[Want],
        *,
        again: bool = False,
        announce: Progress = lambda count: None,
        progress: Progress = lambda count: None,
    ) -> list[memoryview]:
        """Return the decoded bytes of many components, or the wanted ones, little-endian.

        Parameters
        ----------
        wants : sequence of Want
        again : bool
            Compare with the digests whatever the reader was told, and was compared before.
        announce, progress : callable
            Told the stored bytes that are to come, once, and those that have come.

        Raises
        ------
        UnsupportedError, LimitError, FormatError, DigestError, StoreError
        """
        verify = bool(self.verify or again)
        loading = Loading(self, verify=verify, again=again, announce=announce, progress=progress)
        return loading.load(wants)

    def plan(self, wants: Sequence[Want]) -> ReadPlan:
        """Return what `load` would ask for."""
        return read_plan(Loading(self, verify=False, again=False).plan(wants))

    def decoded(self, part: Component, length: int | None) -> memoryview:
        """Return the decoded bytes of one component, little-endian.

        Parameters
        ----------
        part : Component
        length : int or None
            How many bytes they must be; None where neither shape nor manifest tell.
        """
        if self._held.get(part):
            return self._held[part].pop()
        length = part.stated_length if length is None else length
        return self.load([Want(part, length)])[0]

    def holding(self, wants: Sequence[Want], loaded: Sequence[memoryview]) -> Self:
        """Return the same blobs with some at hand, each to be taken once."""
        holder = copy(self)
        holder._held = defaultdict(list)
        for want, memory in zip(wants, loaded, strict=True):
            holder._held[want.part].append(memory)
        return holder

    @property
    def is_holding(self) -> bool:
        """Whether these are blobs of which some are at hand."""
        return bool(self._held)

    def checks_slices_of(self, part: Component) -> bool:
        """Whether parts of a raw component are to be compared with digests, and can be."""
        return self.verify == "slices" and part.chunk_digests is not None

    def stated_digest(self, part: Component, *, again: bool = False) -> str | None:
        """Return what the bytes are to be compared with; None if nothing, or they were before."""
        if part.digest is None:
            return None
        if self._verified and part in self._verified and not again:
            return None
        algorithms = self.manifest.of(part).digest_algorithms
        return part.digest if is_checkable(part.digest, algorithms) else None

    def check_digest(self, part: Component, data: memoryview, *, again: bool = False) -> None:
        """Compare with the digest; bytes that can't have changed since are not read twice."""
        stated = self.stated_digest(part, again=again)
        if stated is not None:
            check_digest(stated, data)
            if self.is_mapped(part):
                self._verified.add(part)
