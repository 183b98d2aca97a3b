"""Move runs of objects into memory: planned, side by side, within the caller's limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from .execute import Fetch, run
from .landing import HandedOver, Landed, Landing
from .limits import Limits
from .plan import Request, Runs, plan
from .source import Keeper, Source


def plan_for(
    source: Source, runs: Runs, *, limits: Limits, in_order: bool = False
) -> list[Request]:
    """Return the requests that fetch runs of a source, as the way to it is known.

    Those for runs that the source keeps ask for nothing else, so that they cost nothing; unless all
    have to be in the order of their offsets, for runs that wait for each other.
    """
    costs = source.link.costs(connections=limits.connections)
    if not isinstance(source, Keeper):
        return plan(runs, costs)
    if in_order:
        return plan(runs, costs, grain=source.grain)
    kept, missing = source.split(runs)
    # Without latency no gap is worth reading over, but for those inside what is read anyway.
    nearby = plan(kept, replace(costs, latency=0, overhead=0), grain=source.grain)
    return nearby + plan(missing, costs, grain=source.grain)


def fetches_of(
    source: Source,
    runs: Runs,
    destinations: Sequence[memoryview],
    *,
    limits: Limits,
    landed: Landed | None = None,
    handed_over: HandedOver | None = None,
    in_order: bool = False,
) -> Iterable[Fetch]:
    """Return the fetches that bring runs of a source to their destinations.

    Parameters
    ----------
    runs : Runs
        Their targets are positions in all destinations, laid one after another.
    destinations : sequence of memoryview
    landed : callable, optional
        Told the destination and the span of the bytes that are there.
    handed_over : callable, optional
        Given the runs that have no place.
    in_order : bool
        Whether one of them may wait for those before it.
    """
    requests = plan_for(source, runs, limits=limits, in_order=in_order)
    return Landing(destinations, landed, handed_over).fetches(source, requests)


def transfer(
    fetches: Iterable[Fetch],
    sources: Iterable[Source],
    *,
    limits: Limits,
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Do fetches of some sources, and learn from them.

    Raises
    ------
    ZTensorError
        The first failure; see `run`.
    """
    sources = list(sources)
    costs = [source.link.costs(connections=limits.connections) for source in sources]
    before, start = [source.stats.bytes for source in sources], time.perf_counter()
    workers = max((each.connections for each in costs), default=1)
    run(fetches, workers=workers, limits=limits, progress=progress)
    seconds = time.perf_counter() - start
    for source, bytes_before in zip(sources, before, strict=True):
        source.link.moved(source.stats.bytes - bytes_before, seconds)


def fill(
    source: Source,
    runs: Runs,
    *,
    limits: Limits,
    progress: Callable[[int], object] = lambda count: None,
) -> bool:
    """Bring runs to where `Source.view` shows them.

    Returns
    -------
    bool
        Whether the source has such a place. There may be no room in it for all of them.

    Raises
    ------
    ZTensorError
    """
    if not isinstance(source, Keeper):
        return False
    kept, missing = source.split(runs)
    nbytes = int(kept.lengths.sum())
    source.stats.add_cached(nbytes)
    if source.has_room(int(missing.lengths.sum())):
        progress(nbytes)
        requests = plan_for(source, missing, limits=limits)
        fetches = (
            Fetch(source, each.offset, each.length, None, lambda *_: None, each.wanted)
            for each in requests
        )
        transfer(fetches, [source], limits=limits, progress=progress)
    return True


def fetch(source: Source, runs: Runs, destination: memoryview, *, limits: Limits) -> None:
    """Fill one destination with runs of one source.

    Raises
    ------
    ZTensorError
    """
    transfer(fetches_of(source, runs, [destination], limits=limits), [source], limits=limits)


def forget(source: Source, offset: int, length: int) -> None:
    """Have wrong bytes fetched anew when they are next read, if the source kept them."""
    if isinstance(source, Keeper):
        source.forget(offset, length)
