"""Append steps to a log until killed: the number of each is printed once it is stored.

python -m tests.log.appender URL OPTIONS SEED
"""

from __future__ import annotations

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
    begun = [*log.steps(), -1]
    step = max(begun) + 1
    print("ready", flush=True)
    while True:
        log.append(step, state_at(step), attributes={"step": step})
        print(step, flush=True)
        step += 1


if __name__ == "__main__":
    main()
