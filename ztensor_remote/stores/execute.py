"""Do fetches side by side, within bounds, until all are done or one has failed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .budget import Budget
from .control import Cancelled, Control
from .hedge import read_hedged
from .limits import Limits
from .source import Source

MOST_THREADS = 128

_SIDE_BY_SIDE = 16

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Fetch:
    """One range of an object and what becomes of its bytes.

    Attributes
    ----------
    source : Source
    offset, length : int
    pieces : sequence of memoryview or None
        Memory that the range fills from front to back; None if the bytes go through memory that
        is borrowed for as long as `use` takes.
    use : callable
        Called once all bytes are there, with the borrowed memory or with none, and with the
        control of the run, for those that have to wait for others.
    wanted : int
        Bytes that the caller asked for; the rest was read over.
    """

    source: Source
    offset: int
    length: int
    pieces: Sequence[memoryview] | None
    use: Callable[[memoryview, Control], object]
    wanted: int


def run(
    fetches: Iterable[Fetch],
    *,
    workers: int,
    limits: Limits,
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Do the fetches, begun in their order.

    Parameters
    ----------
    workers : int
        How many at the same time.
    limits : Limits
    progress : callable
        Told the wanted bytes of each fetch that is done, one call at a time.

    Raises
    ------
    ZTensorError
        The first failure. Everything has ended by then: nobody still writes into memory that the
        caller may have given up.
    """
    _Run(iter(fetches), limits, progress).with_workers(workers)


class _Run:
    def __init__(
        self, fetches: Iterator[Fetch], limits: Limits, progress: Callable[[int], object]
    ) -> None:
        self._fetches = fetches
        self._limits = limits
        self._progress = progress
        self._control = Control(limits.deadline)
        self._budget = Budget(limits.in_flight)
        self._turn = threading.Lock()
        self._told = threading.Lock()
        self._failure: BaseException | None = None
        self._next: Fetch | None = None
        self._helpers: list[Future[None]] = []
        self._more = 0

    def with_workers(self, count: int) -> None:
        self._more = count - 1
        try:
            self._next = next(self._fetches, None)
            self._work()
            self._join_helpers()
        except BaseException as error:  # an interrupt, for the rest is told by _fail
            self._fail(error)
            self._join_helpers()
        if self._failure is not None:
            raise self._failure

    def _join_helpers(self) -> None:
        with self._turn:  # from now on none is added
            self._more = 0
        _join(self._helpers)

    def _work(self) -> None:
        while (fetch := self._begin()) is not None:
            try:
                self._do(fetch)
                with self._told:
                    self._progress(fetch.wanted)
            except Cancelled:
                return
            except BaseException as error:
                self._fail(error)
                return

    def _begin(self) -> Fetch | None:
        """Take the next fetch, and what memory it borrows: in order, so that the oldest has it."""
        with self._turn:
            if self._failure is not None:
                return None
            try:
                fetch, self._next = self._next, next(self._fetches, None)
                if self._next is not None and self._more:  # one that has work, not all there may be
                    self._more -= 1
                    self._helpers.append(_pool().submit(self._work))
                if fetch is not None and fetch.pieces is None:
                    self._budget.borrow(fetch.length, self._control)
            except Cancelled:
                return None
            except BaseException as error:
                self._fail(error)
                return None
            return fetch

    def _do(self, fetch: Fetch) -> None:
        if fetch.pieces is not None:
            self._read(fetch, fetch.pieces)
            fetch.use(memoryview(b""), self._control)
            return
        try:
            borrowed = np.empty(fetch.length, np.uint8).data
            self._read(fetch, [borrowed])
            fetch.use(borrowed, self._control)
        finally:
            self._budget.give_back(fetch.length)

    def _read(self, fetch: Fetch, pieces: Sequence[memoryview]) -> None:
        source, offset, after = fetch.source, fetch.offset, self._limits.hedge_after
        if after is None:
            source.read_into(offset, *pieces, control=self._control)
        else:
            read_hedged(source, offset, pieces, after=after, control=self._control)

    def _fail(self, error: BaseException) -> None:
        with self._told:
            if self._failure is None:
                self._failure = error
        self._control.cancel()


def run_all(tasks: Iterable[Callable[[], _Result]], *, most: int = _SIDE_BY_SIDE) -> list[_Result]:
    """Run tasks side by side, `most` at a time, and return their results in order."""
    pending = list(tasks)
    results: dict[int, _Result] = {}
    numbers = iter(range(len(pending)))
    turn = threading.Lock()

    def work() -> None:
        while True:
            with turn:
                number = next(numbers, None)
            if number is None:
                return
            results[number] = pending[number]()

    # A future costs more than many a task.
    helpers = [_pool().submit(work) for _ in range(min(len(pending), most, MOST_THREADS) - 1)]
    try:
        work()
        for helper in helpers:
            helper.result()
    finally:
        with turn:
            numbers = iter(())
        _join(helpers)
    return [results[number] for number in range(len(pending))]


def _join(futures: Sequence[Future[_Result]]) -> None:
    """Wait until none of them runs any more; those that have not begun never will."""
    for future in futures:
        future.cancel()
    wait(futures)


_pools: dict[int, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    """Return this process's pool: threads don't survive a fork."""
    pid = os.getpid()
    if pid not in _pools:
        _pools.clear()
        _pools[pid] = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="ztensor-fetch")
    return _pools[pid]
