"""Which bytes of a file move together, without passing through here: runs of whole blobs. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..container import alignment_of
from ..stores import Source
from .feed import StoredBlob

SHORTEST = 10 << 20
"""Bytes of a run: up to 5 MiB of it may have to be sent to fill up a part."""

MOST = 1000
"""Runs, the longest of all: an upload has 10,000 parts, of which each takes a few."""

_COARSEST = 65536


@dataclass(eq=False, slots=True)
class Run:
    """Blobs of one file, and the padding between them.

    Attributes
    ----------
    source : Source
    start, stop : int
        Offsets in it.
    target : int or None
        Where it begins in the new file, once that is known.
    """

    source: Source
    start: int
    stop: int
    target: int | None = None


def runs_of(blobs: Iterable[StoredBlob], alignment: int) -> dict[StoredBlob, Run]:
    """Return the run of each blob that is in one.

    Parameters
    ----------
    blobs : iterable of StoredBlob
    alignment : int
        Of each blob in the new file.
    """
    by_source: dict[int, list[StoredBlob]] = defaultdict(list)
    for blob in blobs:
        if blob.part.length:
            by_source[id(blob.source)].append(blob)
    runs = [joined for each in by_source.values() for joined in _joined(each, alignment)]
    runs.sort(key=lambda joined: joined[0].start - joined[0].stop)
    return {
        blob: run
        for run, members in runs[:MOST]
        if run.stop - run.start >= SHORTEST
        for blob in members
    }


def _joined(blobs: list[StoredBlob], alignment: int) -> Iterator[tuple[Run, list[StoredBlob]]]:
    blobs.sort(key=lambda blob: blob.part.offset)
    gap = _padding_in(blobs[0])
    run, members = None, list[StoredBlob]()
    for blob in blobs:
        start, stop = blob.part.offset, blob.part.offset + blob.part.length
        if run is None or start - run.stop > gap or (start - run.start) % alignment:
            if run is not None:
                yield run, members
            run, members = Run(blob.source, start, stop), []
        run.stop = max(run.stop, stop)
        members.append(blob)
    if run is not None:
        yield run, members


def _padding_in(blob: StoredBlob) -> int:
    """Return the most bytes of padding in the file or shard that holds this blob.

    In a gap that is shorter than the alignment no other blob can lie. Other formats may have what
    is theirs there.
    """
    manifest = blob.blobs.manifest
    if not (manifest.is_aligned or manifest.is_exact):
        return 0
    offsets = [
        part.offset
        for tensor in manifest.tensors.values()
        for part in tensor.components.values()
        if part.shard == blob.part.shard and part.length
    ]
    return alignment_of(offsets, floor=1, ceiling=_COARSEST) - 1
