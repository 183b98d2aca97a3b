"""Adding 64 MiB to 2 GiB: what is sent, and what a reader sees meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.stores.backends import MakeBackend, StoreBackend, Through

MIB = 1 << 20

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["ministack", "moto"])
def test_the_object_is_whole_at_every_moment(
    backend_of: MakeBackend, through: Through, name: str
) -> None:
    store = backend_of(name)
    assert isinstance(store, StoreBackend)
    location, proxy = through(store, "object")
    place: dict[str, Any] = {
        "location": location.path,
        "storage_options": location.storage_options,
    }
    block = np.random.default_rng(0).integers(0, 256, 256 * MIB, np.uint8)
    with zt.Writer(**place) as writer:
        for index in range(8):
            writer.add_tensor(str(index), block)
    seen: list[list[str]] = []
    done = threading.Event()
    direct = store.location("object")

    def poll() -> None:
        while not done.is_set():
            with zt.open(direct.path, storage_options=direct.storage_options) as model:
                seen.append(sorted(model))
                try:
                    assert (model["7"][-1000:] == block[-1000:]).all()
                except zt.ObjectChangedError:
                    assert model.refresh()

    poller = threading.Thread(target=poll)
    poller.start()
    proxy.clear()
    try:
        with zt.append(**place) as writer:
            writer.add_tensor("more", block[: 64 * MIB])
    finally:
        done.set()
        poller.join()
    up = sum(request.request_bytes for request in proxy.requests)
    print(f"{name}: {up / MIB:.1f} MiB up in {len(proxy.requests)} requests; {len(seen)} looks")
    assert 64 * MIB < up < 65 * MIB
    old = [str(index) for index in range(8)]
    assert seen[0] == old
    assert all(names in (old, [*old, "more"]) for names in seen)
    with zt.open(**place) as model:
        assert (model["more"][-10:] == block[: 64 * MIB][-10:]).all()
        assert model.identity.size > 2112 * MIB
    store.fs.rm_file(store.key("object"))
