"""A run: servers and peers brought together."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from typing import Any

from reading.measure import Outcome, Samples, take_turns
from reading.process import PeerFailedError, Worker
from reading.report import as_json, as_table

import ztensor_remote as zt
from tests.servers.ministack import ministack_server
from tests.servers.rclone import rclone_server
from tests.servers.s3 import S3Endpoint

from .cases import Case
from .job import BUCKET, KEY_OF_OBJECT, Job
from .peers import peer_class
from .servers import Sink, sink

LIBRARIES = ("s3fs", "obstore", "boto3")
LINE = 1.25e9
"""Bytes a second: 10 Gbit/s."""

CHECKED = 3, 9 << 20
"""Tensors, and bytes of each, that every peer sends to a server which keeps them."""


class Bench:
    """Measures cases with peers.

    Parameters
    ----------
    peers
        Names.
    """

    def __init__(self, peers: list[str], *, rounds: int) -> None:
        self._peers = peers
        self._rounds = rounds

    def run(self, cases: list[Case]) -> dict[str, Any]:
        """Measure, print tables, and return all figures."""
        about = self._about()
        for name, value in about.items():
            print(f"- {name}: {value}")
        print(flush=True)
        with rclone_server() as verifying:
            refused = self._check(verifying.endpoint)
        outcomes = []
        for case in cases:
            outcome = self._measure(case, refused)
            print(as_table(outcome), flush=True)
            outcomes.append(as_json(outcome))
        return {"about": about, "cases": outcomes}

    def _measure(self, case: Case, refused: dict[str, str]) -> Outcome:
        outcome = Outcome(case)
        able = [name for name in self._peers if case.action in peer_class(name).actions]
        outcome.failed = {name: refused[name] for name in able if name in refused}
        with ExitStack() as stack:
            url, drops = stack.enter_context(_server(case))
            workers = {
                name: stack.enter_context(_worker(case.job(name, url)))
                for name in able
                if name not in refused
            }

            def sample(name: str, samples: Samples) -> None:
                before = drops.count() if drops else None
                workers[name].send("go")
                cost = workers[name].answer()
                samples.seconds.append(cost["seconds"])
                samples.cpu.append(cost["cpu"])
                samples.grown.append(cost["grown"])
                if drops is not None and before is not None:
                    count = drops.count().since(before)
                    samples.requests.append(count.requests)
                    samples.moved.append(count.bytes)
                    samples.server.append(count.cpu)

            for name, worker in workers.items():  # a round that does not count
                try:
                    worker.answer()
                    sample(name, Samples())
                except PeerFailedError as error:
                    outcome.failed[name] = str(error)
            ready = [name for name in workers if name not in outcome.failed]
            take_turns(outcome, ready, self._rounds, sample, _tell)
        return outcome

    def _check(self, server: S3Endpoint) -> dict[str, str]:
        """Have each peer write to a store that verifies signatures, and look at what is there."""
        server.make_bucket(BUCKET)
        refused: dict[str, str] = {}
        for name in self._peers:
            if name == "raw":  # it signs nothing
                continue
            job = Job(name, "upload", server.url, *CHECKED)
            try:
                with _worker(job) as worker:
                    worker.answer()
                    worker.send("check")
                    worker.answer()
                _compare(job, server)
            except PeerFailedError as error:
                refused[name] = str(error)
        return refused

    def _about(self) -> dict[str, Any]:
        return {
            "ztensor_remote": zt.__version__,
            "python": platform.python_version(),
            "machine": f"{os.cpu_count()} cores, {platform.platform()}",
            "load": f"{os.getloadavg()[0]:.1f} programs running before",
            "rounds": self._rounds,
            "versions": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        }


@contextmanager
def _server(case: Case) -> Iterator[tuple[str, Sink | None]]:
    if case.server != "ministack":
        with sink(rate=LINE if case.server == "line" else None) as drops:
            yield drops.url, drops
        return
    with ministack_server() as server:
        server.endpoint.make_bucket(BUCKET)
        yield server.endpoint.url, None


def _worker(job: Job) -> Worker:
    return Worker(sys.executable, "serve", job, program="writing.worker")


def _compare(job: Job, server: S3Endpoint) -> None:
    wanted = job.payload()
    path = f"{BUCKET}/{KEY_OF_OBJECT}"
    if peer_class(job.peer).is_file:
        with zt.open(server.uri(path), storage_options=server.storage_options) as model:
            found = model.load()
        same = all(
            found[name].tobytes() == array.tobytes() for name, array in job.tensors(wanted).items()
        )
    else:
        same = server.filesystem().cat_file(path) == wanted.tobytes()
    if not same:
        raise PeerFailedError("stored other bytes than it was given")


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
