"""Which bytes of a file are alive, and where they go when it is written anew. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..container import align_up
from ..container.footer import HEADER_SIZE
from ..manifest import Component, Manifest, Tensor


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes that move together: blobs, and the padding between them.

    Attributes
    ----------
    start, stop : int
        In the file as it is.
    target : int
        Offset in the new one.
    """

    start: int
    stop: int
    target: int

    @property
    def end(self) -> int:
        """Where it stops in the new file."""
        return self.target + self.stop - self.start


def live_runs(manifest: Manifest, alignment: int) -> list[Run]:
    """Return the runs of a file's own blobs, in order, each byte once."""
    runs: list[Run] = []
    for start, stop in _live_ranges(manifest):
        end = runs[-1].end if runs else HEADER_SIZE
        # A blob that is not aligned, which 1.x readers refuse, does not become so.
        target = align_up(end, alignment) + start % alignment
        last = runs[-1] if runs else None
        if last and target - start == last.target - last.start:
            runs[-1] = replace(last, stop=stop)
        else:
            runs.append(Run(start, stop, target))
    return runs


def _live_ranges(manifest: Manifest) -> Iterator[tuple[int, int]]:
    """Yield the ranges that blobs take, those that overlap as one."""
    ranges = sorted(
        (part.offset, part.offset + part.length)
        for tensor in manifest.tensors.values()
        for part in tensor.components.values()
        if part.shard is None and part.length
    )
    if not ranges:
        return
    start, stop = ranges[0]
    for following, end in ranges[1:]:
        if following < stop:
            stop = max(stop, end)
        else:
            yield start, stop
            start, stop = following, end
    yield start, stop


def moved(tensor: Tensor, runs: list[Run], alignment: int) -> Tensor:
    """Return a tensor whose own blobs lie where the runs have taken them."""
    starts = [run.start for run in runs]

    def target_of(part: Component) -> int:
        if not part.length:
            return align_up(HEADER_SIZE, alignment)
        run = runs[bisect_right(starts, part.offset) - 1]
        return run.target + part.offset - run.start

    parts = {
        role: part if part.shard is not None else replace(part, offset=target_of(part))
        for role, part in tensor.components.items()
    }
    return replace(tensor, components=parts)
