"""Stores of obstore, as they are and as a filesystem: the same bytes, errors and guarantees."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from obstore.fsspec import FsspecStore
from obstore.store import AzureStore, HTTPStore, LocalStore, MemoryStore, S3Store

import ztensor_remote as zt
from tests.servers.azure import ACCOUNT, KEY
from tests.servers.faults import CutResponse, Delay, ShortBody, Status
from tests.servers.http import HttpServer
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3Endpoint
from ztensor_remote.errors import (
    NotFoundError,
    ObjectChangedError,
    StoreError,
    StoreTimeoutError,
    UnsupportedError,
)
from ztensor_remote.stores import Limits, Location, locate, open_sink, open_source

from .backends import MakeBackend, StoreBackend
from .test_contract import fetch

DATA = os.urandom(300_000)
LARGE = os.urandom((16 << 20) + 12_345)
SECRET = "test"


def s3_store(endpoint: S3Endpoint, bucket: str, url: str | None = None, **client: Any) -> S3Store:
    return S3Store(
        bucket,
        endpoint=url or endpoint.url,
        region="us-east-1",
        access_key_id="test",
        secret_access_key=SECRET,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True, **client},
        retry_config={"max_retries": 0},
    )


@pytest.fixture(params=["memory", "local", "moto", "ministack", "azure", "fsspec"])
def place(request: pytest.FixtureRequest, backend_of: MakeBackend, tmp_path: Path) -> Any:
    """A store, and what makes the location of a name in it."""
    if request.param == "memory":
        return MemoryStore(), ""
    if request.param == "local":
        return LocalStore(tmp_path), ""
    backend = backend_of("moto" if request.param == "fsspec" else request.param)
    assert isinstance(backend, StoreBackend)
    if request.param == "azure":
        store: Any = AzureStore(
            backend.bucket,
            account_name=ACCOUNT,
            account_key=KEY,
            endpoint=f"{backend.endpoint.url}/{ACCOUNT}",
            client_options={"allow_http": True},
        )
        return store, f"{backend.folder}/"
    assert isinstance(backend.endpoint, S3Endpoint)
    store = s3_store(backend.endpoint, backend.bucket)
    if request.param == "fsspec":
        config = {key: value for key, value in store.config.items() if key != "bucket"}
        fs = FsspecStore("s3", config=config, client_options={"allow_http": True})
        fs.put = store.put  # type: ignore[method-assign]
        return _Renamed(fs, store), f"{backend.bucket}/{backend.folder}/"
    return store, f"{backend.folder}/"


class _Renamed:
    """A filesystem beside the store that it is of, whose names have no bucket."""

    def __init__(self, fs: FsspecStore, store: S3Store) -> None:
        self.fs, self._store = fs, store

    def put(self, name: str, data: bytes) -> None:
        self._store.put(name.partition("/")[2], data)


@pytest.fixture
def put(place: Any) -> Callable[[str, bytes], Location]:
    store, folder = place

    def put(name: str, data: bytes) -> Location:
        store.put(f"{folder}{name}", data)
        return locate(f"{folder}{name}", fs=getattr(store, "fs", store))

    return put


@pytest.mark.parametrize("size", [0, 1, 9, 1000])
def test_open_gives_the_end_and_the_size(put: Callable[..., Location], size: int) -> None:
    source, tail = open_source(put("object", DATA[:size]), window=100)
    assert (source.identity.size, bytes(tail)) == (size, DATA[:size][-100:])


def test_ranges(put: Callable[..., Location]) -> None:
    source, _ = open_source(put("object", DATA), window=100)
    last = len(DATA) - 1
    for offset, length in [(0, 1), (last, 1), (1000, 50_000), (0, len(DATA)), (5, 0)]:
        assert fetch(source, offset, length) == DATA[offset : offset + length]
    assert source.stats.fallback is None


def test_an_object_that_was_replaced_is_never_mixed(put: Callable[..., Location]) -> None:
    for other in (DATA[::-1], DATA[:50_000], DATA * 2):
        source, _ = open_source(put("object", DATA), window=100)
        put("object", other)
        with pytest.raises(ObjectChangedError):
            fetch(source, 40_000, 20_000)


def test_a_missing_object(place: Any) -> None:
    store, folder = place
    with pytest.raises(NotFoundError) as caught:
        open_source(locate(f"{folder}missing", fs=getattr(store, "fs", store)), window=100)
    assert "missing" in str(caught.value)


class TestModels:
    @pytest.fixture(params=["memory", "moto"])
    def store(self, request: pytest.FixtureRequest, backend_of: MakeBackend) -> Any:
        if request.param == "memory":
            return MemoryStore()
        backend = backend_of("moto")
        assert isinstance(backend, StoreBackend) and isinstance(backend.endpoint, S3Endpoint)
        return s3_store(backend.endpoint, backend.bucket)

    def test_written_and_read(self, store: Any) -> None:
        array = np.arange(6_000_000, dtype=np.float32)
        with zt.Writer("model.zt", fs=store) as w:
            w.add_tensor("w", array)
        model = zt.open("model.zt", fs=store)
        assert (model.load()["w"] == array).all()
        assert (model["w"][5:10] == array[5:10]).all()
        with zt.append("model.zt", fs=store) as w:
            w.add_tensor("b", array[:10])
        assert zt.open("model.zt", fs=store).keys() == {"w", "b"}

    def test_an_abort_leaves_what_was_there(self, store: Any) -> None:
        store.put("object", DATA)
        for size in (0, 1000, len(LARGE)):
            sink = open_sink(locate("object", fs=store))
            sink.write(LARGE[:size])
            sink.abort()
            sink.abort()
            assert bytes(store.get("object").bytes()) == DATA

    def test_conditions_are_refused(self, store: Any) -> None:
        with pytest.raises(UnsupportedError, match="conditional"):
            open_sink(locate("object", fs=store), create=True)


class TestFaults:
    @pytest.fixture
    def proxied(self, backend_of: MakeBackend, recording: Any) -> tuple[Location, Proxy]:
        backend = backend_of("moto")
        assert isinstance(backend, StoreBackend) and isinstance(backend.endpoint, S3Endpoint)
        backend.put("object", DATA)
        _, proxy = recording(backend.endpoint)
        store = s3_store(backend.endpoint, backend.bucket, proxy.url)
        return locate(f"{backend.folder}/object", fs=store), proxy

    @pytest.mark.usefixtures("short_pauses")
    @pytest.mark.parametrize("fault", [CutResponse(100_000), ShortBody(7)], ids=["cut", "short"])
    def test_a_body_that_ends_early(self, proxied: tuple[Location, Proxy], fault: Any) -> None:
        location, proxy = proxied
        source, _ = open_source(location, window=100)
        faults = iter([fault])
        proxy.fault = lambda request: next(faults, None)
        assert fetch(source, 1000, 200_000) == DATA[1000:201_000]

    @pytest.mark.parametrize("status", [403, 416, 503])
    def test_refusals(self, proxied: tuple[Location, Proxy], status: int) -> None:
        location, proxy = proxied
        source, _ = open_source(location, window=100)
        proxy.fault = lambda request: Status(status)
        with pytest.raises(StoreError) as caught:
            fetch(source, 1000, 1000)
        assert source.url in str(caught.value)

    @pytest.mark.usefixtures("short_pauses")
    def test_a_server_that_says_nothing(self, proxied: tuple[Location, Proxy]) -> None:
        location, proxy = proxied
        for limits in (Limits(timeout=0.05), Limits(deadline=0.2)):
            proxy.fault = lambda request: None
            source, _ = open_source(location, window=100)
            source.limits = limits  # type: ignore[attr-defined]
            proxy.fault = lambda request: Delay(20)
            with pytest.raises(StoreTimeoutError):
                fetch(source, 1000, 1000)


def test_web_servers(tmp_path: Path, http_server: HttpServer) -> None:
    (tmp_path / "object").write_bytes(DATA)
    store = HTTPStore(http_server.url, client_options={"allow_http": True})
    source, tail = open_source(locate("object", fs=store), window=100)
    assert bytes(tail) == DATA[-100:]
    assert fetch(source, 10, 1000) == DATA[10:1010]


def test_keys_are_never_shown() -> None:
    keys: Any = {"access_key_id": "c0ffee", "secret_access_key": "c0ffee"}
    store = S3Store("bucket", region="us-east-1", **keys)
    location = locate("object", fs=store)
    source_text = f"{location!r} {location.url}"
    assert "c0ffee" not in source_text and "object" in source_text


def test_handles_travel(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("object", DATA)
    location = pickle.loads(pickle.dumps(locate("object", fs=store)))
    assert bytes(open_source(location, window=9)[1]) == DATA[-9:]
