"""Move runs of objects into memory: planned, side by side, within the caller's limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from .execute import Fetch, run
from .landing import Landed, Landing
from .limits import Limits
from .plan import Request, Runs, plan
from .source import Source


def plan_for(source: Source, runs: Runs, *, limits: Limits) -> list[Request]:
    """Return the requests that fetch runs of a source, as the way to it is known."""
    return plan(runs, source.link.costs(connections=limits.connections))


def fetches_of(
    source: Source,
    runs: Runs,
    destinations: Sequence[memoryview],
    *,
    limits: Limits,
    landed: Landed | None = None,
) -> Iterable[Fetch]:
    """Return the fetches that bring runs of a source to their destinations.

    Parameters
    ----------
    runs : Runs
        Their targets are positions in all destinations, laid one after another.
    destinations : sequence of memoryview
    landed : callable, optional
        Told the destination and the span of the bytes that are there.
    """
    requests = plan_for(source, runs, limits=limits)
    return Landing(destinations, landed).fetches(source, requests)


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


def fetch(source: Source, runs: Runs, destination: memoryview, *, limits: Limits) -> None:
    """Fill one destination with runs of one source.

    Raises
    ------
    ZTensorError
    """
    transfer(fetches_of(source, runs, [destination], limits=limits), [source], limits=limits)
