"""Server processes for the tests: started, polled until they answer, stopped with all children."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeVar
from urllib.parse import urlsplit

from .endpoint import Endpoint

E = TypeVar("E", bound=Endpoint)

# Generous, for the tests may share their machine with other work.
START_SECONDS = 90.0
STOP_SECONDS = 10.0

# Kills its process group once our end of its input is gone, however this process came to end.
GUARD = "read -r _; kill -s KILL 0"


class ServerFailedError(RuntimeError):
    """A server ended, or stayed silent, before it was ready; the message holds its output."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago.

    It lies below the range that systems give to outgoing connections, so that none of those can
    take it before the server does.
    """
    # A seeded generator would propose the same ports to every parallel test process.
    for port in random.SystemRandom().sample(range(15_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("found no free port")


class ServerProcess(Generic[E]):
    """A server and its children, running from the start of a ``with`` block to its end.

    Parameters
    ----------
    command
        Program and arguments.
    endpoint
        How clients reach the server; any HTTP answer from its ``url`` means ready.
    env
        Variables on top of this process's own.
    """

    def __init__(
        self, command: Sequence[str], endpoint: E, env: Mapping[str, str] | None = None
    ) -> None:
        self.endpoint = endpoint
        self._command = command
        self._env = os.environ | (env or {})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it answers; also restarts it after `kill`."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by kill)
        self._process = subprocess.Popen(
            self._command,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        self._guard = subprocess.Popen(
            ["sh", "-c", GUARD],
            stdin=subprocess.PIPE,
            process_group=self._process.pid,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End the server politely, and what is left of it by force."""
        if self._guard.returncode is not None:  # killed before
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the server and its children at once, as a crash would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # Reaped last: until then the group exists, and its number can't be given to another.
        self._guard.communicate()
        self._log.close()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.endpoint.url):
            if (status := self._process.poll()) is not None:
                raise ServerFailedError(self._report(f"ended with status {status}"))
            if time.monotonic() > deadline:
                raise ServerFailedError(self._report(f"gave no answer for {START_SECONDS:.0f} s"))
            time.sleep(0.05)

    def _report(self, outcome: str) -> str:
        # Not seek and read: the server writes at the offset that it shares with us.
        output = os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")
        return f"{' '.join(self._command)} {outcome}; its output:\n{output}"


def _answers(url: str) -> bool:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
