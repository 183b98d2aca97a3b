"""A process that examines one mutated file after another, each within time and memory."""

from __future__ import annotations

import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import typer.main

import ztensor_remote as zt

from .examine import examine
from .foreign import FOREIGN
from .mutate import Case, make_case
from .originals import Original, in_memory, originals

CPU_SECONDS = 2.0
"""Of all threads: on a busy machine a clock on the wall tells nothing."""

WALL_SECONDS = 20.0
"""For what waits and does nothing."""

EXTRA_MEMORY = 256 << 20
_ADDRESS_SPACE = 16 << 30
"""Beyond what the process has: what is never touched costs nothing, but has an end too."""

_LIMITS = (zt.Limits(connections=4), zt.Limits(connections=4, max_decoded=32 << 20))


class Stuck(BaseException):
    """Time is up. No `except Exception` may swallow it."""


@dataclass(frozen=True)
class Report:
    """What became of one mutated file.

    Attributes
    ----------
    result : str
        A short name for it, to count by.
    failure : str or None
        What must not happen, at length.
    memory : int
        Bytes that were needed at the peak, beyond those before.
    seconds : float
        CPU time, of all threads.
    kept : int
        Bytes that the worker has more now than before its first case.
    """

    seed: int
    result: str
    failure: str | None = None
    memory: int = 0
    seconds: float = 0.0
    kept: int = 0


def serve(channel: Connection, http: str, folder: str) -> None:
    """Examine the cases whose numbers come; `folder` is what the HTTP server at `http` serves."""
    warnings.simplefilter("error")
    # Made of the functions anew for each call, the command would take most of the time.
    typer.main.get_command = cache(typer.main.get_command)
    originals()
    with tempfile.TemporaryDirectory(dir=folder) as own:
        places = _places(Path(own), f"{http}/{Path(own).name}")
        for number in range(20):  # so that what is imported and cached is not counted
            for seed in (-1 - number, FOREIGN + number):
                _examined(make_case(seed), places[-1 - number % 8], _LIMITS[0])
        used = _status("VmSize")
        resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE, resource.RLIM_INFINITY))
        first = _status("VmRSS")
        channel.send(None)  # ready
        while (seed := channel.recv()) is not None:
            rng = Random(f"place {seed}")  # another than that which chose the file
            report = _examined(make_case(seed), rng.choice(places), rng.choice(_LIMITS))
            channel.send(replace(report, kept=_status("VmRSS") - first))


def _examined(case: Case, place: Callable[[Original], Any], limits: zt.Limits) -> Report:
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before = _status("VmRSS")
    failure = None
    started = time.process_time()
    try:
        with _time_limits():
            result = examine(case, place, limits=limits)
    except (Exception, Stuck) as error:
        result = f"FAILED: {type(error).__name__}"
        where = f"{case.original.name}, {case.how}, as {place.__name__}, {limits}"
        failure = f"{where}\n{traceback.format_exc()}"
    seconds = time.process_time() - started
    memory = _status("VmHWM") - before
    if failure is None and memory > EXTRA_MEMORY:
        result = "FAILED: memory"
        failure = f"{case.original.name}, {case.how}, {place.__name__}: {memory >> 20} MiB"
    return Report(case.seed, result, failure, memory, seconds)


@contextmanager
def _time_limits() -> Iterator[None]:
    clocks = {signal.ITIMER_PROF: CPU_SECONDS, signal.ITIMER_REAL: WALL_SECONDS}
    signal.signal(signal.SIGPROF, _give_up)
    signal.signal(signal.SIGALRM, _give_up)
    try:
        for clock, seconds in clocks.items():
            signal.setitimer(clock, seconds)
        yield
    finally:
        for clock in clocks:
            signal.setitimer(clock, 0)


def _give_up(number: int, frame: FrameType | None) -> None:
    cpu = number == signal.SIGPROF
    raise Stuck(f"{CPU_SECONDS} s of CPU time" if cpu else f"{WALL_SECONDS} s")


def _status(name: str) -> int:
    """Return a figure of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise LookupError(name)


def _places(folder: Path, url: str) -> list[Callable[[Original], Any]]:
    """Return ways to put a file somewhere, the cheap ones more often."""

    def local(file: Original) -> Path:
        # Another file each time, as the one before may still be mapped.
        for old in folder.iterdir():
            old.unlink()
        for name, data in file.files.items():
            (folder / name).write_bytes(data)
        return folder / file.opened

    def in_bytes(file: Original) -> Any:
        return file.data if file.ending == ".zt" else in_memory(file)

    def over_http(file: Original) -> str:
        local(file)
        return f"{url}/{file.opened}"

    return [local, local, local, in_memory, in_memory, in_memory, in_bytes, over_http]
