"""A writer that is killed at any moment leaves whole steps, and all that it said were stored.

``SEED=7 pytest -m slow -s tests/log/test_kills.py`` kills two hundred of them.
"""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from tests.killing import kill, seconds_for
from tests.stores.backends import MakeBackend
from ztensor_remote import CheckpointLog
from ztensor_remote.stores import Location

from .appender import state_at

STORES = ["local", "moto", "strict_gcs", "azure"]
COUNT = 6
"""Steps that a writer has the time to store; how long that takes is looked at again and again."""


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


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "kills"),
    [("local", 2), ("moto", 1), ("strict_gcs", 1), ("azure", 1)]
    + [pytest.param(name, 50, marks=pytest.mark.slow) for name in STORES],
)
def test_kills(backend_of: MakeBackend, name: str, kills: int) -> None:
    place = backend_of(name).location("run")
    seed = int(os.environ.get("SEED", "1"))
    chance = random.Random(seed)
    said: set[int] = set()
    for number in range(kills):
        if not number % 10:
            longest = seconds_for(COUNT, "tests.log.appender", place=place)
        seconds = chance.uniform(0, longest)
        said.update(kill("tests.log.appender", place=place, seconds=seconds)[1:])
        check(place, said)
    assert said or kills < 20
    log = CheckpointLog(place)
    log.append(10**6, state_at(10**6))
    steps = log.steps()
    log.prune(keep_last=2)
    assert log.steps() == steps[-2:]
    left = left_behind(place, log)
    assert len(left) <= 2 * kills
    print(f"\nlog {name}: {kills} kills, {len(said)} steps stored, {len(left)} files left")


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
