"""Files that were appended to, written anew without what is dead in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.cli.command import run
from tests.reader.models import model_bytes
from tests.stores.backends import MakeBackend, StoreBackend, Through
from ztensor_remote.writer import Compaction, compact

from .test_append import SOME, VERSIONS, add, assert_holds

FILLER = np.random.default_rng(0).integers(0, 256, 6 << 20, np.uint8)


def grown(path: Any, version: Any) -> dict[str, Any]:
    """Write a file, append to it, remove and replace; return what it holds."""
    with zt.Writer(path, version=version) as writer:
        for name, tensor in SOME.items():
            writer.add_tensor(name, tensor)
        writer.add_tensor("gone", np.arange(1000))
        writer.add_tensor("zstd", np.zeros(5000), compress=True)
        writer.attributes["keep"] = "this"
    add(path, {"c": np.arange(7.0), "nothing": np.zeros((0, 2), np.int8)})
    with zt.append(path) as writer:
        writer.remove("gone")
        writer.replace("a", np.arange(8))
        writer.add_tensor("last", np.arange(3))
    others = {"a": np.arange(8), "c": np.arange(7.0), "nothing": np.zeros((0, 2), np.int8)}
    return SOME | {"zstd": np.zeros(5000), "last": np.arange(3)} | others


@pytest.mark.parametrize("version", VERSIONS)
def test_only_what_lives_is_left(tmp_path: Path, version: Any) -> None:
    path = tmp_path / "model.zt"
    wanted = grown(path, version)
    before = path.stat().st_size
    done = compact(path)
    assert done == Compaction(before, path.stat().st_size)
    assert done.after < before
    assert_holds(path, wanted)
    with zt.open(path) as model:
        assert model.attributes == {"keep": "this"}
        assert model.version == version
    fresh = tmp_path / "fresh.zt"
    with zt.Writer(fresh, version=version) as writer:
        for name in sorted(wanted):
            writer.add_tensor(name, wanted[name], compress=name == "zstd")
        writer.attributes["keep"] = "this"
    assert abs(fresh.stat().st_size - done.after) < 64
    assert compact(path) == Compaction(done.after, done.after)
    add(path, {"more": np.arange(4)})
    assert_holds(path, wanted | {"more": np.arange(4)})


def test_shared_blobs_stay_shared(tmp_path: Path) -> None:
    path = tmp_path / "model.zt"
    with zt.Writer(path, dedup=True) as writer:
        for name in "abc":
            writer.add_tensor(name, np.arange(1000))
    with zt.append(path) as writer:
        writer.remove("b")
    compact(path)
    assert_holds(path, {"a": np.arange(1000), "c": np.arange(1000)})
    assert path.stat().st_size < 8500


def test_a_file_without_tensors(tmp_path: Path) -> None:
    path = tmp_path / "model.zt"
    path.write_bytes(model_bytes(SOME))
    with zt.append(path) as writer:
        writer.remove("a")
        writer.remove("b")
    compact(path)
    assert path.read_bytes() == model_bytes({}) or path.stat().st_size < 80
    assert_holds(path, {})


def test_a_torn_tail_goes_too(tmp_path: Path) -> None:
    path = tmp_path / "model.zt"
    wanted = grown(path, "1.2")
    with path.open("ab") as file:
        file.write(b"torn")
    compact(path)
    assert_holds(path, wanted)
    with zt.open(path) as model:
        assert not model.recovered


@pytest.mark.parametrize("name", ["moto", "ministack"])
def test_large_runs_are_copied_inside(backend_of: MakeBackend, through: Through, name: str) -> None:
    store = backend_of(name)
    assert isinstance(store, StoreBackend)
    location, proxy = through(store, "object")
    place: dict[str, Any] = {
        "location": location.path,
        "storage_options": location.storage_options,
    }
    with zt.Writer(**place) as writer:
        for index in range(5):
            writer.add_tensor(str(index), FILLER)
    with zt.append(**place) as writer:
        writer.remove("2")
    proxy.clear()
    done = compact(**place)
    assert done.before - done.after > len(FILLER) - 100
    up = sum(request.request_bytes for request in proxy.requests)
    assert up < 2 * (5 << 20) + 20_000  # what fills up the first part of each run
    with zt.open(**place) as model:
        model.verify()
        assert sorted(model) == ["0", "1", "3", "4"]
    assert store.open_uploads() == []


@pytest.mark.parametrize("name", ["rclone", "gcs", "azure", "memory"])
def test_elsewhere_they_pass_through(backend_of: MakeBackend, name: str) -> None:
    backend = backend_of(name)
    location = backend.location("object")
    place: dict[str, Any] = {
        "location": location.path,
        "storage_options": location.storage_options,
    }
    with zt.Writer(**place) as writer:
        writer.add_tensor("a", FILLER)
        writer.add_tensor("b", FILLER)
    with zt.append(**place) as writer:
        writer.remove("a")
    done = compact(**place)
    assert done.after < len(FILLER) + 1000
    with zt.open(**place) as model:
        model.verify()
        assert [*model] == ["b"]
    assert backend.names() == ["object"]


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "model.zt"
    grown(path, "1.2")
    outcome = run("compact", path)
    assert outcome.status == 0
    assert outcome.stdout.endswith(f" bytes -> {path.stat().st_size:,} bytes\n")
    assert run("compact", path).stdout == "nothing to drop; the file was not changed\n"
