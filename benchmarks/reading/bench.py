"""A run: servers, data and peers brought together."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ztensor_remote as zt

from .cases import Case
from .data import Data
from .environment import Environment
from .job import Job, Place
from .measure import Outcome, measure
from .peers import peer_class
from .process import PeerFailedError
from .report import as_json, as_table
from .servers import Servers, servers
from .signing import signed_url

OURS = ("s3fs", "obstore", "boto3")


class Bench:
    """Measures cases with peers.

    Parameters
    ----------
    peers
        Names.
    scratch
        A folder of its own, for data and servers.
    venv
        Where the peers' environment is, or will be.
    """

    def __init__(self, peers: list[str], scratch: Path, venv: Path, *, rounds: int) -> None:
        self._scratch = scratch
        self._rounds = rounds
        self._environment = Environment(venv)
        self._data = Data(scratch / "data", self._python)
        self._peers = peers
        self._missing: dict[str, str] = {}
        for name in peers:
            try:
                self._install(name)
            except PeerFailedError as error:
                self._missing[name] = str(error)

    def run(self, cases: list[Case]) -> dict[str, Any]:
        """Measure, print tables, and return all figures."""
        signed = any(case.place == "signed" for case in cases)
        with servers(self._scratch / "data", self._scratch, signed=signed) as there:
            about = self._about(there)
            _show(about)
            outcomes = [done for case in cases if (done := self._case(case, there))]
        return {"about": about, "cases": [as_json(outcome) for outcome in outcomes]}

    def _case(self, case: Case, there: Servers) -> Outcome | None:
        place: Place | None = getattr(there, case.place)
        if place is None:
            print(f"### {case.name}: left out, {there.missing[case.place]}\n", flush=True)
            return None
        self._data.write("ztensor_remote", case.dataset)
        if case.place == "signed":
            self._data.upload(place, case.dataset)
        with there.away(place, case.latency) as reached:
            jobs, unable = self._jobs(case, reached)
            pythons = {name: self._python(name) for name in jobs}
            outcome = measure(case, jobs, pythons, there, self._rounds, _tell)
        outcome.failed = unable | outcome.failed
        print(as_table(outcome), flush=True)
        return outcome

    def _jobs(self, case: Case, place: Place) -> tuple[dict[str, Job], dict[str, str]]:
        """Return a job for each peer that can do a case, and why others which should can't."""
        layout = self._data.layout(case.dataset)
        url = signed_url(place, f"{case.dataset.name}.zt")
        jobs: dict[str, Job] = {}
        unable: dict[str, str] = {}
        for name in self._peers:
            if not peer_class(name).can(case.dataset, case.task) or name in self._missing:
                continue
            writer = peer_class(name).written_by
            if case.place == "signed" and writer != "ztensor_remote":
                continue
            if case.place == "tls" and not peer_class(name).trusts:
                continue
            try:
                self._data.write(writer, case.dataset)
            except PeerFailedError as error:
                unable[name] = str(error)
            else:
                jobs[name] = Job(name, place, case.dataset, layout, url, case.task)
        return jobs, unable

    # --- peers -------------------------------------------------------------------------------

    def _install(self, name: str) -> None:
        if name == "curl" and not shutil.which("curl"):
            raise PeerFailedError("it is not installed")
        if packages := peer_class(name).packages:
            _tell(f"installing {' '.join(packages)}")
            self._environment.install(packages)

    def _python(self, name: str) -> str:
        return self._environment.python if peer_class(name).packages else sys.executable

    def _about(self, there: Servers) -> dict[str, Any]:
        packages = sorted(
            {package for name in self._peers for package in peer_class(name).packages}
        )
        return {
            "ztensor_remote": zt.__version__,
            "python": platform.python_version(),
            "machine": f"{os.cpu_count()} cores, {platform.platform()}",
            "load": f"{os.getloadavg()[0]:.1f} programs running before",
            "server": there.name,
            "rounds": self._rounds,
            "versions": {name: version(name) for name in OURS}
            | self._environment.versions(packages),
            "missing": self._missing,
        }


def _show(about: dict[str, Any]) -> None:
    for name, value in about.items():
        pairs = (
            [f"{key} {item}" for key, item in value.items()] if isinstance(value, dict) else None
        )
        if value != {}:
            print(f"- {name}: {', '.join(pairs) if pairs else value}")
    print(flush=True)


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
