"""Two nodes of Ray: ``pytest -m slow tests/integrations/test_ray_nodes.py``, by itself."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.conftest import Recording
from tests.servers.s3 import S3Endpoint

os.environ |= {
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

MIB = 1 << 20
SIZE = 96 * MIB

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[str]]:
    """The ids of two nodes, of which this process is on the first."""
    memory = {"object_store_memory": 512 * MIB}
    first = {"num_cpus": 1, "include_dashboard": False} | memory
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=first)
    other = cluster.add_node(num_cpus=1, **memory)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    here = ray.get_runtime_context().get_node_id()
    yield [here, other.node_id]
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.parametrize(("placement", "times"), [("nodes", 2), ("here", 1), ("spread", 1)])
def test_how_often_a_model_is_fetched(
    nodes: list[str],
    placement: Any,
    times: int,
    moto: S3Endpoint,
    bucket: Callable[[S3Endpoint], str],
    recording: Recording,
) -> None:
    url = f"s3://{bucket(moto)}/model.zt"
    with zt.Writer(url, storage_options=moto.storage_options) as writer:
        for number in range(3):
            writer.add_tensor(f"layers.{number}", np.full(SIZE // 12, number, np.float32))
    through, proxy = recording(moto)
    shared = zt.ray.load(url, placement=placement, storage_options=through.storage_options)
    assert proxy.response_bytes == pytest.approx(times * SIZE, rel=0.01)
    proxy.clear()
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    for node in nodes:
        asked = ends.options(scheduling_strategy=strategy(node, soft=False)).remote(shared)
        assert ray.get(asked) == {f"layers.{number}": (number, number) for number in range(3)}
    assert proxy.requests == []
    lying = {node: [*refs] for node, refs in shared._stored.items()}
    assert set(lying) == ({nodes[0]} if placement == "here" else set(nodes))
    if placement == "spread":
        assert sorted(name for names in lying.values() for name in names) == sorted(shared)


@ray.remote
def ends(shared: Any) -> dict[str, tuple[float, float]]:
    return {name: (array[0], array[-1]) for name, array in shared.load().items()}
