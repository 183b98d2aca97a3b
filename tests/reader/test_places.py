"""Where a file may lie, how the place may be given, and readers that travel between processes."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import MEMORY, in_memory, model_bytes, new_url, same
from tests.servers.s3 import S3Endpoint
from tests.stores.backends import READABLE, Backend, BytesBackend, MakeBackend, StoreBackend

ARRAY = np.arange(40_000, dtype=np.int32).reshape(400, 100)
OTHER = -ARRAY
DATA = model_bytes({"w": ARRAY})


def check(model: zt.Reader) -> None:
    """Read a part and the whole."""
    with model:
        assert same(model["w"][3:5], ARRAY[3:5])
        assert same(model["w"].numpy(), ARRAY)


class Somewhere(os.PathLike[str]):
    """A path of somebody else's making."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


class TestLocalPaths:
    @pytest.fixture(autouse=True)
    def stored(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "model.zt").write_bytes(DATA)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))

    @pytest.mark.parametrize("place", ["model.zt", "./model.zt", "~/model.zt", Path("model.zt")])
    def test_relative(self, place: Any) -> None:
        check(zt.open(place))

    @pytest.mark.parametrize("spell", [str, Path, Somewhere, lambda path: f"file://{path}"])
    def test_absolute(self, tmp_path: Path, spell: Callable[[Path], Any]) -> None:
        check(zt.open(spell(tmp_path / "model.zt")))

    def test_on_a_local_filesystem(self, tmp_path: Path) -> None:
        check(zt.open(str(tmp_path / "model.zt"), fs=fsspec.filesystem("file")))

    def test_missing(self) -> None:
        with pytest.raises(zt.NotFoundError):
            zt.open("models.zt")


class TestBytes:
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_of_any_kind(self, kind: Callable[[bytes], Any]) -> None:
        check(zt.open(kind(DATA)))
        check(zt.Reader(kind(DATA)))

    def test_that_are_no_file(self) -> None:
        for data in (b"", DATA[:100], b"PK" + DATA):
            with pytest.raises(zt.FormatError):
                zt.open(data)


class TestFilesystems:
    @pytest.mark.parametrize("name", READABLE)
    def test_each(self, backend_of: MakeBackend, name: str) -> None:
        backend = backend_of(name)
        backend.put("model.zt", DATA)
        check(zt.open(backend.location("model.zt")))

    def test_url_and_options(self, store: StoreBackend) -> None:
        options = store.endpoint.storage_options
        check(zt.open(f"s3://{store.key('model.zt')}", storage_options=options))

    @pytest.mark.parametrize("prefix", ["", "s3://"])
    def test_a_filesystem_of_ones_own(self, store: StoreBackend, prefix: str) -> None:
        with zt.open(prefix + store.key("model.zt"), fs=store.fs) as model:
            assert model.url == f"s3://{store.key('model.zt')}"
            check(model)

    def test_universal_paths(self, store: StoreBackend) -> None:
        upath = pytest.importorskip("upath")
        folder = upath.UPath(f"s3://{store.key('')}", **store.endpoint.storage_options)
        check(zt.open(folder / "model.zt"))
        check(zt.open(upath.UPath(in_memory(DATA))))

    def test_options_and_a_filesystem_contradict_each_other(self) -> None:
        with pytest.raises(zt.InvalidInputError, match="not both"):
            zt.open("model.zt", fs=MEMORY, storage_options={"anon": True})

    @pytest.mark.parametrize("place", [None, 3, object(), [3], io.BytesIO(DATA)])
    def test_other_things(self, place: Any) -> None:
        with pytest.raises(zt.InvalidInputError, match="give a path, a URL"):
            zt.open(place)


class TestChainedUrls:
    def test_caches(self, tmp_path: Path) -> None:
        for cache in ("simplecache", "filecache"):
            options = {cache: {"cache_storage": str(tmp_path / cache)}}
            check(zt.open(f"{cache}::{in_memory(DATA)}", storage_options=options))
            assert sum(path.stat().st_size for path in (tmp_path / cache).iterdir()) >= len(DATA)

    def test_caches_of_a_store(self, store: StoreBackend, tmp_path: Path) -> None:
        options = {
            "s3": store.endpoint.storage_options,
            "simplecache": {"cache_storage": str(tmp_path)},
        }
        url = f"simplecache::s3://{store.key('model.zt')}"
        with zt.open(url, storage_options=options) as model:
            store.put("model.zt", model_bytes({"w": OTHER}))
            check(model)  # the copy is of one version, whatever happens to the original

    def test_folders(self) -> None:
        folder = in_memory(DATA).rpartition("/")[0]
        check(zt.open(f"dir://model.zt::{folder}"))
        inner = fsspec.filesystem("dir", path=folder.partition("://")[2], fs=MEMORY)
        check(zt.open("model.zt", fs=inner))

    def test_archives(self) -> None:
        url, packed = new_url(), io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("folder/model.zt", DATA)
        MEMORY.pipe_file(url, packed.getvalue())
        check(zt.open(f"zip://folder/model.zt::{url}"))


@pytest.fixture
def store(backend_of: MakeBackend) -> StoreBackend:
    backend = backend_of("moto")
    assert isinstance(backend, StoreBackend) and isinstance(backend.endpoint, S3Endpoint)
    backend.put("model.zt", DATA)
    return backend


class TestPickling:
    @pytest.fixture(params=["local", "memory", "bytes", "http", "ministack", "gcs", "azure"])
    def backend(self, request: pytest.FixtureRequest, backend_of: MakeBackend) -> Backend:
        backend = backend_of(request.param)
        backend.put("model.zt", DATA)
        return backend

    @pytest.fixture
    def model(self, backend: Backend) -> Iterator[zt.Reader]:
        with zt.open(backend.location("model.zt")) as model:
            yield model

    def test_of_a_reader_opens_the_same_version(self, model: zt.Reader) -> None:
        with pickle.loads(pickle.dumps(model)) as copy:
            assert copy is not model and copy.url == model.url
            assert copy.identity == model.identity
            check(copy)

    def test_of_a_tensor(self, model: zt.Reader) -> None:
        copy = pickle.loads(pickle.dumps(model["w"]))
        assert copy.name == "w"
        assert same(copy[7, ::-3], ARRAY[7, ::-3])

    def test_of_a_closed_reader(self, model: zt.Reader) -> None:
        model.close()
        check(pickle.loads(pickle.dumps(model)))

    def test_carries_what_it_was_opened_with(self, backend: Backend) -> None:
        limits = zt.Limits(max_decoded=12)
        with zt.open(backend.location("model.zt"), verify=False, limits=limits) as model:
            copy = pickle.loads(pickle.dumps(model))
        assert copy._blobs.verify is False and copy._blobs.limits == limits

    def test_after_the_object_changed(self, backend: Backend, model: zt.Reader) -> None:
        if isinstance(backend, BytesBackend):
            return  # the bytes were pickled with the reader
        handles = [pickle.dumps(model), pickle.dumps(model["w"])]
        backend.put("model.zt", model_bytes({"w": OTHER}))
        for handle in handles:
            with pytest.raises(zt.ObjectChangedError):
                pickle.loads(handle)

    def test_of_a_filesystem_of_ones_own(self, store: StoreBackend) -> None:
        with zt.open(store.key("model.zt"), fs=store.fs) as model:
            check(pickle.loads(pickle.dumps(model)))
