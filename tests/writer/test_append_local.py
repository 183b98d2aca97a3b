"""Appending in place: a local file keeps its last whole generation, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.cli.command import run
from tests.reader.models import model_bytes
from tests.stores.test_upload_local import file_size_limit

from .test_append import SOME, add, assert_holds

ROOT = Path(__file__).parents[2]
IN_PLACE = ["1.2", "2"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.zt"


@pytest.fixture
def appended(request: pytest.FixtureRequest, path: Path) -> tuple[bytes, bytes]:
    """A small file, and what it is after an append; the file is there as it was before."""
    path.write_bytes(model_bytes(SOME, version=request.param))
    before = path.read_bytes()
    add(path, {"c": np.arange(9)})
    after = path.read_bytes()
    path.write_bytes(before)
    return before, after


@pytest.mark.parametrize("appended", ["1.2"], indirect=True)
def test_a_tail_that_is_torn_at_any_byte(path: Path, appended: tuple[bytes, bytes]) -> None:
    before, after = appended
    assert after.startswith(before)
    for size in range(len(before), len(after)):
        path.write_bytes(after[:size])
        with zt.open(path) as model:
            assert model.recovered == (size > len(before))
            assert ("recovered" in repr(model)) == model.recovered
            assert [*model] == [*SOME]
            assert model.identity.size == len(before)
        if size % 7 == 0:
            add(path, {"c": np.arange(9)})
            assert path.read_bytes() == after


@pytest.mark.parametrize("appended", ["2"], indirect=True)
def test_a_torn_tail_of_version_2(path: Path, appended: tuple[bytes, bytes]) -> None:
    before, after = appended
    cuts = {*range(len(after) - 400, len(after)), *range(len(before) + 1, len(after), 5003)}
    for size in sorted(cuts):
        path.write_bytes(after[:size])
        with zt.open(path) as model:
            assert model.recovered and [*model] == [*SOME]
    add(path, {"c": np.arange(9)})
    assert path.read_bytes() == after


@pytest.mark.parametrize("appended", ["2"], indirect=True)
def test_repair(path: Path, appended: tuple[bytes, bytes]) -> None:
    before, after = appended
    path.write_bytes(after[:-5])
    cut = len(after) - 5 - len(before)
    outcome = run("repair", path)
    assert (outcome.status, outcome.stdout) == (0, f"cut off {cut:,} bytes\n")
    assert path.read_bytes() == before
    outcome = run("repair", path)
    assert (outcome.status, outcome.stdout) == (0, "the file is whole; nothing was changed\n")
    path.write_bytes(before[:-5])
    assert run("repair", path).status == 1
    assert path.read_bytes() == before[:-5]
    assert "local" in run("repair", "memory://model.zt").stderr


def test_a_file_in_a_torn_tail_is_not_taken_for_the_whole(path: Path) -> None:
    path.write_bytes(model_bytes(SOME))
    other = np.frombuffer(model_bytes({"other": np.arange(7, 10)}), np.uint8)
    before = path.read_bytes()
    add(path, {"file": other, "more": np.zeros(1000)})
    path.write_bytes(path.read_bytes()[:-2000])
    with zt.open(path) as model:
        assert model.recovered and [*model] == [*SOME]
        assert model.identity.size == len(before)
        model.verify()


def test_a_file_full_of_magic_numbers_is_given_up(path: Path) -> None:
    path.write_bytes(b"ZTEN1000" * 300_000 + b"end")
    with pytest.raises(zt.FormatError):
        zt.open(path)


@pytest.mark.parametrize("appended", IN_PLACE, indirect=True)
class TestRivals:
    def test_one_appender_at_a_time(self, path: Path, appended: tuple[bytes, bytes]) -> None:
        _, after = appended
        with zt.append(path) as writer:
            with pytest.raises(zt.ConcurrentWriteError, match="adding to it"):
                zt.append(path)
            writer.add_tensor("c", np.arange(9))
        assert path.read_bytes() == after

    def test_one_that_came_before_the_lock(self, path: Path, appended: tuple[bytes, bytes]) -> None:
        from ztensor_remote.stores import locate, open_append, open_source

        _, after = appended
        source, _ = open_source(locate(path), window=100)
        path.write_bytes(after)
        with pytest.raises(zt.ConcurrentWriteError):
            open_append(locate(path), source, in_place=True)
        assert path.read_bytes() == after
        source.close()

    def test_one_that_replaced_the_file(self, path: Path, appended: tuple[bytes, bytes]) -> None:
        writer = zt.append(path)
        writer.add_tensor("c", np.arange(9))
        with zt.Writer(path) as rival:
            rival.add_tensor("new", np.arange(2))
        with pytest.raises(zt.ConcurrentWriteError):
            writer.finalize()
        assert_holds(path, {"new": np.arange(2)})

    def test_one_that_removed_it(self, path: Path, appended: tuple[bytes, bytes]) -> None:
        writer = zt.append(path)
        path.unlink()
        with pytest.raises(zt.ConcurrentWriteError):
            writer.finalize()
        assert not path.exists()


@pytest.mark.parametrize("appended", IN_PLACE, indirect=True)
def test_a_full_disk(path: Path, appended: tuple[bytes, bytes]) -> None:
    before, _ = appended
    with (
        file_size_limit(len(before) + 100_000),
        pytest.raises(zt.StoreError),
        zt.append(path) as writer,
    ):
        writer.add_tensor("large", np.zeros(1 << 20, np.uint8))
    assert path.read_bytes() == before


@pytest.mark.parametrize("appended", IN_PLACE, indirect=True)
def test_readers_during_an_append(path: Path, appended: tuple[bytes, bytes]) -> None:
    with zt.open(path) as early, zt.append(path) as writer:
        writer.add_tensor("large", np.ones(3 << 20, np.uint8))
        with zt.open(path) as late:
            assert late.recovered and not early.recovered
            for model in (early, late):
                assert [*model] == [*SOME]
                model.verify()


KILLED = """
import os, signal, sys
import numpy as np
import ztensor_remote as zt
writer = zt.append(sys.argv[1])
writer.add_tensor("large", np.ones(3 << 20, np.uint8))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("appended", IN_PLACE, indirect=True)
def test_a_killed_appender(path: Path, appended: tuple[bytes, bytes]) -> None:
    before, after = appended
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert len(path.read_bytes()) > len(before) + (3 << 20)
    with zt.open(path) as model:
        assert model.recovered
        model.verify()
    add(path, {"c": np.arange(9)})
    assert path.read_bytes() == after


APPENDS = """
import sys
import numpy as np
import ztensor_remote as zt
for index in range(4):
    with zt.append(sys.argv[1], retries=50) as writer:
        writer.add_tensor(f"{sys.argv[2]}/{index}", np.full(1000, index))
        writer.attributes[sys.argv[2]] = index
"""


@pytest.mark.parametrize("appended", ["1.2"], indirect=True)
def test_many_processes(path: Path, appended: tuple[bytes, bytes]) -> None:
    def start(name: int) -> Any:
        command = [sys.executable, "-c", APPENDS, str(path), str(name)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    with ThreadPoolExecutor(4) as pool:
        for done in pool.map(start, range(4)):
            assert done.returncode == 0, done.stderr
    added = {f"{name}/{index}": np.full(1000, index) for name in range(4) for index in range(4)}
    assert_holds(path, SOME | added)
    with zt.open(path) as model:
        assert not model.recovered
        assert model.attributes == {str(name): 3 for name in range(4)}


def test_a_write_protected_file(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write to any file")
    path.write_bytes(model_bytes(SOME))
    path.chmod(0o400)
    with pytest.raises(zt.AccessDeniedError):
        zt.append(path)
