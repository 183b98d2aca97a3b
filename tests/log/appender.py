"""Append steps to a log until killed.

``python -m tests.log.appender URL OPTIONS`` prints the number of the step that it goes on behind,
then of each step once it is stored.
"""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import numpy as np

from ztensor_remote import CheckpointLog

COUNT = 6
SIZE = 40_000


def state_at(step: int) -> dict[str, Any]:
    """Return the tensors of a step: of two in a row, most are the same."""
    layers = {
        f"layer.{number}": np.full(SIZE, (step + number) // COUNT, np.int32)
        for number in range(COUNT)
    }
    return layers | {"step": np.int64(step)}


def main() -> None:
    """Go on where the log ends."""
    url, options = sys.argv[1:]
    log = CheckpointLog(url, storage_options=json.loads(options))
    last = max([-1, *log.steps()])
    print(last, flush=True)
    for step in itertools.count(last + 1):
        log.append(step, state_at(step), attributes={"step": step})
        print(step, flush=True)


if __name__ == "__main__":
    main()
