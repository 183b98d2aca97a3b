"""Run a plan: requests side by side, each into the caller's memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from .plan import Request, Runs, plan
from .source import Source

CONNECTIONS = 16
"""Requests under way at the same time, per process."""

MAX_GAP = 256 * 1024
"""Reading this much over costs less than one more round trip on the links we know."""

_Result = TypeVar("_Result")


def fetch(source: Source, runs: Runs, destination: memoryview) -> None:
    """Fill `destination` with `runs` of `source`.

    Parameters
    ----------
    destination : memoryview
        Writable, of format ``"B"``.

    Raises
    ------
    StoreError
        The first failure; requests not yet begun are dropped.
    """
    run_all(
        lambda request=request: _serve(source, request, destination)  # type: ignore[misc]
        for request in plan(runs, wave=CONNECTIONS, max_gap=MAX_GAP)
    )


def _serve(source: Source, request: Request, destination: memoryview) -> None:
    if request.is_direct:
        start = int(request.runs.targets[0])
        source.read_into(request.offset, destination[start : start + request.length])
        return
    scratch = memoryview(bytearray(request.length))
    source.read_into(request.offset, scratch)
    runs = request.runs
    rows = zip(runs.offsets.tolist(), runs.lengths.tolist(), runs.targets.tolist(), strict=True)
    for offset, length, target in rows:
        start = offset - request.offset
        destination[target : target + length] = scratch[start : start + length]


def run_all(tasks: Iterable[Callable[[], _Result]]) -> list[_Result]:
    """Run the tasks side by side and return their results in order.

    A single task runs in the calling thread. The first failure is raised, once all tasks that
    had begun are over, so that nobody writes into memory that the caller may have given up.
    """
    pending = list(tasks)
    if len(pending) <= 1:
        return [task() for task in pending]
    futures: list[Future[_Result]] = [_pool().submit(task) for task in pending]
    _, rest = wait(futures, return_when=FIRST_EXCEPTION)
    for future in rest:
        future.cancel()
    wait(rest)
    for future in futures:
        if not future.cancelled() and (error := future.exception()):
            raise error
    return [future.result() for future in futures]


_pools: dict[int, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    """Return this process's pool: threads don't survive a fork."""
    pid = os.getpid()
    if pid not in _pools:
        _pools.clear()
        _pools[pid] = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="ztensor-fetch")
    return _pools[pid]
