"""A tensor of any size is written, and read back, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores.backends import MakeBackend, StoreBackend

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read there")
@pytest.mark.parametrize(
    ("mib", "most"),
    [(256, 128 * MIB), pytest.param(2048, 200 * MIB, marks=pytest.mark.slow)],
)
def test_from_a_generator_to_s3_and_back(backend_of: MakeBackend, mib: int, most: int) -> None:
    store = backend_of("rclone")
    assert isinstance(store, StoreBackend)
    url, options = store.endpoint.uri(store.key("large.zt")), store.endpoint.storage_options
    program = [sys.executable, "-m", "tests.writer.streaming", url, json.dumps(options), str(mib)]
    done = subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=280)
    assert done.returncode == 0
    writing, reading = map(int, done.stdout.split())
    assert writing < most
    assert reading < most
    store.fs.rm_file(store.key("large.zt"))
