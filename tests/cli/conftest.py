"""Commands that run in this process, in a folder with a model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.stores.conftest import *  # noqa: F403
from ztensor_remote.cli import main

from .command import Command, Outcome
from .files import write_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model.zt")
    return tmp_path


@pytest.fixture
def ztensor(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process, in the folder of a model."""

    def run_here(*arguments: str | Path) -> Outcome:
        status = main([*map(str, arguments)])
        return Outcome(status, *capsys.readouterr())

    return run_here


@pytest.fixture
def info(ztensor: Command) -> Command:
    """Run ``ztensor info`` in this process."""
    return partial(ztensor, "info")
