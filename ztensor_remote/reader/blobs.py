"""Stored bytes to decoded bytes: fetch, check the digest, decompress, put in native order."""

from __future__ import annotations

import threading

import numpy as np

from ..codecs import (
    check_digest,
    decode_all,
    decode_maybe_seekable,
    decode_seekable,
    is_checkable,
)
from ..errors import ClosedError, LimitError, UnsupportedError
from ..manifest import ZSTD, ZSTD_SEEKABLE, Component, Manifest
from ..manifest.dtypes import storage_width
from ..manifest.validate import check_alignment, check_expansion
from ..stores import Limits, Location, Runs, Source, Stats, fetch
from .opening import open_shard


class Blobs:
    """The bytes of one model: its file and the shards its manifest names.

    Parameters
    ----------
    location : Location
    source : Source
        The file itself.
    manifest : Manifest
    verify : bool
        Whether whole components are compared with their digests.
    limits : Limits
    """

    def __init__(
        self, location: Location, source: Source, manifest: Manifest, verify: bool, limits: Limits
    ) -> None:
        self.location = location
        self.source = source
        self.manifest = manifest
        self.verify = verify
        self.limits = limits
        self.closed = False
        self._shards: dict[str, Source] = {}
        self._lock = threading.Lock()
        self._verified: set[Component] = set()

    def source_of(self, part: Component) -> Source:
        """Return the file that holds the bytes of `part`, opening a shard at its first use."""
        self.check_open()
        if not self.manifest.is_exact:
            check_alignment(part)
        if part.shard is None:
            return self.source
        with self._lock:
            if part.shard not in self._shards:
                name = f"{self.location.stem}-{part.shard}.zt"
                self._shards[part.shard] = open_shard(
                    self.location.sibling(name),
                    size=self.manifest.shards[part.shard].size,
                    limits=self.limits,
                )
            return self._shards[part.shard]

    @property
    def stats(self) -> Stats:
        """What reading all files has cost so far."""
        each = [source.stats for source in (self.source, *self._shards.values())]
        return Stats(sum(stats.requests for stats in each), sum(stats.bytes for stats in each))

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
        if view is not None and whole:
            self._check(part, view)
        return view

    def stored(self, part: Component) -> memoryview:
        """Return the stored bytes."""
        source = self.source_of(part)
        if not part.length:
            return memoryview(b"")
        view = source.view(part.offset, part.length)
        if view is None:
            view = np.empty(part.length, np.uint8).data
            source.read_into(part.offset, view)
        return view

    def decoded(self, part: Component, length: int | None) -> memoryview:
        """Return the decoded bytes, little-endian.

        Parameters
        ----------
        part : Component
        length : int or None
            How many bytes they must be; None where neither shape nor manifest tell.
        """
        length = part.stated_length if length is None else length
        if length is None:
            stored = self._stored_checked(part)
            decoded = memoryview(decode_all(stored, limit=self.limits.max_decoded))
            self._check_decoded(part, decoded)
            return decoded
        self._check_size(part, length)
        view = self.view(part)
        if view is not None:
            return view
        destination = np.empty(length, np.uint8).data
        self.decode_into(part, destination)
        return destination

    def decode_into(self, part: Component, destination: memoryview) -> None:
        """Fill `destination` with the decoded bytes, which must be as many."""
        self._check_size(part, len(destination))
        if part.is_raw:
            self.source_of(part).read_into(part.offset, destination)
            self._check(part, destination)
            if part.big_endian:
                swap_bytes(destination, part)
            return
        decode = decode_seekable if part.encoding == ZSTD_SEEKABLE else decode_maybe_seekable
        decode(self._stored_checked(part), destination)
        self._check_decoded(part, destination)

    def fetch(self, part: Component, runs: Runs, destination: memoryview) -> None:
        """Fill `destination` with runs of a raw component; offsets are relative to it."""
        moved = Runs(runs.offsets + part.offset, runs.lengths, runs.targets)
        fetch(self.source_of(part), moved, destination)
        if part.big_endian:
            swap_bytes(destination, part)

    def _stored_checked(self, part: Component) -> memoryview:
        if part.encoding not in (ZSTD, ZSTD_SEEKABLE):
            raise UnsupportedError(
                f"encoding {part.encoding!r} is unknown; the stored bytes can't be decoded"
            )
        stored = self.stored(part)
        if not self.manifest.digests_cover_decoded:
            self._check(part, stored)
        return stored

    def _check_decoded(self, part: Component, decoded: memoryview) -> None:
        if self.manifest.digests_cover_decoded:
            self._check(part, decoded)

    def _check(self, part: Component, data: memoryview) -> None:
        """Compare with the digest; bytes that can't have changed since are not read twice."""
        if not self.verify or part.digest is None or part in self._verified:
            return
        if is_checkable(part.digest, self.manifest.digest_algorithms):
            check_digest(part.digest, data)
        if self.source_of(part).view(0, 0) is not None:
            self._verified.add(part)

    def _check_size(self, part: Component, length: int) -> None:
        if part.is_raw:
            return
        check_expansion(part, length, "the component")
        if length > self.limits.max_decoded:
            raise LimitError(
                f"decoding it needs {length} bytes, the limit is {self.limits.max_decoded}; if "
                "the file is trusted, open it with limits=Limits(max_decoded=...)"
            )


def swap_bytes(destination: memoryview, part: Component) -> None:
    """Turn big-endian elements into little-endian ones, in place."""
    width = storage_width(part.dtype)
    if width > 1:
        np.frombuffer(destination, dtype=f"u{width}").byteswap(inplace=True)
