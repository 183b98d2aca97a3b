"""Cases times peers, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from .cases import Case
from .datasets import checksum
from .job import Job
from .machine import touch_memory
from .process import PeerFailedError, Worker
from .servers import Servers

# The server writes its log after the last byte was sent.
LOG_SECONDS = 0.02


@dataclass
class Samples:
    """What one peer cost in one case, a number a round."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    grown: list[int] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    """Seconds of CPU."""

    def median(self, name: str) -> float | None:
        """Return the median of a field."""
        values: list[float] = getattr(self, name)
        return statistics.median(values) if values else None


class Measured(Protocol):
    """What reports have to know of a case."""

    @property
    def name(self) -> str:
        """Short."""

    @property
    def title(self) -> str:
        """Long."""

    @property
    def wanted(self) -> int:
        """Bytes that are asked for, or sent."""

    @property
    def result_bytes(self) -> int:
        """Bytes by which memory must grow."""


@dataclass
class Outcome:
    """A case's samples by peer, and why others have none."""

    case: Measured
    samples: dict[str, Samples] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def measure(
    case: Case,
    jobs: dict[str, Job],
    pythons: dict[str, str],
    servers: Servers,
    rounds: int,
    tell: Callable[[str], None],
) -> Outcome:
    """Measure peers in turns, beginning with another one in each round.

    Before the first round each has one that does not count, and whose result is checked.
    """
    outcome = Outcome(case)
    expected = _expected(case)
    with ExitStack() as stack:
        runs: dict[str, Callable[[str], dict[str, Any]]] = {}
        for name, job in jobs.items():
            try:
                run = stack.enter_context(_runner(case, job, pythons[name]))
                _check(case, name, run("check"), expected)
                runs[name] = run
            except PeerFailedError as error:
                outcome.failed[name] = str(error)

        def sample(name: str, samples: Samples) -> None:
            touch_memory(2 * case.result_bytes)
            _sample(runs[name], samples, servers, case.place)

        take_turns(outcome, list(runs), rounds, sample, tell)
    return outcome


def take_turns(
    outcome: Outcome,
    names: list[str],
    rounds: int,
    sample: Callable[[str, Samples], None],
    tell: Callable[[str], None],
) -> None:
    """Have `sample` measure each peer once a round, and note what fails."""
    for number in range(rounds):
        first = number % max(1, len(names))
        for name in names[first:] + names[:first]:
            if name in outcome.failed:
                continue
            samples = outcome.samples.setdefault(name, Samples())
            try:
                sample(name, samples)
            except PeerFailedError as error:
                outcome.failed[name] = str(error)
                del outcome.samples[name]
        tell(f"{outcome.case.name}: round {number + 1} of {rounds}")


def _sample(
    run: Callable[[str], dict[str, Any]], samples: Samples, servers: Servers, place: str
) -> None:
    position = servers.position()
    cost = run("go")
    samples.seconds.append(cost["seconds"])
    samples.cpu.append(cost["cpu"])
    if "grown" in cost:
        samples.grown.append(cost["grown"])
    if place == "signed":  # that server writes no log
        return
    time.sleep(LOG_SECONDS)
    if (count := servers.count(position)) is not None:
        samples.requests.append(count.requests)
        samples.moved.append(count.bytes)


@contextmanager
def _runner(case: Case, job: Job, python: str) -> Iterator[Callable[[str], dict[str, Any]]]:
    if case.cold:
        yield lambda command: _cold(job, python)
        return
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(python, "serve", replace(job, task=task)))
            for task in case.tasks()
        ]
        for worker in workers:
            worker.answer()
        yield lambda command: _together(workers, command)


def _cold(job: Job, python: str) -> dict[str, Any]:
    with Worker(python, "cold", job) as worker:
        worker.answer()
        seconds = time.perf_counter() - worker.started
        return {"seconds": seconds, "cpu": worker.answer()["cpu"]}


def _together(workers: list[Worker], command: str) -> dict[str, Any]:
    start = time.perf_counter()
    for worker in workers:
        worker.send(command)
    costs = [worker.answer() for worker in workers]
    seconds = time.perf_counter() - start
    if len(costs) == 1:  # its own clock leaves out how we talk
        return costs[0]
    return {"seconds": seconds} | {
        name: sum(cost[name] for cost in costs) for name in ("cpu", "grown")
    }


def _check(case: Case, peer: str, cost: dict[str, Any], expected: int | None) -> None:
    found = cost.get("checksum")
    if expected is not None and found is not None and found != expected:
        raise PeerFailedError("read other bytes than were written")


def _expected(case: Case) -> int | None:
    task = case.task
    if case.cold or case.processes > 1 or task.action == "open":
        return None
    arrays = {name: case.dataset.array(name) for name in task.names}
    cut = slice(*task.span)
    match task.action:
        case "rows":
            arrays = {name: array[cut] for name, array in arrays.items()}
        case "columns":
            arrays = {name: array[:, cut] for name, array in arrays.items()}
    return checksum(arrays)
