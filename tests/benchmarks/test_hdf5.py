"""The benchmark of HDF5 files runs; it compares what both libraries read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_reads_each_case_at_each_distance() -> None:
    program = str(ROOT / "benchmarks" / "hdf5.py")
    done = subprocess.run(
        [sys.executable, program, "--quick", "--round-trip", "0", "1"],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| 0 ms |") == done.stdout.count("| 1 ms |") == 3
