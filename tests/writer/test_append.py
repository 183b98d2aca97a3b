"""Files that are added to: what they hold afterwards, and what rivals do to each other."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import MEMORY, model_bytes, new_url, same
from ztensor_remote.container import MAGIC_0_1, MAGIC_2, Footer, Generation, build_footer
from ztensor_remote.manifest import Shard
from ztensor_remote.writer import compact

VERSIONS = ["1.0", "1.2", "2"]
SOME = {"a": np.arange(5), "b": np.ones((2, 3), np.float32)}
MORE = {"c": np.arange(7.0), "d": np.zeros(0, np.int8)}


def contents(location: Any) -> dict[str, Any]:
    """Return all that a file holds, verified."""
    with zt.open(location) as model:
        model.verify()
        return model.load()


def add(location: Any, tensors: dict[str, Any], **options: Any) -> None:
    """Append tensors."""
    with zt.append(location, **options) as writer:
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor)


def assert_holds(location: Any, wanted: dict[str, Any]) -> None:
    found = contents(location)
    assert found.keys() == wanted.keys()
    assert all(same(found[name], wanted[name]) for name in wanted)


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Where a file can be."""
    return tmp_path / "model.zt" if request.param == "local" else new_url()


def put(place: Any, version: Any = "1.2", **tensors: Any) -> None:
    data = model_bytes(tensors or SOME, {"step": 1, "keep": [1, 2]}, version=version)
    place.write_bytes(data) if isinstance(place, Path) else MEMORY.pipe_file(place, data)


@pytest.mark.parametrize("retries", [0, 3])
@pytest.mark.parametrize("version", VERSIONS)
class TestTensors:
    def test_are_added(self, place: Any, version: Any, retries: int) -> None:
        put_text(place, version)
        with zt.Writer(place, mode="a", retries=retries) as writer:
            assert writer.version == version
            assert writer.tensor_names == [*SOME]
            writer.add_tensor("c", MORE["c"], compress=True)
            with writer.stream_tensor("d", (0,), "int8"):
                pass
            with pytest.raises(zt.DuplicateNameError):
                writer.add_tensor("a", np.zeros(1))
            writer.attributes["step"] = "2"
        assert_holds(place, SOME | MORE)
        with zt.open(place) as model:
            assert model.attributes == {"keep": "this", "step": "2"}
            assert model.version == version

    def test_are_removed(self, place: Any, version: Any, retries: int) -> None:
        put_text(place, version)
        with zt.append(place, retries=retries) as writer:
            writer.remove("a")
            with pytest.raises(zt.TensorNotFoundError, match="'a'"):
                writer.remove("a")
            writer.add_tensor("c", MORE["c"])
            writer.add_tensor("d", MORE["d"])
            writer.remove("d")
        assert_holds(place, {"b": SOME["b"], "c": MORE["c"]})

    def test_are_replaced(self, place: Any, version: Any, retries: int) -> None:
        put_text(place, version)
        with zt.append(place, retries=retries) as writer:
            writer.replace("a", MORE["c"], compress=True)
            with pytest.raises(zt.TensorNotFoundError):
                writer.replace("x", MORE["c"])
            with pytest.raises(zt.InvalidInputError):
                writer.replace("b", "text")
            assert sorted(writer.tensor_names) == ["a", "b"]
        assert_holds(place, {"a": MORE["c"], "b": SOME["b"]})

    def test_fifty_times(self, place: Any, version: Any, retries: int) -> None:
        put_text(place, version)
        wanted = dict(SOME)
        for index in range(50):
            more = {f"t{index}": np.arange(index)}
            add(place, more, retries=retries)
            wanted |= more
        assert_holds(place, wanted)

    def test_nothing_changes_if_it_fails(self, place: Any, version: Any, retries: int) -> None:
        put_text(place, version)
        before = raw(place)
        with pytest.raises(ZeroDivisionError), zt.append(place, retries=retries) as writer:
            writer.add_tensor("c", MORE["c"])
            1 / 0  # noqa: B018
        assert raw(place) == before
        assert [path for path in neighbours(place) if "model.zt" not in path] == []


def put_text(place: Any, version: Any) -> None:
    data = model_bytes(SOME, {"step": "1", "keep": "this"}, version=version)
    place.write_bytes(data) if isinstance(place, Path) else MEMORY.pipe_file(place, data)


def raw(place: Any) -> bytes:
    data: bytes = place.read_bytes() if isinstance(place, Path) else MEMORY.cat_file(place)
    return data


def neighbours(place: Any) -> list[str]:
    if isinstance(place, Path):
        return [path.name for path in place.parent.iterdir()]
    found: list[str] = MEMORY.find(place.rpartition("/")[0])
    return found


class TestArguments:
    def test_a_new_file_takes_nothing_back(self) -> None:
        with zt.Writer(new_url()) as writer:
            writer.add_tensor("a", np.zeros(1))
            with pytest.raises(zt.UnsupportedError, match="mode='a'"):
                writer.remove("a")
            with pytest.raises(zt.UnsupportedError, match="mode='a'"):
                writer.replace("a", np.zeros(1))
            assert writer.tensor_names == ["a"]

    @pytest.mark.parametrize(
        "options",
        [
            {"mode": "r"},
            {"retries": 1},
            {"mode": "a", "retries": -1},
            {"mode": "a", "retries": 1.5},
            {"mode": "a", "canonical": True},
            {"mode": "a", "version": "2"},
        ],
    )
    def test_that_make_no_sense(self, options: Any, tmp_path: Path) -> None:
        path = tmp_path / "model.zt"
        put(path)
        before = path.read_bytes()
        with pytest.raises(zt.InvalidInputError):
            zt.Writer(path, **options)
        assert path.read_bytes() == before

    def test_there_must_be_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(zt.NotFoundError):
            zt.append(tmp_path / "missing.zt")
        assert [*tmp_path.iterdir()] == []


class TestReaders:
    def test_stay_with_what_they_opened(self, tmp_path: Path) -> None:
        path = tmp_path / "model.zt"
        put(path)
        with zt.open(path) as model:
            lazy = model["a"]
            add(path, MORE)
            assert [*model] == [*SOME]
            assert same(model["b"].numpy(), SOME["b"])
            assert model.refresh()
            assert sorted(model) == sorted(SOME | MORE)
            assert same(model["c"].numpy(), MORE["c"])
            assert same(lazy.numpy(), SOME["a"])
            assert not model.refresh()
            model.verify()

    def test_stay_as_they_are_where_there_is_nothing_new_to_see(self, tmp_path: Path) -> None:
        path = tmp_path / "model.zt"
        put(path)
        with zt.open(path) as model:
            path.rename(path.with_name("elsewhere.zt"))
            with pytest.raises(zt.NotFoundError):
                model.refresh()
            assert same(model["a"].numpy(), SOME["a"])
        with pytest.raises(zt.ClosedError):
            model.refresh()


class TestShards:
    """Roots of version 2 that refer to other files."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """An overlay: a file of its own tensor, and one of the base model's."""
        base = tmp_path / "model-base.zt"
        base.write_bytes(model_bytes({"a": SOME["a"]}, version="2"))
        root = tmp_path / "model.zt"
        digest = f"sha256:{hashlib.sha256(base.read_bytes()).hexdigest()}"
        with zt.open(base) as model, zt.Writer(root, version="2") as writer:
            writer.add_tensor("b", SOME["b"])
            part = replace(model.manifest.tensors["a"].components["data"], shard="base")
            tensor = replace(model.manifest.tensors["a"], components={"data": part})
            writer._file.tensors["a"] = tensor
            writer._file._shards = {"base": Shard(base.stat().st_size, digest)}
        assert_holds(root, SOME)
        return root

    @pytest.mark.parametrize("retries", [0, 2])
    def test_are_still_referred_to(self, root: Path, retries: int) -> None:
        add(root, MORE, retries=retries)
        assert_holds(root, SOME | MORE)
        with zt.open(root) as model:
            assert model["a"].components["data"].shard == "base"
            model.verify(deep=True)

    def test_are_left_alone_by_changes_and_compaction(self, root: Path) -> None:
        with zt.append(root) as writer:
            writer.replace("a", MORE["c"])
            writer.remove("b")
        assert_holds(root, {"a": MORE["c"]})
        compact(root)
        assert_holds(root, {"a": MORE["c"]})

    def test_compaction_moves_none_of_their_bytes(self, root: Path) -> None:
        add(root, MORE)
        compact(root)
        assert_holds(root, SOME | MORE)

    def test_a_data_shard_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "data.zt"
        path.write_bytes(MAGIC_2.ljust(4096, b"\0") + build_footer(Footer(Generation.V2, 0, 0)))
        before = path.read_bytes()
        for refused in (zt.append, compact):
            with pytest.raises(zt.UnsupportedError, match="data shard"):
                refused(path)  # type: ignore[operator]
        assert path.read_bytes() == before

    def test_version_0_1_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "old.zt"
        path.write_bytes(MAGIC_0_1 + b"\x80" + (1).to_bytes(8, "little"))
        with pytest.raises(zt.UnsupportedError, match=r"0\.1"):
            zt.append(path)
