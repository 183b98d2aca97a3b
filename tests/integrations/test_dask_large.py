"""Column means of a tensor larger than all workers' memory, computed by a cluster.

``pytest -m slow -s tests/integrations/test_dask_large.py`` takes 8 GiB of the disk, and prints how
long it took beside one process that only reads.
"""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.servers.nginx import Nginx, nginx_server

pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

GIB, MIB, KIB = 1 << 30, 1 << 20, 1 << 10
SIZE = 8 * GIB
COLUMNS = 2048
WORKERS = 4
AT_ONCE = 8192  # rows: 64 MiB

pytestmark = [
    pytest.mark.dask,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read there"),
]


def store(path: Path, rows: int) -> Any:
    """Write random rows; return the means of the columns."""
    numbers = np.random.default_rng(1)
    sums = np.zeros(COLUMNS)
    with (
        zt.Writer(path, checksum=None) as writer,
        writer.stream_tensor("rows", (rows, COLUMNS), np.float32) as part,
    ):
        for _ in range(0, rows, AT_ONCE):
            piece = numbers.random((AT_ONCE, COLUMNS), np.float32)
            sums += piece.sum(axis=0, dtype=np.float64)
            part.write(piece)
    return sums / rows


def peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) * KIB


def read(url: str, options: dict[str, Any]) -> str:
    """Read all rows in this process, into memory that is used again; return how long it took."""
    memory = np.zeros((AT_ONCE, COLUMNS), np.float32)
    begun, used = time.perf_counter(), time.process_time()
    with zt.open(url, storage_options=options) as reader:
        for start in range(0, reader["rows"].shape[0], AT_ONCE):
            memory[:] = reader["rows"][start : start + AT_ONCE]
    return took(time.perf_counter() - begun, time.process_time() - used)


def took(seconds: float, used: float) -> str:
    return f"{seconds:.1f} s, {used:.1f} s of a CPU"


def compute(url: str, options: dict[str, Any]) -> tuple[Any, str, list[int]]:
    """Return the means that a cluster finds, how long it took, and its processes' peaks."""
    with (
        distributed.LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            memory_limit=2 * GIB,
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster) as client,
        zt.open(url, storage_options=options) as reader,
    ):
        used = -sum(client.run(time.process_time).values())
        begun = time.perf_counter()
        array = zt.dask.array(reader["rows"])
        means = client.compute(array.mean(axis=0, dtype=np.float64)).result()
        seconds = time.perf_counter() - begun
        used += sum(client.run(time.process_time).values())
        return means, took(seconds, used), list(client.run(peak).values())


def check_sent_once(server: Nginx, start: int, stop: int) -> None:
    spans = server.sent(start, stop)
    assert (spans[0][0], spans[-1][1]) == (start, stop)
    assert all(one[1] == other[0] for one, other in pairwise(spans))


def test_column_means(tmp_path: Path) -> None:
    (tmp_path / "served" / "bucket").mkdir(parents=True)
    (tmp_path / "scratch").mkdir()
    path = tmp_path / "served" / "bucket" / "model.zt"
    expected = store(path, SIZE // (COLUMNS * 4))
    with nginx_server(tmp_path / "served", tmp_path / "scratch") as server:
        url, options = "s3://bucket/model.zt", server.endpoint.storage_options
        server.forget()
        means, together, peaks = compute(url, options)
        assert np.allclose(means, expected, rtol=1e-12)
        assert len(peaks) == WORKERS
        assert max(peaks) < 2 * GIB
        with zt.open(path) as reader:
            part = reader["rows"].components["data"]
        check_sent_once(server, part.offset, part.offset + part.length)
        assert server.bytes - part.length < (WORKERS + 1) * 70 * KIB
        alone = read(url, options)
        print(f"{SIZE / GIB:g} GiB by {WORKERS} processes: {together},", end=" ")
        print(f"{max(peaks) / MIB:.0f} MiB in the largest; just read by one: {alone}")
    path.unlink()
