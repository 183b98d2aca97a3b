"""The benchmark of distributed checkpoints runs, and counts what each library moves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]


def test_it_counts_what_both_move() -> None:
    program = str(ROOT / "benchmarks" / "dcp.py")
    done = subprocess.run(
        [sys.executable, program, "--quick", "--ranks", "2"],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in done.stdout.splitlines()
        if line.startswith("| ") and line[2] != "|"
    ]
    moved = {(action, library): int(mib) for action, library, *_, mib in rows}
    assert moved["save", "ztensor_remote"] == 16
    assert moved["load, as saved", "ztensor_remote"] == 16
    assert moved["load, other cut", "ztensor_remote"] <= moved["load, other cut", "torch"]
