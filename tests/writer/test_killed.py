"""A writer that is killed leaves the old object or the new one, whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.faults import fault
from tests.stores.backends import MakeBackend, StoreBackend
from ztensor_remote.stores import discard, find_unfinished

from .dying import NEW, OLD, write

ROOT = Path(__file__).parents[2]
POINTS = 20

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def run(*arguments: str, before: str = "pass") -> int:
    """Run the program and return how many of its writers were killed."""
    program = f"{before}; import sys; from tests.writer.dying import main; main(*sys.argv[1:])"
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=240)
    assert done.returncode == 0
    return int(done.stdout)


def value_of(url: str, options: dict[str, Any]) -> int:
    """Return the value that all elements of a file have; it must be whole."""
    with zt.open(url, storage_options=options) as model:
        tensors = model.load(["small", "large"])
        (value,) = {*np.unique(tensors["small"]), *np.unique(tensors["large"])}
        return int(value)


@fault(12)
@pytest.mark.parametrize(
    "before",
    [
        pytest.param("pass", id="nameless"),
        pytest.param("import os; vars(os).pop('O_TMPFILE', None)", id="named"),
    ],
)
def test_on_a_disk(tmp_path: Path, before: str) -> None:
    for number in range(POINTS):
        write(str(tmp_path / f"{number}.zt"), {}, OLD, size=1000)
    killed = run("calls", str(tmp_path / "{}.zt"), "{}", str(POINTS), before=before)
    assert killed == POINTS

    assert value_of(str(tmp_path / "whole.zt"), {}) == NEW
    assert {value_of(str(tmp_path / f"{number}.zt"), {}) for number in range(POINTS)} >= {OLD}
    files = {f"{name}.zt" for name in [*range(POINTS), "whole"]}
    others = {path.name for path in tmp_path.iterdir()} - files
    assert all(re.fullmatch(r"\.\d+\.zt\.[0-9a-f]{12}\.tmp", name) for name in others)
    assert {path.name for path in tmp_path.glob("*.zt")} == files
    assert bool(others) == (before != "pass")

    write(str(tmp_path / "0.zt"), {}, NEW)
    assert value_of(str(tmp_path / "0.zt"), {}) == NEW


@fault(12)
@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("moto", POINTS),
        pytest.param("gcs", 8, marks=pytest.mark.slow),
        pytest.param("azure", 8, marks=pytest.mark.slow),
    ],
)
def test_in_a_store(backend_of: MakeBackend, name: str, points: int) -> None:
    store = backend_of(name)
    assert isinstance(store, StoreBackend)
    options = store.endpoint.storage_options
    url: Callable[[object], str] = lambda part: store.endpoint.uri(store.key(f"{part}.zt"))  # noqa: E731
    for number in range(points):
        write(url(number), options, OLD, size=1000)
    killed = run("times", url("{}"), json.dumps(options), str(points))
    assert killed

    found = {value_of(url(number), options) for number in range(points)}
    assert OLD in found <= {OLD, NEW}
    assert value_of(url("whole-0"), options) == NEW
    names = {*map(str, range(points)), *(f"whole-{number}" for number in range(4))}
    assert {name.removesuffix(".zt") for name in store.names()} == names
    for upload in store.open_uploads():
        assert upload["Key"].removeprefix(f"{store.folder}/").removesuffix(".zt") in names
    for left in find_unfinished(store.location("")):
        discard(left)
    assert store.open_uploads() == []
    assert {name.removesuffix(".zt") for name in store.names()} == names

    write(url(0), options, NEW)
    assert value_of(url(0), options) == NEW
