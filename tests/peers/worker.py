"""A published package at work: questions to its interpreter, answers from it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).with_name("programs")

_PROGRAM_OF = {
    "1.0.1": "api_1_0.py",
    "1.0.2": "api_1_0.py",
    "1.1.1": "api_1_0.py",
    "1.2.3": "api_1_2.py",
    "2.1.2": "api_2.py",
}


class PeerError(Exception):
    """The package raised.

    Attributes
    ----------
    kinds : list of str
        Names of the exception's class and its bases.
    """

    def __init__(self, kinds: list[str], message: str) -> None:
        super().__init__(f"{kinds[0]}: {message}")
        self.kinds = kinds


class PeerCrashedError(Exception):
    """The interpreter ended in the middle of a question."""


class Peer:
    """One published version, running until it is closed.

    Parameters
    ----------
    version : str
    python : Path
        Interpreter of its environment.
    """

    def __init__(self, version: str, python: Path) -> None:
        self.version = version
        self.python = python
        self._process: subprocess.Popen[str] | None = None

    def ask(self, action: str, **arguments: Any) -> Any:
        """Let the package do something and return what it answers.

        Raises
        ------
        PeerError, PeerCrashedError
        """
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            print(json.dumps({"action": action, "arguments": arguments}), file=process.stdin)
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerCrashedError(f"{self.version} ended during {action!r}: {self._ending()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"]["kinds"], answer["error"]["message"])
        return answer["result"]

    def read(self, path: Path, **options: Any) -> Any:
        """Return what the package sees in a file."""
        return self.ask("read", path=str(path), **options)

    def close(self) -> None:
        """End the interpreter."""
        if self._process is not None:
            self._process.communicate()
            self._errors.close()
            self._process = None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
            self._process = subprocess.Popen(
                # -E, -s: nothing of the caller's may come between the package and its environment.
                [str(self.python), "-E", "-s", str(PROGRAMS / _PROGRAM_OF[self.version])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                encoding="utf-8",
            )
        return self._process

    def _ending(self) -> str:
        assert self._process is not None
        status = self._process.wait()
        # Not seek and read: the process wrote at the offset that it shares with us.
        output = os.pread(self._errors.fileno(), 1 << 16, 0).decode(errors="replace")
        self.close()
        return f"status {status}\n{output}"


GetPeer = Callable[[str], Peer]
"""Returns the package of a version."""
