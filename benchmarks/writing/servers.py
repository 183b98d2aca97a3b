"""The servers that are written to."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reading.process import BENCHMARKS

from tests.servers.http import HttpEndpoint
from tests.servers.process import ServerProcess, free_port


@dataclass(frozen=True)
class Count:
    """What a server was asked for and sent, and what that cost it."""

    requests: int
    bytes: int
    cpu: float

    def since(self, before: Count) -> Count:
        """Return what came after an earlier count."""
        return Count(
            self.requests - before.requests, self.bytes - before.bytes, self.cpu - before.cpu
        )


@dataclass(frozen=True)
class Sink:
    """The server that drops what it is sent."""

    url: str

    def count(self) -> Count:
        """Ask it what it has received."""
        with urllib.request.urlopen(f"{self.url}/counts") as answer:
            found: dict[str, Any] = json.load(answer)
        return Count(**found)


@contextmanager
def sink(*, rate: float | None = None) -> Iterator[Sink]:
    """Run it; on systems with more than one core it keeps to one of them.

    Parameters
    ----------
    rate
        Bytes a second that it takes at most.
    """
    port = free_port()
    command = [sys.executable, "-m", "writing.sink", str(port), *([str(rate)] if rate else [])]
    environment = {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])}
    with ServerProcess(command, HttpEndpoint(f"http://127.0.0.1:{port}"), environment) as server:
        yield Sink(server.endpoint.url)
