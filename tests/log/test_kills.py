"""A writer that is killed at any moment leaves whole steps, and all that it said were stored."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.stores.backends import MakeBackend
from ztensor_remote import CheckpointLog
from ztensor_remote.stores import Location

from .appender import state_at

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 0.4
"""Seconds from its first step to its end."""


def kill_an_appender(place: Location, chance: random.Random) -> list[int]:
    """Return the steps that it said were stored."""
    command = [sys.executable, "-m", "tests.log.appender", place.path]
    with subprocess.Popen(
        [*command, json.dumps(dict(place.storage_options))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, LONGEST))
        process.kill()
        return [int(line) for line in process.stdout.read().split()]


def check(place: Location, said: set[int]) -> None:
    log = CheckpointLog(place)
    steps = log.steps()
    assert steps == list(range(len(steps)))
    assert said <= set(steps)
    for step in steps[-3:]:
        with log[step] as reader:
            assert reader.attributes == {"step": step}
            for name, tensor in reader.load().items():
                np.testing.assert_array_equal(tensor, state_at(step)[name])
            reader.verify(deep=True)


@pytest.mark.parametrize(
    ("name", "kills"),
    [("local", 4), ("moto", 3), ("gcs", 2), ("azure", 2)]
    + [
        pytest.param(name, 50, marks=pytest.mark.slow) for name in ("local", "moto", "gcs", "azure")
    ],
)
def test_kills(backend_of: MakeBackend, name: str, kills: int) -> None:
    place = backend_of(name).location("run")
    seed = int(os.environ.get("SEED", "1"))
    chance = random.Random(seed)
    said: set[int] = set()
    for _ in range(kills):
        said.update(kill_an_appender(place, chance))
        check(place, said)
    log = CheckpointLog(place)
    log.append(10**6, state_at(10**6))
    steps = log.steps()
    log.prune(keep_last=2)
    assert log.steps() == steps[-2:]
    assert len(left_behind(place, log)) <= kills


def left_behind(place: Location, log: CheckpointLog) -> set[str]:
    """List what no step needs: at most a file of blobs, or a probe, of each writer."""
    fs, path = place.resolve()
    fs.invalidate_cache()
    files = {file.rpartition("/")[2] for file in fs.find(path)}
    for step in log:
        with log[step] as reader:
            root = reader.url.rpartition("/")[2]
            shards = reader.manifest.shards.items()
            files -= {shard.file or f"{root[:-3]}-{name}.zt" for name, shard in shards}
            files.remove(root)
    return files
