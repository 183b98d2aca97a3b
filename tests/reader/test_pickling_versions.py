"""Handles between versions of Python: ``pytest -m slow tests/reader/test_pickling_versions.py``.

Other interpreters are looked for on the search path and among pyenv's; what it takes to read local
files is installed for each, in an environment that is thrown away.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import model_bytes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ("numpy", "fsspec", "zstandard", "crc32c", "cbor2", "ml_dtypes", "xxhash")
VERSIONS = [f"3.{minor}" for minor in (11, 12, 13) if minor != sys.version_info.minor]
ROWS = np.arange(40, dtype=np.float32).reshape(8, 5)

THERE = """
import pickle, sys
handles = pickle.load(sys.stdin.buffer)
reader, sent, tensor, log = handles
found = reader["w"].numpy(), sent["w"][:], tensor.numpy(), log.latest()["w"].numpy()
pickle.dump((handles, found), sys.stdout.buffer)
"""


def interpreter(version: str) -> Path:
    """Find a version of Python, or skip."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [*pyenv.glob(f"versions/{version}.*/bin/python"), shutil.which(f"python{version}")]
    for python in filter(None, found):
        asked = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
        if asked.stdout.startswith(f"Python {version}."):
            return Path(python)
    pytest.skip(f"Python {version} is not on this machine")


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An interpreter of another version, with what reading takes."""
    folder = tmp_path / "environment"
    subprocess.run([interpreter(request.param), "-m", "venv", folder], check=True)
    made = folder / "bin" / "python"
    install = [made, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*install, *REQUIREMENTS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        pytest.skip(f"pip can't install for Python {request.param}: {done.stdout[-500:].decode()}")
    return made


def test_handles_go_there_and_come_back(python: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.zt"
    path.write_bytes(model_bytes({"w": ROWS}, {"license": "MIT"}, compress=True))
    with zt.CheckpointLog(tmp_path / "log") as log:
        log.append(1, {"w": ROWS})
    reader, sent = zt.open(path), zt.open(path, send_manifest=True)
    sending = pickle.dumps((reader, sent, sent["w"], log))
    answer = subprocess.run(
        [python, "-W", "error", "-c", THERE],
        input=sending,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    (reader, sent, tensor, log), found = pickle.loads(answer.stdout)
    for rows in (*found, reader["w"][:], sent["w"][:], tensor[:], log.latest()["w"][:]):
        assert (rows == ROWS).all()
    assert dict(sent.attributes) == {"license": "MIT"}
