"""What a log costs: requests, and bytes stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.stores.backends import MakeBackend, StoreBackend, Through
from ztensor_remote import CheckpointLog

SLOW = pytest.mark.slow


@pytest.mark.parametrize("count", [1001, pytest.param(10_000, marks=SLOW)])
def test_the_latest_of_many_steps(backend_of: MakeBackend, through: Through, count: int) -> None:
    store = backend_of("moto")
    assert isinstance(store, StoreBackend)
    CheckpointLog(store.location("run")).append(0, {"loss": np.float32(1)})
    root = store.read("run/step-000000000000.zt")
    store.fs.pipe({store.key(f"run/step-{step:012}.zt"): root for step in range(count)})
    place, proxy = through(store, "run")
    with CheckpointLog(place).latest() as reader:
        assert reader.url.endswith(f"step-{count - 1:012}.zt")
        assert reader["loss"].numpy() == 1
    listings = [request for request in proxy.requests if "list-type" in request.query]
    assert len(listings) == -(-count // 1000)
    assert len(proxy.requests) - len(listings) <= 2


def test_a_step_costs_few_requests(backend_of: MakeBackend, through: Through) -> None:
    store = backend_of("moto")
    assert isinstance(store, StoreBackend)
    place, proxy = through(store, "run")
    log = CheckpointLog(place)
    weights = {"same": np.zeros(10_000), "other": np.zeros(10_000)}
    log.append(0, weights)
    for step in range(1, 4):
        proxy.clear()
        weights["other"] = weights["other"] + 1
        log.append(step, weights)
        methods = [request.method for request in proxy.requests]
        # Is the step there (s3fs looks for a folder too)? Its blobs; its root. Is the one that it
        # refers to still there?
        assert methods == ["HEAD", "GET", "PUT", "PUT", "HEAD"]
        assert sum(request.request_bytes for request in proxy.requests) < 2 * 80_000


@pytest.mark.parametrize("mib", [32, pytest.param(1024, marks=SLOW)])
def test_what_does_not_change_costs_nothing(tmp_path: Path, mib: int) -> None:
    """100 steps in which one of 100 tensors changes store under 2.2 times the state."""
    size = mib * (1 << 20) // 100 // 4
    state = {f"layer.{number}": np.full(size, number, np.float32) for number in range(100)}
    with CheckpointLog(tmp_path) as log:
        for step in range(100):
            state[f"layer.{step}"] += 1
            log.append(step, state)
        stored = sum(file.stat().st_size for file in tmp_path.iterdir())
        assert stored < 2.2 * mib * (1 << 20)
        loaded = log.latest().load()
        assert all(np.array_equal(loaded[name], state[name]) for name in state)
