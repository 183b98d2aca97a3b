"""Many mutated files, in worker processes whose death is a finding too."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Self

from tests.servers.http import HttpServer

from .worker import Report, serve

_SILENCE = 60.0
"""Seconds after which a worker that says nothing is taken for hung in C code."""

_WARM_UP = 300.0
"""Seconds until a worker is ready, on a machine that does much else."""


class WorkerError(Exception):
    """A worker can't be started: nothing can be examined."""


def run_cases(seeds: Sequence[int], *, jobs: int = 1) -> Iterator[Report]:
    """Examine the cases of these numbers; yield what became of each, as it ends.

    Raises
    ------
    WorkerError
        A worker dies before it is ready, or does not become so.
    """
    with tempfile.TemporaryDirectory() as folder, HttpServer(Path(folder)) as server:
        reports: SimpleQueue[Report | Exception] = SimpleQueue()

        def examine(share: Iterable[int]) -> None:
            try:
                with Worker(server.url, folder) as worker:
                    for seed in share:
                        reports.put(worker.examine(seed))
            except Exception as error:  # whoever waits for the reports has to know
                reports.put(error)

        threads = [Thread(target=examine, args=(seeds[n::jobs],), daemon=True) for n in range(jobs)]
        for thread in threads:
            thread.start()
        for _ in seeds:
            report = reports.get()
            if isinstance(report, Exception):
                raise report
            yield report
        for thread in threads:
            thread.join()


class Worker:
    """A process that examines cases; a new one takes over where it dies."""

    def __init__(self, http: str, folder: str) -> None:
        self._arguments = (http, folder)
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._channel, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, *self._arguments), daemon=True)
        with _few_arenas():
            self._process.start()
        theirs.close()
        problem = self._warmed_up()
        if problem is not None:
            self._stop()
            raise WorkerError(f"a worker {problem}, before its first case")

    def _warmed_up(self) -> str | None:
        """Wait until the process is ready; return why it is not."""
        try:
            if not self._channel.poll(_WARM_UP):
                return f"was not ready in {_WARM_UP} s"
            self._channel.recv()
        except (EOFError, OSError):
            self._process.join()
            return f"died: exit code {self._process.exitcode}"
        return None

    def examine(self, seed: int) -> Report:
        """Return what becomes of a case."""
        channel: Connection = self._channel
        try:
            channel.send(seed)
            if channel.poll(_SILENCE):
                report: Report = channel.recv()
                return report
            problem = f"no answer in {_SILENCE} s"
        except (EOFError, OSError):
            self._process.join()
            problem = f"the worker died: exit code {self._process.exitcode}"
        self._stop()
        self._start()
        return Report(seed, "FAILED: worker", problem)

    def _stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._channel.send(None)
            self._process.join(_SILENCE)
        finally:
            self._stop()


@contextmanager
def _few_arenas() -> Iterator[None]:
    """Keep malloc from reserving 64 MiB of addresses for each thread of a process started here."""
    os.environ["MALLOC_ARENA_MAX"] = "2"
    try:
        yield
    finally:
        del os.environ["MALLOC_ARENA_MAX"]
