"""Which bytes of a file move together, without passing through here: runs of whole blobs. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..container import alignment_of
from ..stores import Source
from .feed import StoredBlob

SHORTEST = 10 << 20
"""Bytes of a run: up to 5 MiB of it may have to be sent to fill up a part."""

MOST = 1000
"""Runs, the longest of all: an upload has 10,000 parts, of which each takes a few."""

MOST_DEAD = 0.05
"""Of an object that is copied as a whole: its manifest, and what earlier generations have left."""

_COARSEST = 65536


@dataclass(eq=False, slots=True)
class Run:
    """Blobs of one file, and what lies between them.

    Attributes
    ----------
    source : Source
    start, stop : int
        Offsets in it.
    ahead : int
        How far behind the start the first place is that has to be aligned.
    target : int or None
        Where it begins in the new file, once that is known.
    """

    source: Source
    start: int
    stop: int
    ahead: int = 0
    target: int | None = None


def runs_of(blobs: Iterable[StoredBlob], alignment: int) -> dict[StoredBlob, Run]:
    """Return the run of each blob that is in one.

    Parameters
    ----------
    blobs : iterable of StoredBlob
    alignment : int
        Of each blob in the new file.
    """
    runs = [joined for each in _by_source(blobs) for joined in _joined(each, alignment)]
    runs.sort(key=lambda joined: joined[0].start - joined[0].stop)
    return {
        blob: run
        for run, members in runs[:MOST]
        if run.stop - run.start >= SHORTEST
        for blob in members
    }


def objects_of(
    blobs: Iterable[StoredBlob], chosen: set[StoredBlob], alignment: int
) -> dict[StoredBlob, Run]:
    """Return the run of each blob whose whole object can be taken.

    All blobs of that must have been chosen, so that nothing comes along that was not, and nearly
    all of its bytes be of blobs that stay.

    Parameters
    ----------
    blobs : iterable of StoredBlob
        That stay as they are stored.
    chosen : set of StoredBlob
        Those, and the others that the new file is made of.
    alignment : int
        Of each blob in the new file.
    """
    return {
        blob: run
        for each in _by_source(blobs)
        if chosen.issuperset(_beside(each[0]))
        for run, members in [_whole(each, alignment)]
        if _is_worth_it(run, members)
        for blob in members
    }


def _whole(blobs: list[StoredBlob], alignment: int) -> tuple[Run, list[StoredBlob]]:
    """Return the object as a run, and the blobs that are aligned when most bytes are."""
    weights = Counter[int]()
    for blob in blobs:
        weights[blob.part.offset % alignment] += blob.part.length
    ahead = max(weights, key=weights.__getitem__)
    run = Run(blobs[0].source, 0, blobs[0].source.identity.size, ahead)
    return run, [blob for blob in blobs if blob.part.offset % alignment == ahead]


def _is_worth_it(run: Run, members: list[StoredBlob]) -> bool:
    size = run.stop - run.start
    used = sum(length for _, length in {(each.part.offset, each.part.length) for each in members})
    return used >= SHORTEST and size - used <= MOST_DEAD * size


def _beside(blob: StoredBlob) -> Iterator[StoredBlob]:
    """Yield all blobs of the file or shard that holds this one."""
    for tensor in blob.blobs.manifest.tensors.values():
        for part in tensor.components.values():
            if part.shard == blob.part.shard:
                yield StoredBlob(blob.blobs, part)


def _by_source(blobs: Iterable[StoredBlob]) -> Iterable[list[StoredBlob]]:
    """Return the blobs of each file, but for those that are empty."""
    by_source: dict[int, list[StoredBlob]] = defaultdict(list)
    for blob in blobs:
        if blob.part.length:
            by_source[id(blob.source)].append(blob)
    return by_source.values()


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
    offsets = [beside.part.offset for beside in _beside(blob) if beside.part.length]
    return alignment_of(offsets, floor=1, ceiling=_COARSEST) - 1
