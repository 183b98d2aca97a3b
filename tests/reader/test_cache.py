"""The cache on the disk, in one process: what is requested, and what is believed."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ztensor_remote as zt
from tests.conftest import Recording
from tests.formats.expected import DATA as FORMATS
from tests.reader.caching import (
    ARRAYS,
    DATA,
    MATRIX,
    OTHER,
    PACKED,
    TAIL,
    Served,
    are_disjoint,
    equal,
    forget,
    object_files,
    used,
)
from tests.reader.models import mapping_of, model_bytes
from tests.servers.faults import CorruptByte
from tests.servers.http import HttpServer
from tests.stores.backends import MakeBackend, StoreBackend, Through
from ztensor_remote.stores import cache as caches
from ztensor_remote.stores.blocks import BLOCK


@pytest.fixture
def served(tmp_path: Path, http_server: HttpServer, recording: Recording) -> Served:
    _, proxy = recording(http_server.endpoint)
    return Served(tmp_path, http_server, proxy)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "_told", set())


class TestRequests:
    def test_what_was_loaded_is_not_requested_again(self, served: Served, cache: Path) -> None:
        with zt.open(served.url, cache=cache) as model:
            assert equal(model.load())
        assert are_disjoint(served.ranges())
        forget()
        with zt.open(served.url, cache=cache) as model:
            assert equal(model.load())
            assert model.stats == zt.Stats(1, TAIL, cached=model.stats.cached)
            assert model.stats.cached >= sum(part.nbytes for part in ARRAYS.values())
        assert served.sent() == [TAIL]

    def test_a_tensor_is_its_blocks(self, served: Served, cache: Path) -> None:
        with zt.open(served.url, cache=cache) as model:
            served.sent()
            assert equal({"t3": model["t3"].numpy()})
            [span] = served.ranges()
            part = model["t3"].components["data"]
            assert span.start == part.offset // BLOCK * BLOCK
            assert 0 <= span.stop - (part.offset + part.length) < BLOCK
            assert equal({"t3": model["t3"].numpy()})
            assert served.sent() == []

    def test_arrays_are_views_of_the_cache(self, served: Served, cache: Path) -> None:
        for _ in "cold", "warm":
            with zt.open(served.url, cache=cache) as model:
                array, loaded = model["t3"].numpy(), model.load(["t4"])["t4"]
            for each in (array, loaded):
                access, path = mapping_of(each.ctypes.data)
                assert (access, path) == ("r--s", str(object_files(cache)[0]))
                assert not each.flags.writeable
            assert equal({"t3": array, "t4": loaded})

    def test_every_way_to_read(self, served: Served, cache: Path) -> None:
        for turn in "cold", "warm":
            with zt.open(served.url, cache=cache) as model:
                served.sent()
                out = {"t5": np.empty_like(ARRAYS["t5"]), "packed": np.empty_like(PACKED)}
                model.read_into(out)
                assert (out["t5"] == ARRAYS["t5"]).all() and (out["packed"] == PACKED).all()
                assert (model["packed"].numpy() == PACKED).all()
                assert (model["t6"][100:20_000:7] == ARRAYS["t6"][100:20_000:7]).all()
                assert (model["t7"][[5, 25_000]] == ARRAYS["t7"][[5, 25_000]]).all()
                assert (model["sparse"].scipy() != MATRIX).nnz == 0
                assert model["t8"].components["data"].read() == ARRAYS["t8"].tobytes()
                assert model.verify().checked == 16
                assert are_disjoint(served.ranges()), turn
            forget()
        assert served.sent() == []

    def test_torch_tensors_are_private(self, served: Served, cache: Path) -> None:
        pytest.importorskip("torch")
        for _ in "cold", "warm":
            with zt.open(served.url, cache=cache) as model:
                for tensor in (model["t3"].torch(), model.load(["t3"], to="torch")["t3"]):
                    assert equal({"t3": tensor.numpy()})
                    tensor[:] = 0

    def test_a_slice_of_what_is_here_reads_no_more_than_it_needs(
        self, served: Served, cache: Path
    ) -> None:
        with zt.open(served.url, cache=cache) as model:
            model.load()
        forget()
        with zt.open(served.url, cache=cache) as model:
            _ = model["t3"][10:20]
            assert sum(model._blobs.source._blocks._checked) <= 4  # type: ignore[attr-defined]

    def test_gaps_are_not_read_over_once_the_rest_is_here(
        self, served: Served, cache: Path
    ) -> None:
        names = [f"t{number}" for number in range(0, 12, 2)]
        with zt.open(served.url, cache=cache) as model:
            for name in names:
                model[name].numpy()
        forget()
        with zt.open(served.url, cache=cache) as model:
            served.sent()
            assert equal(model.load(names))
            out = {name: np.empty_like(ARRAYS[name]) for name in names}
            model.read_into(out)
            assert equal(out)
            assert served.sent() == []

    def test_gaps_that_are_read_over_are_kept_as_they_are(
        self, served: Served, cache: Path
    ) -> None:
        arrays = {f"s{number:03}": np.full(700, number, np.int64) for number in range(200)}
        rows = np.arange(300 * 600).reshape(300, 600)  # of 4 KiB and more: each is a piece
        served.put(model_bytes(arrays | {"rows": rows}))
        names = sorted(arrays)
        with zt.open(served.url, cache=cache) as model:
            for start in range(5):  # strips of rows: nothing of them was there before
                strip = np.s_[start * 60 + 3 : start * 60 + 50 : 9, 7:560]
                assert (model["rows"][strip] == rows[strip]).all()
            model.read_into({name: np.empty(700, np.int64) for name in names[1::3]})
            one = np.empty(700, np.int64)  # two at once in the same memory: only the caller's fault
            with contextlib.suppress(zt.DigestError):
                model.read_into({names[2]: one, names[5]: one})
        forget()
        served.sent()
        with zt.open(served.url, cache=cache, verify=False) as model:
            assert all((array == arrays[name]).all() for name, array in model.load(names).items())
            assert (model["rows"].numpy() == rows).all()

    def test_progress_is_told_cold_and_warm(self, served: Served, cache: Path) -> None:
        from fsspec.callbacks import Callback

        for _ in "cold", "warm":
            callback = Callback()
            with zt.open(served.url, cache=cache) as model:
                model.load(callback=callback)
            assert callback.value == callback.size > sum(a.nbytes for a in ARRAYS.values())

    def test_a_large_manifest_is_kept_too(self, served: Served, cache: Path) -> None:
        served.put(model_bytes({"t": ARRAYS["t0"]}, {"note": "x" * 500_000}))
        requests = []
        for _ in "cold", "warm":
            with zt.open(served.url, cache=cache) as model:
                assert len(model.attributes["note"]) == 500_000
            requests.append(len(served.sent()))
            forget()
        assert requests == [2, 1]

    def test_without_a_cache_nothing_is_kept(self, served: Served, cache: Path) -> None:
        for _ in range(2):
            with zt.open(served.url) as model:
                array = model["t3"].numpy()
                assert array.flags.writeable
                assert served.sent() == [TAIL - BLOCK, array.nbytes]
        assert not cache.exists()

    def test_local_files_and_bytes_need_none(self, served: Served, cache: Path) -> None:
        for place in (served.path, DATA):
            with zt.open(place, cache=cache) as model:
                assert equal(model.load())
        assert not cache.exists()


class TestPinned:
    def test_a_pinned_version_that_is_here_costs_nothing(self, served: Served, cache: Path) -> None:
        with zt.open(served.url, cache=cache) as model:
            model.load()
        served.sent()
        with zt.open(served.url, cache=cache, identity=model.identity) as pinned:
            assert equal(pinned.load())
            assert served.sent() == [] and pinned.stats.requests == 0

    def test_pickled_readers_keep_the_cache(self, served: Served, cache: Path) -> None:
        limited = zt.Cache(cache, max_bytes=1 << 30)
        with zt.open(served.url, cache=limited) as model:
            model["t3"].numpy()
            served.sent()
            there = pickle.loads(pickle.dumps(model["t3"]))
            assert equal({"t3": there.numpy()})
            assert there._reader._locations[0].cache == limited
            assert served.sent() == []

    def test_another_version_is_refused(self, served: Served, cache: Path) -> None:
        with zt.open(served.url) as model:
            pinned = model.identity
        served.put(OTHER)
        for options in ({}, {"cache": cache}):
            with pytest.raises(zt.ObjectChangedError):
                zt.open(served.url, identity=pinned, **options)  # type: ignore[arg-type]

    def test_without_a_cache_it_is_looked_at(self, served: Served) -> None:
        with zt.open(served.url) as model, zt.open(served.url, identity=model.identity) as same:
            assert same.identity == model.identity


class TestChanged:
    def test_a_new_version_is_another_object(self, served: Served, cache: Path) -> None:
        with zt.open(served.url, cache=cache) as model:
            assert equal(model.load())
        served.put(OTHER)
        with zt.open(served.url, cache=cache) as changed:
            assert (changed["t1"].numpy() == -ARRAYS["t1"]).all()
        assert len(object_files(cache)) == 2

    def test_while_it_is_open(self, served: Served, cache: Path) -> None:
        with zt.open(served.url, cache=cache) as model:
            model["t1"].numpy()
            served.put(OTHER)
            assert equal({"t1": model["t1"].numpy()})  # kept, of the version that was opened
            for read in (lambda: model["t5"].numpy(), lambda: model["t6"][5:9], model.load):
                with pytest.raises(zt.ObjectChangedError):
                    read()

    def test_what_has_no_name_is_not_kept(self, served: Served, cache: Path) -> None:
        served.server.no_etag = True
        with zt.open(f"{served.url}?token=secret", cache=cache) as model:
            assert equal(model.load())
            assert "no strong ETag" in str(model.stats.uncached)
        assert not cache.exists()


class TestDamage:
    @pytest.fixture
    def data(self, served: Served, cache: Path) -> Path:
        """A cache that has all of the model."""
        with zt.open(served.url, cache=cache) as model:
            model.load()
        forget()
        return object_files(cache)[0]

    @pytest.fixture
    def check(self, served: Served, cache: Path, data: Path) -> Iterator[None]:
        """Expect the right bytes, after something was fetched again."""
        served.sent()
        yield
        with zt.open(served.url, cache=cache, verify=False) as model:
            assert equal(model.load())
            assert (model["t3"][5:90] == ARRAYS["t3"][5:90]).all()
        assert served.ranges()
        forget()
        with zt.open(served.url, cache=cache, verify=False) as model:
            assert equal(model.load())
        assert not served.ranges()

    def test_an_altered_block(self, data: Path, check: None) -> None:
        with data.open("r+b") as file:
            file.seek(1_000_000)
            file.write(b"altered")

    @pytest.mark.parametrize("size", [0, 1_000_000, len(DATA) - 300_000])
    def test_a_file_that_was_cut(self, data: Path, check: None, size: int) -> None:
        os.truncate(data, size)

    def test_a_file_that_grew(self, served: Served, cache: Path, data: Path) -> None:
        os.truncate(data, len(DATA) + 1)
        with zt.open(served.url, cache=cache) as model:
            assert equal(model.load())
        assert data.stat().st_size == len(DATA)

    def test_a_file_that_is_gone(self, data: Path, check: None) -> None:
        data.unlink()

    @pytest.mark.parametrize("size", [0, 100, 101])
    def test_sums_that_were_cut(self, data: Path, check: None, size: int) -> None:
        os.truncate(data.with_suffix(".sums"), size)

    def test_sums_that_are_garbage(self, data: Path, check: None) -> None:
        sums = data.with_suffix(".sums")
        sums.write_bytes(os.urandom(sums.stat().st_size))

    def test_cut_while_it_is_open(self, served: Served, cache: Path, data: Path) -> None:
        with zt.open(served.url, cache=cache) as model:
            model["t3"].numpy()
            os.truncate(data, 0)
            assert equal(model.load())
            assert (model["t3"][5:90] == ARRAYS["t3"][5:90]).all()

    def test_the_folder_goes_while_it_is_open(self, served: Served, cache: Path) -> None:
        with zt.open(served.url, cache=zt.Cache(cache, max_bytes=1 << 30)) as model:
            subprocess.run(["rm", "-r", cache], check=True)
            with pytest.warns(RuntimeWarning, match="reading goes on without it"):
                assert equal(model.load())


class TestWrongOnTheWay:
    @pytest.mark.parametrize("read", ["load", "read_into"])
    @pytest.mark.parametrize("name", ["t3", "packed", "sparse"])
    def test_is_not_kept(self, served: Served, cache: Path, name: str, read: str) -> None:
        def check(model: zt.Reader) -> None:
            if read == "load":
                model.load([name])
            else:
                out = np.empty(model[name].shape, model[name].dtype)
                model.read_into({name: out})
                assert (out == wanted).all()

        with zt.open(served.path) as model:
            wanted = model[name].numpy()
        with zt.open(served.url, cache=cache) as model:
            served.proxy.fault = lambda request: CorruptByte(BLOCK + 5)
            with pytest.raises(zt.FormatError):
                check(model)
            served.proxy.fault = lambda request: None
            check(model)
        forget()
        served.sent()
        with zt.open(served.url, cache=cache) as model:
            check(model)
        assert served.sent() == [TAIL]


class TestLimit:
    def test_what_was_not_used_for_longest_makes_way(self, served: Served, cache: Path) -> None:
        limited = zt.Cache(cache, max_bytes=3 * len(DATA) + 100_000)
        urls = [f"{served.url}.{number}" for number in range(4)]
        for number, url in enumerate(urls):
            served.path.with_suffix(f".zt.{number}").write_bytes(DATA)
            if number == 3:
                zt.open(urls[0], cache=limited).close()  # the first is used again
                forget()
            with zt.open(url, cache=limited) as model:
                assert equal(model.load())
            forget()
            assert used(cache) <= 3 * len(DATA) + 100_000
        served.sent()
        fetched = []
        for url in (urls[0], urls[2], urls[3], urls[1]):
            with zt.open(url, cache=limited) as model:
                model.load()
            forget()
            fetched.append(bool(served.ranges()))
        assert fetched == [False, False, False, True]

    def test_nothing_that_is_mapped_makes_way(self, served: Served, cache: Path) -> None:
        limited = zt.Cache(cache, max_bytes=len(DATA) + 300_000)
        with zt.open(served.url, cache=limited) as model:
            array = model.load()["t3"]
        del model
        forget()  # closed, but one view of it lives
        served.put(OTHER)
        with zt.open(served.url, cache=limited) as model:
            assert (model["t1"].numpy() == -ARRAYS["t1"]).all()
            assert "max_bytes" in str(model.stats.uncached)
        forget()
        assert used(cache) <= len(DATA) + 300_000
        assert (array == ARRAYS["t3"]).all() and len(object_files(cache)) == 2
        del array
        gc.collect()
        with zt.open(served.url, cache=limited) as model:
            assert (model["t1"].numpy() == -ARRAYS["t1"]).all()
        assert len(object_files(cache)) == 1

    def test_what_is_larger_than_the_cache(self, served: Served, cache: Path) -> None:
        with zt.open(served.url, cache=zt.Cache(cache, max_bytes=1 << 20)) as model:
            served.sent()
            assert equal(model.load())
            assert "max_bytes" in str(model.stats.uncached)
        assert sum(map(len, served.ranges())) < 1.1 * len(DATA)
        assert used(cache) <= 1 << 20

    def test_a_spoilt_count_is_made_anew(self, served: Served, cache: Path) -> None:
        limited = zt.Cache(cache, max_bytes=2 * len(DATA))
        zt.open(served.url, cache=limited).close()
        (cache / "size").write_bytes(bytes([255] * 8))
        with zt.open(served.url, cache=limited) as model:
            model.load()
        assert int.from_bytes((cache / "size").read_bytes(), "little") <= 2 * len(DATA)
        assert used(cache) >= len(DATA)


class TestNoRoomOnTheDisk:
    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        """A disk of 2 MiB."""
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(disk)]
        if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("can't mount a disk")
        yield disk
        subprocess.run(["umount", "-l", disk], check=True)

    def test_reading_goes_on(self, served: Served, disk: Path) -> None:
        with zt.open(served.url, cache=disk) as model:
            with pytest.warns(RuntimeWarning, match="No space left") as warned:
                assert equal(model.load())
                assert (model["packed"].numpy() == PACKED).all()
            assert len(warned) == 1
            assert "No space left" in str(model.stats.uncached)
            assert equal(model.load())
        forget()
        with zt.open(served.url, cache=disk) as model, warnings.catch_warnings():
            assert equal(model.load())  # what had its place is used, and nothing is told twice
            assert (model["t11"][7:99] == ARRAYS["t11"][7:99]).all()

    def test_a_folder_that_can_not_be_made(self, served: Served) -> None:
        with pytest.warns(RuntimeWarning, match="reading goes on without it"):
            model = zt.open(served.url, cache="/proc/ztensor")
        with model:
            assert equal(model.load())
            assert model.stats.uncached is not None


class TestShards:
    def test_are_kept_like_the_root(
        self, backend_of: MakeBackend, through: Through, cache: Path
    ) -> None:
        backend = backend_of("moto")
        assert isinstance(backend, StoreBackend)
        for path in (FORMATS / "fixtures" / "2.1.2").glob("sharded*.zt"):
            backend.put(path.name, path.read_bytes())
        location, proxy = through(backend, "sharded.zt")
        with zt.open(location, cache=cache) as model:
            wanted = {name: array.tobytes() for name, array in dense(model).items()}
        forget()
        proxy.clear()
        with zt.open(location, cache=cache) as model:
            assert {name: array.tobytes() for name, array in dense(model).items()} == wanted
            assert model.stats.requests == len(proxy.requests) == 3  # one for each file
        assert len(object_files(cache)) == 3


def dense(model: zt.Reader) -> dict[str, np.ndarray]:
    return model.load([name for name in model if model[name].layout == "dense"])


def test_two_caches_know_nothing_of_each_other(served: Served, cache: Path, tmp_path: Path) -> None:
    for folder in (cache, tmp_path / "other"):
        with zt.open(served.url, cache=folder) as model:
            served.sent()
            assert equal({"t3": model["t3"].numpy()})
        assert len(served.sent()) == 1
        assert len(object_files(folder)) == 1


def test_nothing_secret_is_kept(served: Served, cache: Path, tmp_path: Path) -> None:
    with zt.open(f"{served.url}?X-Amz-Signature=5ecret", cache=cache) as model:
        model.load()
    for path in cache.iterdir():
        assert "5ecret" not in path.name and b"5ecret" not in path.read_bytes()
    served.sent()
    with zt.open(f"{served.url}?X-Amz-Signature=0ther", cache=cache) as model:
        assert equal(model.load())
    assert served.sent() == [TAIL]
