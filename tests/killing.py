"""Programs that are killed while they store one thing after another.

Such a program gets a place and its options as its last arguments. It prints the number of what was
stored last before it began, then that of each thing once it is stored.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ztensor_remote.stores import Location

ROOT = Path(__file__).resolve().parents[1]


def seconds_for(count: int, module: str, *arguments: str, place: Location) -> float:
    """Kill a program that has stored so many things; return how long they have taken."""
    with _running(module, *arguments, place=place) as (process, told):
        assert told.readline()
        began = time.monotonic()
        for _ in range(count):
            assert told.readline()
        taken = time.monotonic() - began
        process.kill()
    return taken


def kill(module: str, *arguments: str, place: Location, seconds: float) -> list[int]:
    """Kill a program so many seconds after its first number, and return all that it printed."""
    with _running(module, *arguments, place=place) as (process, told):
        before = int(told.readline())
        time.sleep(seconds)
        process.kill()
        return [before, *map(int, told.read().split())]


@contextmanager
def _running(
    module: str, *arguments: str, place: Location
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    command = [sys.executable, "-m", module, *arguments, place.path]
    command.append(json.dumps(dict(place.storage_options)))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout
