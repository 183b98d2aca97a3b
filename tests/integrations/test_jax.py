"""Tensors on the devices of JAX: in this process, and in two of four devices each."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.conftest import Recording
from tests.integrations.clusters import times_fetched
from tests.reader.models import same, written
from tests.servers.s3 import S3Endpoint

pytestmark = pytest.mark.jax
jax = pytest.importorskip("jax")
sp = pytest.importorskip("scipy.sparse")

PROGRAM = Path(__file__).with_name("jax_processes.py")
ROOT = PROGRAM.parents[2]
PADDING = np.zeros(128 << 10, np.uint8)  # so that a look at the end of the file sees no tensor
GRID = np.arange(12, dtype=np.float32).reshape(3, 4)


def sharding(*axes: Any) -> Any:
    """Return a sharding over the one device of this process."""
    mesh = jax.sharding.Mesh(np.array(jax.devices("cpu")[:1]), ("x",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def run_processes(url: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Run the program as two processes; return what each printed."""
    address = free_address()
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", PROGRAM, str(n), address, url, json.dumps(options)],
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for n in range(2)
    ]
    printed = []
    for process in started:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        printed.append(json.loads(output))
    return printed


def test_each_process_reads_what_its_devices_need(
    moto: S3Endpoint, bucket: Callable[[S3Endpoint], str], recording: Recording
) -> None:
    from tests.integrations.jax_processes import ARRAYS, SPARSE

    url = f"s3://{bucket(moto)}/model.zt"
    with zt.Writer(url, storage_options=moto.storage_options) as w:
        for name, array in ARRAYS.items():
            w.add_tensor(name, array, compress=name == "packed")
        w.add_tensor("sparse", sp.csr_array(SPARSE))
        w.add_tensor("zeros", PADDING)
    endpoint, proxy = recording(moto)
    results = run_processes(url, endpoint.storage_options)
    assert [each["wrong"] for each in results] == [[], []]

    times = {"rows": 1, "everywhere": 2, "in blocks": 2, "of the second": 1, "mask": 2}
    with zt.open(url, storage_options=moto.storage_options) as reader:
        for name, count in times.items():
            part = reader[name].components["data"]
            fetched = times_fetched(proxy.requests, part.offset, part.offset + part.length)
            assert (fetched == count).all(), name
        size = reader["rows"].nbytes
    for process, each in enumerate(results):
        # Half of the rows and all others; columns with what lies between them, or not.
        other = sum(ARRAYS[name].nbytes for name in ("everywhere", "in blocks", "mask"))
        least = size // 2 + other + process * size
        assert least < each["bytes"] < least + 2 * size
        assert each["requests"] < len(ARRAYS["columns"]) + 20


class TestOneProcess:
    @pytest.fixture
    def url(self) -> str:
        def add(w: zt.Writer) -> None:
            w.add_tensor("layers.grid", GRID)
            w.add_tensor("layers.scalar", np.float32(3))
            w.add_tensor("wide", GRID.astype(np.float64))
            w.add_tensor("empty", np.zeros((0, 4), np.int8))
            w.add_tensor("sparse", sp.coo_array(GRID))

        return written(add)

    def test_by_default_all_is_on_the_default_device(self, url: str) -> None:
        loaded = zt.jax.load(url, prefix="layers.")
        assert {*loaded} == {"layers.grid", "layers.scalar"}
        assert same(np.asarray(loaded["layers.grid"]), GRID)
        assert loaded["layers.scalar"].devices() == {jax.devices()[0]}

    def test_some_have_a_sharding(self, url: str) -> None:
        names = ["layers.grid", "empty", "sparse"]
        rows = sharding("x")
        loaded = zt.jax.load(url, names, sharding={"layers.grid": rows, "empty": rows})
        assert loaded["layers.grid"].sharding == loaded["empty"].sharding == rows
        assert same(np.asarray(loaded["layers.grid"]), GRID)
        assert loaded["empty"].shape == (0, 4)
        assert same(np.asarray(loaded["sparse"].todense()), GRID)
        dense = zt.jax.load(url, ["sparse"], sharding=rows)["sparse"]
        assert same(np.asarray(dense), GRID)

    def test_an_open_reader(self, url: str) -> None:
        with zt.open(url) as reader:
            assert {*zt.jax.load(reader, ["layers.grid"])} == {"layers.grid"}
            assert reader["layers.grid"].numpy().shape == (3, 4)
            with pytest.raises(zt.InvalidInputError, match="verify come too late"):
                zt.jax.load(reader, verify=False)

    def test_refusals_come_before_anything_is_read(self, url: str) -> None:
        with zt.open(url) as reader:
            before = reader.stats
            with pytest.raises(zt.UnsupportedError, match=r"float32 of float64.*tensor 'wide'"):
                zt.jax.load(reader)
            with pytest.raises(zt.TensorNotFoundError, match="grids"):
                zt.jax.load(reader, ["layers.grid"], sharding={"grids": sharding("x")})
            assert reader.stats == before

    def test_damage_is_found(self, url: str) -> None:
        from tests.reader.models import MEMORY, in_memory

        with zt.open(url) as reader:
            at = reader["layers.grid"].components["data"].offset
        data = bytearray(MEMORY.cat_file(url))
        data[at] ^= 1
        with pytest.raises(zt.DigestError, match=r"layers\.grid"):
            zt.jax.load(in_memory(bytes(data)), ["layers.grid"], sharding=sharding("x"))
