"""Processes of peers, as seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from select import select
from typing import Any, Protocol, Self

BENCHMARKS = Path(__file__).resolve().parents[1]
ROOT = BENCHMARKS.parent
TIMEOUT = 120.0


class PeerFailedError(RuntimeError):
    """A peer could not do what it was told; the message says why, in a line."""


class Job(Protocol):
    """What a peer's process is told first."""

    def dumps(self) -> str:
        """Return it as one line."""


class Worker:
    """A peer's process within a ``with`` block.

    Parameters
    ----------
    python
        The interpreter; the peer's library is installed there.
    program
        The module that is run.
    """

    def __init__(
        self, python: str, mode: str, job: Job, *, program: str = "reading.worker"
    ) -> None:
        self._command = [python, "-m", program, mode]
        self._job = job

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(),
        )
        self.send(self._job.dumps())
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def send(self, line: str) -> None:
        """Give a command."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerFailedError(self._last_words()) from None

    def answer(self) -> dict[str, Any]:
        """Wait for what it says.

        Raises
        ------
        PeerFailedError
        """
        pipe = self._process.stdout
        assert pipe is not None
        if not select([pipe], [], [], TIMEOUT)[0]:
            raise PeerFailedError(f"no answer for {TIMEOUT:.0f} s")
        line = pipe.readline()
        if not line:
            raise PeerFailedError(self._last_words())
        fields: dict[str, Any] = json.loads(line)
        if "error" in fields:
            raise PeerFailedError(fields["error"])
        return fields

    def _last_words(self) -> str:
        status = self._process.wait(10)
        lines = os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace").split("\n")
        said = [line for line in lines if line.strip()]
        return said[-1][:300] if said else f"ended with status {status}"


def _environment() -> dict[str, str]:
    # Accounts and proxies of whoever runs this must not reach the servers here. And what pip
    # installs is compiled; ours, imported from a clone, has to be allowed to keep what it compiles.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
        if name != "PYTHONDONTWRITEBYTECODE"
    }
    return kept | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), str(ROOT)])}
