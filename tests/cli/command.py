"""Running ``ztensor`` as its users do: as a process, with pipes or in a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODULE = (sys.executable, "-m", "ztensor_remote")
SECONDS = 60

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Outcome:
    """What became of a command."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output, which must be JSON as the standard has it: NaN is none."""
        return json.loads(self.stdout, parse_constant=_refuse)

    @property
    def lines(self) -> list[str]:
        """The lines of standard output."""
        return self.stdout.splitlines()


Command = Callable[..., Outcome]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the caller's terminal or AWS account, and warnings as errors."""
    unwanted = ("AWS_", "TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_", "PYTHON")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return inherited | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"} | dict(variables or {})


def run(
    *arguments: str | Path,
    command: tuple[str, ...] = MODULE,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a command to its end, its output in pipes."""
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_in_terminal(*arguments: str | Path, width: int) -> str:
    """Run a command that succeeds in a terminal of `width` columns; return what it showed."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    process = subprocess.Popen(
        [*MODULE, *map(str, arguments)],
        env=environment({"TERM": "xterm-256color"}),
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    shown = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    assert process.wait(SECONDS) == 0, shown
    return shown.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux tells that the other side is closed
        return b""


def without_styles(text: str) -> str:
    """Return `text` without the colours and weights that we print."""
    return _STYLE.sub("", text)
