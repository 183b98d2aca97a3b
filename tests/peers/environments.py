"""Environments of the published packages: made once, kept in the project's cache.

An environment belongs to its requirements, the interpreter and the platform; when any of these
changes, another is made beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "peers"

_NUMPY = ("numpy>=2,<3", "ml_dtypes>=0.5,<1")
# The packages up to 1.1.1 return sparse tensors as SciPy matrices, and say so in no requirement.
_SCIPY = ("scipy>=1.13,<2",)
REQUIREMENTS = {
    "1.0.1": ("ztensor==1.0.1", *_NUMPY, *_SCIPY),
    "1.0.2": ("ztensor==1.0.2", *_NUMPY, *_SCIPY),
    "1.1.1": ("ztensor==1.1.1", *_NUMPY, *_SCIPY),
    "1.2.3": ("ztensor==1.2.3", *_NUMPY),
    "2.1.2": ("ztensor==2.1.2", *_NUMPY),
}

# What pip says when it gets no answer, or when the index has nothing for this interpreter.
_NOTHING_TO_BE_HAD = ("connection broken by", "Could not fetch URL", "No matching distribution")


class NothingToInstallError(RuntimeError):
    """No index was reached, or none has the package for this interpreter."""


def interpreter(version: str) -> Path:
    """Return the interpreter of a version's environment, after making it if need be.

    Raises
    ------
    NothingToInstallError
    """
    folder = CACHE / version / _key(version)
    if folder.exists():
        return _python(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Elsewhere at first: an interrupted installation must not count as one.
    with (
        FileLock(folder.parent / "lock"),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-") as scratch,
    ):
        if not folder.exists():  # else another test process had the lock before
            fresh = Path(scratch) / "environment"
            _make(fresh, REQUIREMENTS[version])
            fresh.rename(folder)
    return _python(folder)


def site_packages(python: Path) -> Path:
    """Return the folder that the packages of an environment are in."""
    [folder] = python.parents[1].glob("[Ll]ib/**/site-packages")
    return folder


def _key(version: str) -> str:
    depends = [REQUIREMENTS[version], sys.version, sys.base_prefix, platform.platform()]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:16]


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _make(folder: Path, requirements: tuple[str, ...]) -> None:
    venv.create(folder, symlinks=os.name != "nt")
    # The pip at hand installs into it, which spares every environment one of its own; modules are
    # compiled when they are first imported, which few of SciPy's ever are.
    command = [
        *(sys.executable, "-m", "pip", "--python", str(_python(folder))),
        *("install", "--quiet", "--no-input", "--no-compile", "--only-binary", ":all:"),
        *requirements,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    if any(reason in done.stderr for reason in _NOTHING_TO_BE_HAD):
        raise NothingToInstallError(f"pip can't install {requirements[0]}: {done.stderr[-2000:]}")
    raise RuntimeError(f"pip failed for {', '.join(requirements)}:\n{done.stderr}")
