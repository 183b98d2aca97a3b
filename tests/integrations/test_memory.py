"""Models from a bucket take their own memory, and little more.

``pytest -m slow -s tests/integrations/test_memory.py`` loads one of 2 GiB; it takes as much of the
disk, and of memory.
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

pytestmark = pytest.mark.torch

ml_dtypes = pytest.importorskip("ml_dtypes")
pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no peak to be reset")
@pytest.mark.parametrize(
    ("mib", "most"),
    [
        (192, 96 * MIB),
        pytest.param(2048, 256 * MIB, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_of_a_model_that_is_loaded(tmp_path: Path, mib: int, most: int) -> None:
    (tmp_path / "bucket").mkdir()
    block = np.ones(mib * MIB // 4 // 2, ml_dtypes.bfloat16)
    with zt.Writer(tmp_path / "bucket" / "model.zt") as writer:
        for index in range(4):
            writer.add_tensor(f"layer-{index}", block)
    del block
    # Or it reads all of a file for the ETag in each of its answers.
    with rclone_server(tmp_path, "--etag-hash", "") as server:
        options = json.dumps(server.endpoint.storage_options)
        program = [sys.executable, "-m", "tests.integrations.filling", "s3://bucket/model.zt"]
        done = subprocess.run([*program, options], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    grown = [int(line) for line in done.stdout.split()]
    print(f"{mib} MiB: {', '.join(f'{each / MIB:.0f}' for each in grown)} MiB more")
    assert len(grown) == 3
    assert max(grown) < most
    (tmp_path / "bucket" / "model.zt").unlink()
