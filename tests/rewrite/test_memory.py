"""Converting from store to store takes little memory, however large the file is.

``pytest -m slow -s tests/rewrite/test_memory.py`` converts 8 GiB; it takes as much of the disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ztensor_remote as zt
from tests.servers.rclone import rclone_server

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
TENSOR = 64 * MIB


def make_on_the_server(path: Path, mib: int) -> int:
    """Write a safetensors file as holes between marks; return the number of its tensors."""
    count = mib * MIB // TENSOR
    entries = {
        f"layers.{index}": {
            "dtype": "U8",
            "shape": [TENSOR],
            "data_offsets": [index * TENSOR, (index + 1) * TENSOR],
        }
        for index in range(count)
    }
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        start = file.tell()
        for index in range(count):
            file.seek(start + index * TENSOR + index)
            file.write(b"mark")
        file.truncate(start + count * TENSOR)
    return count


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read there")
@pytest.mark.parametrize(
    "mib", [192, pytest.param(8192, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_from_s3_to_s3(tmp_path: Path, mib: int) -> None:
    folder = tmp_path / "bucket"
    folder.mkdir()
    count = make_on_the_server(folder / "model.safetensors", mib)
    # Or it reads all of a file for the ETag in each of its answers.
    with rclone_server(tmp_path, "--etag-hash", "") as server:
        options = server.endpoint.storage_options
        source, target = (f"s3://bucket/model.{ending}" for ending in ("safetensors", "zt"))
        program = [sys.executable, "-m", "tests.rewrite.converting", source, target]
        done = subprocess.run(
            [*program, json.dumps(options)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert done.returncode == 0
        print(f"{mib} MiB: a peak of {int(done.stdout) / MIB:.0f} MiB")
        assert int(done.stdout) < 256 * MIB
        with zt.open(target, storage_options=options) as model:
            assert len(model) == count
            for index in range(count):
                piece = model[f"layers.{index}"][index : index + 5]
                assert bytes(np.asarray(piece)) == b"mark\0"
    (folder / "model.zt").unlink()
