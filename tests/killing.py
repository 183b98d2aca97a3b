"""Programs that are killed while they store one thing after another."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from ztensor_remote.stores import Location

ROOT = Path(__file__).resolve().parents[1]


def kill(module: str, *arguments: str, place: Location, seconds: float) -> list[int]:
    """Kill a program so many seconds after it has told what it goes on behind.

    It gets the place and its options as its last arguments. It prints the number of what was stored
    last before it began, then of each thing once that is stored. Those numbers are returned.
    """
    command = [sys.executable, "-m", module, *arguments, place.path]
    with subprocess.Popen(
        [*command, json.dumps(dict(place.storage_options))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        before = int(process.stdout.readline())
        time.sleep(seconds)
        process.kill()
        return [before, *map(int, process.stdout.read().split())]
