"""The benchmark of writing runs, checks what was stored, and counts what it says it counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = ("upload", "log")
PEERS = ("raw", "ztensor_remote", "obstore")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Figures of a short run, by case."""
    figures = tmp_path_factory.mktemp("benchmark") / "figures.json"
    command = [
        *(sys.executable, str(ROOT / "benchmarks" / "write.py"), "--quick", "--rounds", "1"),
        *("--case", *CASES, "--peer", *PEERS, "--json", str(figures)),
    ]
    shown = subprocess.run(
        command, env=os.environ, capture_output=True, text=True, timeout=180, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert "| ztensor_remote" in shown.stdout
    return {case["case"]: case for case in json.loads(figures.read_text())["cases"]}


def test_every_peer_stored_what_it_was_given(cases: dict[str, Any]) -> None:
    assert {name: case["failed"] for name, case in cases.items()} == {name: {} for name in CASES}
    assert cases["upload"]["peers"].keys() == set(PEERS)
    assert cases["log"]["peers"].keys() == {"ztensor_remote"}


def test_the_server_counts_what_it_drops(cases: dict[str, Any]) -> None:
    for peer in cases["upload"]["peers"].values():
        (moved,) = peer["rounds"]["moved"]
        assert cases["upload"]["wanted_bytes"] <= moved < 1.01 * cases["upload"]["wanted_bytes"]
    (requests,) = cases["upload"]["peers"]["ztensor_remote"]["rounds"]["requests"]
    # Opened, two parts and the rest, completed, looked at.
    assert requests == 6
