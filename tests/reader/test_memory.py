"""What loading takes besides its result, as the operating system counts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

import ztensor_remote as zt
from tests.formats.build import dense_1
from tests.servers.http import HttpServer

MIB = 1 << 20
MOST = 64 * MIB

LOADING = """
import json, sys
import numpy as np
import ztensor_remote as zt

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

model = zt.open(sys.argv[1])
with open("/proc/self/clear_refs", "w") as refs:
    refs.write("5")  # the peak begins anew
before = status("VmRSS")
if sys.argv[2] == "load":
    loaded = list(model.load().values())
else:
    loaded = [model["t"][::1000]]
extra = status("VmHWM") - before - sum(array.nbytes for array in loaded)
print(json.dumps([extra, sum(array.nbytes for array in loaded), [int(a[-1]) for a in loaded]]))
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="this system does not count peaks"
)


def extra_of(url: str, way: str) -> tuple[int, int, list[int]]:
    command = [sys.executable, "-c", LOADING, url, way]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    extra, nbytes, last = json.loads(done.stdout)
    return extra, nbytes, last


def noise(nbytes: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    once = np.random.default_rng(seed).integers(0, 16, min(nbytes, 5 * MIB), np.uint8)
    return np.resize(once, nbytes)


def test_a_load_of_any_mix(http_server: HttpServer, tmp_path: Path) -> None:
    sizes = [64 * MIB, 32 * MIB, *[8 * MIB] * 3, *[64 << 10] * 128]
    with zt.Writer(tmp_path / "model.zt") as w:
        for number, size in enumerate(sizes):
            for compress in (False, True):
                w.add_tensor(f"{number:03} {compress}", noise(size, number), compress=compress)
    extra, nbytes, last = extra_of(http_server.endpoint.uri("model.zt"), "load")
    assert nbytes == 256 * MIB
    assert last[:4] == [int(noise(size, n)[-1]) for n, size in enumerate(sizes[:2]) for _ in "rz"]
    assert extra < MOST


@pytest.mark.parametrize("way", ["load", "slice"])
def test_a_large_stream_without_a_table(http_server: HttpServer, tmp_path: Path, way: str) -> None:
    array = noise(160 * MIB, 0)
    stored = zstandard.ZstdCompressor(level=1).compress(array)
    file = dense_1("1.2", stored, [len(array)], encoding="zstd", uncompressed_length=len(array))
    (tmp_path / "model.zt").write_bytes(file)
    extra, nbytes, last = extra_of(http_server.endpoint.uri("model.zt"), way)
    assert nbytes == len(array) // (1 if way == "load" else 1000) + (way == "slice")
    assert last == [int(array[-1] if way == "load" else array[::1000][-1])]
    assert extra < MOST
