"""Several files that are read as one: lists, patterns, indexes, folders."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import ztensor_remote as zt
from tests.reader.repositories import (
    COUNT,
    INDEX,
    all_arrays,
    arrays_of,
    name_of,
    put_files,
    put_index,
    same_as,
    weight_map,
)
from tests.servers.faults import Delay, Status
from tests.servers.http import HttpServer
from tests.servers.hub import REPOSITORY, TOKEN, Commit, Hub
from tests.servers.proxy import Proxy, Request
from tests.stores.backends import (
    Backend,
    HttpBackend,
    LocalBackend,
    MakeBackend,
    StoreBackend,
    Through,
)
from ztensor_remote.stores import Location

FIXTURES = Path(__file__).parents[1] / "data" / "fixtures" / "2.1.2"
FEW = 3


@pytest.fixture
def moto_files(backend_of: MakeBackend) -> StoreBackend:
    made = backend_of("moto")
    assert isinstance(made, StoreBackend)
    put_files(made)
    return made


@pytest.fixture
def folder(backend_of: MakeBackend) -> Backend:
    """The same in a folder of this machine."""
    made = backend_of("local")
    put_files(made)
    return made


def listed(backend: Backend) -> list[Location]:
    return [backend.location(name_of(number)) for number in range(COUNT)]


class TestEveryLane:
    @pytest.mark.parametrize("lane", ["local", "memory", "moto", "s3fs", "gcs", "azure"])
    def test_every_way_to_name_them(self, backend_of: MakeBackend, lane: str) -> None:
        backend = backend_of(lane)
        put_files(backend, FEW)
        few = all_arrays(FEW)
        with zt.open([backend.location(name_of(number, FEW)) for number in range(FEW)]) as model:
            assert same_as(model.load(), few)
        with zt.open(backend.location("model-*.safetensors")) as model:
            assert same_as(model.load(), few)
            files = [model[name].components["data"].shard for name in model]
            assert files == [name_of(number // 2, FEW) for number in range(2 * FEW)]
        backend.put("config.json", b"{}")
        place = backend.location(INDEX)
        folder = place.path.removesuffix(INDEX)
        with zt.open(replace(place, path=folder)) as model:
            assert same_as(model, few)
        put_index(backend, weight_map(FEW))
        for path in (place.path, folder.removesuffix("/")):
            with zt.open(replace(place, path=path)) as model:
                assert same_as(model.load(), few)
                assert model.attributes == {"format": "pt"}
                assert model.version == "safetensors"

    @pytest.mark.parametrize("lane", ["local", "moto"])
    def test_pickled(self, backend_of: MakeBackend, lane: str) -> None:
        backend = backend_of(lane)
        put_files(backend, FEW)
        with zt.open(backend.location("model-*.safetensors")) as model:
            there = pickle.loads(pickle.dumps(model))
            tensor = pickle.loads(pickle.dumps(model["layers.1.bias"]))
            assert there.identity == model.identity
            backend.put("model-x.safetensors", safetensors.numpy.save({"x": np.zeros(3)}))
            again = pickle.loads(pickle.dumps(model))
        assert same_as(there, all_arrays(FEW))
        assert same_as(again, all_arrays(FEW))
        assert tensor[2:].tolist() == arrays_of(1)["layers.1.bias"][2:].tolist()


class TestOneMapping:
    def test_what_is_told_of_it(self, folder: Backend) -> None:
        with zt.open(folder.location("model-*.safetensors")) as model:
            assert len(model) == 2 * COUNT
            assert "8 files, 16 tensors" in repr(model)
            assert model["layers.5.weight"].components["data"].shard == name_of(5)
            assert model.url == folder.location("model-*.safetensors").url
            assert [name for name, _ in model.identity.files] == [*map(name_of, range(COUNT))]

    def test_slices_and_memory_of_the_callers(self, moto_files: Backend) -> None:
        with zt.open(moto_files.location("model-*.safetensors")) as model:
            chosen = model.load(slices={"layers.0.weight": np.s_[3:5], "layers.7.bias": np.s_[::3]})
            assert chosen["layers.0.weight"].tolist() == model["layers.0.weight"][3:5].tolist()
            assert chosen["layers.7.bias"].tolist() == arrays_of(7)["layers.7.bias"][::3].tolist()
            out = {name: np.empty_like(array) for name, array in all_arrays().items()}
            model.read_into(out)
            assert same_as(out, all_arrays())
            assert model.verify() == zt.Verification(0, 2 * COUNT)

    def test_files_of_several_formats_keep_their_rules(self, tmp_path: Path) -> None:
        """Digests of version 2 are of decoded bytes, those of 1.2 of stored ones."""
        for version, checksum in (("1.2", "crc32c"), ("2", "xxh3"), ("1.0", "crc32c")):
            with zt.Writer(tmp_path / f"{version}.zt", version=version) as writer:  # type: ignore[arg-type]
                writer.attributes["from"] = version
                zeros = np.zeros(300_000)
                writer.add_tensor(version, zeros, compress=True, checksum=checksum)
        safetensors.numpy.save_file({"s": np.arange(3)}, tmp_path / "s.safetensors")
        places = [*sorted(tmp_path.iterdir()), (FIXTURES / "sparse.zt").read_bytes()]
        with zt.open(places) as model:
            assert model.version == "mixed"
            assert model.attributes["from"] == "1.0"
            assert model["s"].numpy().tolist() == [0, 1, 2]
            assert not model["2"].numpy().any()
            found = model.verify()
            assert found.checked >= 3
            loaded = model.load()
            assert {*loaded} == {*model}

    def test_damage_is_found_in_its_file(self, tmp_path: Path) -> None:
        for name in "ab":
            with zt.Writer(tmp_path / f"{name}.zt") as writer:
                writer.add_tensor(name, np.zeros(100))
        data = bytearray((tmp_path / "b.zt").read_bytes())
        data[100] ^= 1
        (tmp_path / "b.zt").write_bytes(data)
        with zt.open(tmp_path / "*.zt") as model:
            assert not model["a"].numpy().any()
            with pytest.raises(zt.DigestError, match=r"tensor 'b' .*/b\.zt"):
                model["b"].numpy()
            with pytest.raises(zt.DigestError):
                model.load()

    def test_a_root_among_them_has_shards(self, backend_of: MakeBackend) -> None:
        made = backend_of("memory")
        for path in FIXTURES.glob("sharded*.zt"):
            made.put(path.name, path.read_bytes())
        put_files(made, 1)
        with zt.open([made.location("sharded.zt"), made.location(name_of(0, 1))]) as model:
            assert same_as({name: model[name] for name in arrays_of(0)}, arrays_of(0))
            with zt.open(made.location("sharded.zt")) as alone:
                assert model["a"].numpy().tolist() == alone["a"].numpy().tolist()
            assert model["a"].components["data"].shard == "sharded.zt/00001-of-00002"
            assert model.verify(deep=True).checked == 7

    def test_closed(self, moto_files: Backend) -> None:
        model = zt.open(listed(moto_files))
        model.close()
        with pytest.raises(zt.ClosedError):
            model["layers.0.bias"].numpy()

    def test_refreshed(self, folder: Backend) -> None:
        with zt.open(folder.location("*.safetensors")) as model:
            assert not model.refresh()
            folder.put("more.safetensors", safetensors.numpy.save({"x": np.ones(3)}))
            before = model["layers.0.bias"]
            assert model.refresh()
            assert model["x"].numpy().tolist() == [1, 1, 1]
            assert len(model) == 2 * COUNT + 1
            assert before.numpy().tolist() == arrays_of(0)["layers.0.bias"].tolist()

    def test_pinned_by_the_caller(self, folder: Backend) -> None:
        place = folder.location("*.safetensors")
        with zt.open(place) as model:
            identity = model.identity
        zt.open(place, identity=identity).close()
        folder.put("more.safetensors", safetensors.numpy.save({"x": np.ones(3)}))
        with pytest.raises(zt.ObjectChangedError, match="the files are others"):
            zt.open(place, identity=identity)

    def test_what_a_cache_keeps(self, moto_files: Backend, tmp_path: Path) -> None:
        place = moto_files.location("model-*.safetensors")
        with zt.open(place, cache=tmp_path / "cache") as model:
            assert same_as(model.load(), all_arrays())
            assert model.stats.uncached is None
        with zt.open(place, cache=tmp_path / "cache") as model:
            asked = model.stats.requests
            assert same_as(model.load(), all_arrays())
            assert model.stats.requests == asked
            assert model.stats.cached >= sum(array.nbytes for array in all_arrays().values())


class TestRequests:
    def test_one_a_file_side_by_side(self, moto_files: StoreBackend, through: Through) -> None:
        put_index(moto_files)
        place, proxy = through(moto_files, INDEX)
        most = 0

        def slow(request: Request) -> Delay | None:
            nonlocal most
            most = max(most, sum(not each.status for each in proxy.requests))
            return Delay(0.1)

        proxy.fault = slow
        with zt.open(place) as model:
            assert len(proxy.requests) == model.stats.requests == COUNT + 1
            assert proxy.count(method="GET") == COUNT + 1
            assert most >= COUNT // 2
            proxy.fault = lambda request: None
            plan = model.plan()
            proxy.clear()
            loaded = model.load()
            assert len(proxy.requests) == plan.requests == COUNT
            assert {each.url.rpartition("/")[2] for each in plan.ranges} == {
                *map(name_of, range(COUNT))
            }
            assert same_as(loaded, all_arrays())
            proxy.clear()
            copy = pickle.loads(pickle.dumps(model))
            assert len(proxy.requests) == COUNT  # the index is not read again
            copy.close()

    def test_manifests_that_travel_cost_no_request(
        self, moto_files: StoreBackend, through: Through
    ) -> None:
        put_index(moto_files)
        place, proxy = through(moto_files, INDEX)
        with zt.open(place, send_manifest=True) as model:
            pickled = pickle.dumps(model)
        proxy.clear()
        with pickle.loads(pickled) as copy:
            assert not proxy.requests
            assert copy["layers.6.bias"][3] == arrays_of(6)["layers.6.bias"][3]
            assert len(proxy.requests) == 1

    def test_a_pattern_is_listed_once(self, moto_files: StoreBackend, through: Through) -> None:
        place, proxy = through(moto_files, "model-*.safetensors")
        with zt.open(place):
            gets = [request for request in proxy.requests if request.range]
            assert len(gets) == COUNT
            assert len(proxy.requests) <= COUNT + 2


class TestRefused:
    def test_names_that_are_there_twice(self, folder: Backend) -> None:
        with pytest.raises(zt.DuplicateNameError) as caught:
            zt.open([*listed(folder), folder.location(name_of(3))])
        assert caught.value.tensor in arrays_of(3)
        assert f"in '{name_of(3)}' and in '{name_of(3)} (2)'" in str(caught.value)

    def test_a_file_that_is_missing(self, moto_files: StoreBackend) -> None:
        put_index(moto_files)
        moto_files.fs.rm_file(moto_files.key(name_of(5)))
        with pytest.raises(zt.NotFoundError, match=f"{INDEX} names it .*{name_of(5)}"):
            zt.open(moto_files.location(INDEX))

    def test_no_right_to_read_one(self, moto_files: StoreBackend, through: Through) -> None:
        place, proxy = through(moto_files, "model-*.safetensors")
        proxy.fault = lambda request: Status(403) if name_of(2) in request.path else None
        with pytest.raises(zt.AccessDeniedError, match=name_of(2)):
            zt.open(place)

    def test_no_right_to_list(self, moto_files: StoreBackend, through: Through) -> None:
        place, proxy = through(moto_files, "model-*.safetensors")
        proxy.fault = lambda request: Status(403) if not request.range else None
        with pytest.raises(zt.AccessDeniedError, match="look for files like it"):
            zt.open(place)
        with pytest.raises(zt.NotFoundError):
            zt.open(replace(place, path=place.path.replace("*", "x")))

    def test_one_that_was_replaced(self, moto_files: StoreBackend) -> None:
        with zt.open(listed(moto_files)) as model:
            pickled = pickle.dumps(model)
            moto_files.put(name_of(4), safetensors.numpy.save({"x": np.zeros(2000)}))
            with pytest.raises(zt.ObjectChangedError, match=name_of(4)):
                model.load()
            with pytest.raises(zt.ObjectChangedError, match=name_of(4)):
                pickle.loads(pickled)
            assert model["layers.0.bias"].numpy().tolist() == [*range(20)]

    def test_no_files(self, tmp_path: Path) -> None:
        with pytest.raises(zt.NotFoundError, match="no file has a name like this"):
            zt.open(tmp_path / "*.zt")
        with pytest.raises(zt.NotFoundError, match="this is a folder"):
            zt.open(tmp_path)
        (tmp_path / "README.md").write_text("hello")
        with pytest.raises(zt.NotFoundError, match="none of its 1 files has tensors"):
            zt.open(tmp_path)
        with pytest.raises(zt.InvalidInputError, match="list of files is empty"):
            zt.open([])

    def test_a_file_that_is_none(self, folder: Backend) -> None:
        folder.put("model-x.safetensors", b"no tensors at all")
        descriptors = len(os.listdir("/proc/self/fd"))
        with pytest.raises(zt.FormatError, match=r"model-x\.safetensors"):
            zt.open(folder.location("*.safetensors"))
        assert len(os.listdir("/proc/self/fd")) < descriptors + COUNT


class TestFolders:
    def test_one_format_of_several(self, folder: Backend, tmp_path: Path) -> None:
        folder.put("pytorch_model.bin", b"whatever")
        folder.put("model.gguf", (_empty_gguf()))
        with zt.open(tmp_path) as model:
            assert same_as(model, all_arrays())
        with zt.open(tmp_path, format="gguf") as model:
            assert model.version == "gguf"
            assert not model
        with zt.Writer(tmp_path / "model.zt") as writer:
            writer.add_tensor("w", np.zeros(3))
        with zt.open(tmp_path) as model:
            assert [*model] == ["w"]

    def test_several_models(self, folder: Backend, tmp_path: Path) -> None:
        put_index(folder)
        folder.put("model.fp16.safetensors.index.json", b"{}")
        with pytest.raises(zt.InvalidInputError, match=r"several models: model\.fp16"):
            zt.open(tmp_path)

    def test_a_name_with_a_star(self, tmp_path: Path) -> None:
        (tmp_path / "a*.safetensors").write_bytes(safetensors.numpy.save({"x": np.ones(3)}))
        (tmp_path / "ab.safetensors").write_bytes(safetensors.numpy.save({"y": np.ones(3)}))
        with zt.open(tmp_path / "a*.safetensors") as model:
            assert [*model] == ["x"]


class TestIndexes:
    def test_it_says_more_than_there_is(self, folder: Backend) -> None:
        put_index(folder, weight_map() | {"lm_head.weight": name_of(7)})
        with pytest.raises(zt.FormatError, match="has not") as caught:
            zt.open(folder.location(INDEX))
        assert (caught.value.tensor, caught.value.rule) == ("lm_head.weight", "Index")

    def test_it_says_less_than_there_is(self, folder: Backend) -> None:
        places = weight_map()
        del places["layers.3.bias"]
        put_index(folder, places)
        with pytest.raises(zt.FormatError, match="the index does not say so") as caught:
            zt.open(folder.location(INDEX))
        assert caught.value.tensor == "layers.3.bias"

    @pytest.mark.parametrize(
        "file",
        [
            "../other.safetensors",
            "/etc/passwd",
            "a/../../b",
            "s3://other/file",
            "a\\b",
            "",
            ".",
            "a//b",
            "a/",
            "%2e%2e/x",
            "x?y=z",
            "x#y",
            "*.safetensors",
            "a::b",
            "a\0b",
            "\ud800",
            "x" * 300,
            3,
            None,
            ["a"],
        ],
    )
    def test_files_that_are_not_beside_it(self, folder: Backend, file: Any) -> None:
        put_index(folder, {"w": file})
        with pytest.raises(zt.FormatError) as caught:
            zt.open(folder.location(INDEX))
        assert caught.value.rule == "Index"
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xff\xfe",
            b"null",
            b"[]",
            b"{}",
            b'{"weight_map": []}',
            b'{"weight_map": {}}',
            b'{"weight_map": "x"}',
            b'{"weight_map": {"a": "b", "a": "c"}}',
            b'{"weight_map": {"a": NaN}}',
            b"[" * 200_000,
            b'{"weight_map":' * 100_000,
            b'{"weight_map": {"w": ' + b"1" * 100_000 + b"}}",
            json.dumps({"weight_map": {f"{n}": f"{n}" for n in range(10_001)}}).encode(),
        ],
        ids=lambda data: str(data[:24]),
    )
    def test_what_is_no_index(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / INDEX).write_bytes(data)
        with pytest.raises(zt.FormatError, match="not a valid index of files") as caught:
            zt.open(tmp_path / INDEX)
        assert len(str(caught.value)) < 500

    def test_a_huge_one_is_not_read(self, tmp_path: Path, http_server: HttpServer) -> None:
        with (tmp_path / INDEX).open("wb") as file:
            file.truncate(40 << 30)
        with pytest.raises(zt.FormatError, match="an index of 42949672960 bytes is over"):
            zt.open(tmp_path / INDEX)

    def test_files_in_folders_beside_it(self, tmp_path: Path) -> None:
        (tmp_path / "part").mkdir()
        safetensors.numpy.save_file({"w": np.ones(3)}, tmp_path / "part" / "a.safetensors")
        safetensors.numpy.save_file({"v": np.ones(3)}, tmp_path / "b.safetensors")
        index = {"weight_map": {"w": "part/a.safetensors", "v": "b.safetensors"}}
        (tmp_path / "anything.INDEX.json").write_text(json.dumps(index))
        with zt.open(tmp_path / "anything.INDEX.json") as model:
            assert {*model} == {"w", "v"}
            assert model["w"].components["data"].shard == "part/a.safetensors"


class TestWebServers:
    @pytest.fixture
    def server(self, backend_of: MakeBackend) -> HttpBackend:
        made = backend_of("http")
        assert isinstance(made, HttpBackend)
        put_files(made)
        put_index(made)
        return made

    def test_lists_and_indexes(self, server: HttpBackend) -> None:
        for place in (listed(server), server.location(INDEX)):
            with zt.open(place) as model:
                assert same_as(model.load(), all_arrays())
        with zt.open(f"{server.server.url}/{INDEX}?download=true") as model:
            assert same_as(model.load(), all_arrays())

    @pytest.mark.parametrize("place", ["model-*.safetensors", "", "folder/"])
    def test_nobody_tells_what_there_is(self, server: HttpBackend, place: str) -> None:
        with pytest.raises(zt.UnsupportedError, match=r"name the files in a list, or their .index"):
            zt.open(f"{server.server.url}/{place}")


class TestHub:
    @pytest.fixture
    def hub(self, tmp_path: Path, folder: LocalBackend) -> Iterator[tuple[Hub, Proxy]]:
        """Serve a repository with an index."""
        pytest.importorskip("huggingface_hub")
        put_index(folder)
        folder.put("config.json", b"{}")
        files = {name: folder.read(name) for name in folder.names()}
        for data in files.values():
            folder.put(hashlib.sha256(data).hexdigest(), data)
        with HttpServer(tmp_path) as server, Proxy(server.url) as storage, Hub(storage.url) as hub:
            hub.commits.append(Commit(files))
            yield hub, storage

    @pytest.mark.parametrize("name", ["", "/", f"/{INDEX}", "@main", "/model-*.safetensors"])
    def test_a_repository(self, hub: tuple[Hub, Proxy], name: str) -> None:
        options = {"endpoint": hub[0].url, "token": TOKEN, "skip_instance_cache": True}
        with zt.open(f"hf://{REPOSITORY}{name}", storage_options=options) as model:
            assert len(hub[1].requests) == COUNT + ("*" not in name)
            assert same_as(model.load(), all_arrays())


def _empty_gguf() -> bytes:
    return b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
