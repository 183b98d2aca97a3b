"""The benchmark of reading runs, and counts what it says it counts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = ("into", "layer-cold", "open-30", "small-30", "columns-16-0", "compressed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the benchmark keeps everything while it runs."""
    return tmp_path_factory.mktemp("benchmark")


@pytest.fixture(scope="module")
def shown(folder: Path) -> subprocess.CompletedProcess[str]:
    """A short run."""
    command = [
        *(sys.executable, str(ROOT / "benchmarks" / "read.py"), "--quick", "--rounds", "1"),
        *("--case", *CASES, "--peer", "curl", "ztensor_remote"),
        *("--folder", str(folder), "--json", str(folder / "figures.json")),
    ]
    return subprocess.run(
        command, env=os.environ, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def cases(shown: subprocess.CompletedProcess[str], folder: Path) -> dict[str, Any]:
    """Its figures by case."""
    assert shown.returncode == 0, shown.stderr
    figures = json.loads((folder / "figures.json").read_text())
    return {case["case"]: case for case in figures["cases"]}


def test_every_case_has_figures_that_were_checked(cases: dict[str, Any]) -> None:
    for name in CASES:
        case = cases[name]
        assert "ztensor_remote" not in case["failed"], case
        (seconds,) = case["peers"]["ztensor_remote"]["rounds"]["seconds"]
        assert seconds > 0


def test_a_distant_server_takes_a_round_trip(cases: dict[str, Any]) -> None:
    (seconds,) = cases["open-30"]["peers"]["ztensor_remote"]["rounds"]["seconds"]
    assert seconds >= 0.03


@pytest.mark.skipif(shutil.which("nginx") is None, reason="its log has the counts")
def test_requests_are_counted_by_the_server(cases: dict[str, Any]) -> None:
    opened = cases["open-30"]["peers"]["ztensor_remote"]["summary"]
    assert opened["requests"] == 1
    small = cases["small-30"]["peers"]["ztensor_remote"]["summary"]
    assert small["MiB moved"] * (1 << 20) >= cases["small-30"]["wanted_bytes"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_limit_is_measured_beside_it(cases: dict[str, Any]) -> None:
    assert cases["into"]["peers"]["ztensor_remote"]["summary"]["of curl"] > 0


def test_nothing_is_left_behind(cases: dict[str, Any], folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["figures.json"]


def test_tables_are_printed(shown: subprocess.CompletedProcess[str]) -> None:
    assert "| ztensor_remote" in shown.stdout
    assert "### open-30: open, 30 ms" in shown.stdout
