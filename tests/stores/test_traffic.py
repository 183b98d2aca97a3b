"""What reading asks the stores for, counted by a proxy; and what it makes of broken answers."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.servers.faults import CutResponse, Fault, Full, ShortBody, Status
from tests.servers.proxy import Proxy, Request
from ztensor_remote.errors import AccessDeniedError, StoreError
from ztensor_remote.stores import Location, Source, locate, open_source

from .backends import (
    FAULTY,
    REMOTE,
    HttpBackend,
    MakeBackend,
    Proxied,
    RemoteBackend,
    StoreBackend,
    Through,
)

WINDOW = 1 << 16
DATA = os.urandom(300_000)

pytestmark = pytest.mark.usefixtures("short_pauses", "both_ways")


@pytest.fixture
def proxied(request: pytest.FixtureRequest, backend_of: MakeBackend, through: Through) -> Proxied:
    """The location of DATA in the store that a test names, through a proxy."""
    backend = backend_of(request.param)
    assert isinstance(backend, RemoteBackend)
    backend.put("object", DATA)
    return through(backend, "object")


def opened(location: Location, proxy: Proxy) -> Source:
    """Open and forget what that took."""
    source, _ = open_source(location, window=WINDOW)
    proxy.clear()
    return source


def first(count: int, fault: Fault) -> Callable[[Request], Fault | None]:
    """Spoil this many requests and no more."""
    faults = iter([fault] * count)
    return lambda request: next(faults, None)


def always(fault: Fault) -> Callable[[Request], Fault | None]:
    return lambda request: fault


def fetch(source: Source, offset: int, length: int) -> bytes:
    destination = bytearray(length)
    source.read_into(offset, memoryview(destination))
    return bytes(destination)


@pytest.mark.parametrize("proxied", REMOTE, indirect=True)
class TestRequests:
    @pytest.mark.parametrize("window", [WINDOW, 2 * len(DATA)])
    def test_open(self, proxied: Proxied, window: int) -> None:
        location, proxy = proxied
        source, tail = open_source(location, window=window)
        assert bytes(tail) == DATA[-window:]
        extra = [8] if "az://" in location.path else []
        wanted = [*extra, len(tail)]
        if not (window > len(DATA) and refuses_long_suffixes(proxy)):
            assert [request.response_bytes for request in proxy.requests] == wanted
        assert (source.stats.requests, source.stats.bytes) == (len(wanted), sum(wanted))

    def test_a_range(self, proxied: Proxied) -> None:
        location, proxy = proxied
        source = opened(location, proxy)
        assert fetch(source, 1000, 5000) == DATA[1000:6000]
        (request,) = proxy.requests
        assert (request.method, request.range) == ("GET", "bytes=1000-5999")
        assert request.response_bytes == 5000
        assert "if-match" in request.headers or "generation" in request.query

    def test_nothing_is_asked_for_nothing(self, proxied: Proxied) -> None:
        location, proxy = proxied
        source = opened(location, proxy)
        assert fetch(source, 1000, 0) == b""
        assert proxy.requests == []


def refuses_long_suffixes(proxy: Proxy) -> bool:
    return proxy.requests[0].status == 416


def test_a_large_range_of_azure(backend_of: MakeBackend, through: Through, both_ways: str) -> None:
    data = os.urandom((39 << 20) + 5)
    backend = backend_of("azure")
    assert isinstance(backend, RemoteBackend)
    backend.put("object", data)
    location, proxy = through(backend, "object")
    source = opened(location, proxy)
    assert fetch(source, 1, len(data) - 1) == data[1:]
    # The client asks for 32 MiB at first, then for pieces of 4 MiB.
    assert proxy.count() == (1 if both_ways == "lane" else 3)
    assert all("if-match" in request.headers for request in proxy.requests)
    assert proxy.response_bytes == len(data) - 1


@pytest.mark.parametrize("proxied", FAULTY, indirect=True)
class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [Status(503), ShortBody(7), CutResponse(25_000)],
        ids=["503", "short", "cut"],
    )
    def test_a_range_that_fails_once(self, proxied: Proxied, fault: Fault) -> None:
        location, proxy = proxied
        source = opened(location, proxy)
        proxy.fault = first(1, fault)
        assert fetch(source, 1000, 50_000) == DATA[1000:51_000]
        assert proxy.count() == 2

    @pytest.mark.parametrize(
        "fault", [Status(503), ShortBody(7), CutResponse(5)], ids=["503", "short", "cut"]
    )
    def test_an_open_that_fails_once(self, proxied: Proxied, fault: Fault) -> None:
        location, proxy = proxied
        proxy.fault = first(1, fault)
        source, tail = open_source(location, window=WINDOW)
        assert (source.identity.size, bytes(tail)) == (len(DATA), DATA[-WINDOW:])

    def test_503_twice(self, proxied: Proxied) -> None:
        location, proxy = proxied
        source = opened(location, proxy)
        proxy.fault = first(2, Status(503))
        assert fetch(source, 0, 1000) == DATA[:1000]
        assert [request.status for request in proxy.requests][:2] == [503, 503]
        assert proxy.count() == 3

    def test_access_denied(self, proxied: Proxied, both_ways: str) -> None:
        location, proxy = proxied
        source = opened(location, proxy)
        proxy.fault = always(Status(403))
        with pytest.raises(AccessDeniedError, match="storage_options"):
            fetch(source, 0, 1000)
        with pytest.raises(AccessDeniedError):
            open_source(location, window=WINDOW)
        # What is older is signed anew, and the client may know what a plain request can't say.
        assert proxy.count() == (5 if both_ways == "lane" else 2)


@pytest.mark.parametrize("proxied", ["http", "moto", "azure"], indirect=True)
class TestLastingFaults:
    def test_503(self, proxied: Proxied) -> None:
        location, proxy = proxied
        source = opened(with_one_retry(location), proxy)
        proxy.fault = always(Status(503))
        with pytest.raises(StoreError, match=r"503|Service Unavailable") as caught:
            fetch(source, 0, 1000)
        assert caught.value.url == location.url
        assert proxy.count() <= 5

    def test_bodies_that_are_short(self, proxied: Proxied) -> None:
        location, proxy = proxied
        source = opened(location, proxy)
        proxy.fault = always(ShortBody(7))
        with pytest.raises(StoreError, match="tried 5 times"):
            fetch(source, 0, 50_000)
        # Azure's client asks for what is missing by itself.
        assert proxy.count() in (5, 10)


def with_one_retry(location: Location) -> Location:
    """Let S3's client, whose retries are its own, give up soon."""
    if not location.path.startswith("s3://"):
        return location
    settings = {**location.storage_options.get("config_kwargs", {}), "retries": {"max_attempts": 1}}
    return replace(
        location, storage_options={**location.storage_options, "config_kwargs": settings}
    )


@pytest.mark.parametrize("proxied", ["http", "moto", "gcs"], indirect=True)
def test_ranges_that_are_ignored(proxied: Proxied) -> None:
    location, proxy = proxied
    source = opened(location, proxy)
    proxy.fault = always(Full())
    for read in (
        lambda: open_source(location, window=WINDOW),
        lambda: fetch(source, 1000, 1000),
    ):
        proxy.clear()
        with pytest.raises(StoreError, match="simplecache::"):
            read()
        assert proxy.count() == 1
    # The whole is what was asked for.
    assert fetch(source, 0, len(DATA)) == DATA
    assert bytes(open_source(location, window=len(DATA))[1]) == DATA


class TestWebServers:
    def test_without_etags_the_size_and_the_time_are_watched(self, backend_of: MakeBackend) -> None:
        backend = backend_of("http")
        assert isinstance(backend, HttpBackend)
        backend.server.no_etag = True
        backend.put("object", DATA)
        source, _ = open_source(backend.location("object"), window=WINDOW)
        assert fetch(source, 10, 1000) == DATA[10:1010]
        backend.put("object", DATA[::-1])
        os.utime(backend.folder / "object", (0, 0))
        with pytest.raises(StoreError, match="replaced"):
            fetch(source, 10, 1000)

    @pytest.mark.parametrize("proxied", ["http"], indirect=True)
    def test_a_user_and_a_password_in_the_url(self, proxied: Proxied) -> None:
        location, proxy = proxied
        url = proxy.url.replace("://", "://us%20er:p%40ss%3Aword@")
        source, _ = open_source(locate(f"{url}/object"), window=WINDOW)
        assert fetch(source, 10, 1000) == DATA[10:1010]
        wanted = f"Basic {b64encode(b'us er:p@ss:word').decode()}"
        assert {request.headers.get("authorization") for request in proxy.requests} == {wanted}
        assert "ss" not in source.url and source.url == open_source(location, window=1)[0].url

    def test_a_small_object_on_a_server_without_ranges(self, backend_of: MakeBackend) -> None:
        backend = backend_of("http")
        assert isinstance(backend, HttpBackend)
        backend.server.ignore_ranges = True
        backend.put("object", DATA[:1000])
        source, tail = open_source(backend.location("object"), window=WINDOW)
        assert bytes(tail) == DATA[:1000]
        assert fetch(source, 0, 1000) == DATA[:1000]


def test_a_deleted_object(backend_of: MakeBackend) -> None:
    for name in REMOTE:
        backend = backend_of(name)
        backend.put("object", DATA)
        source, _ = open_source(backend.location("object"), window=WINDOW)
        if isinstance(backend, StoreBackend):
            backend.fs.rm_file(backend.key("object"))
        else:
            assert isinstance(backend, HttpBackend)
            (backend.folder / "object").unlink()
        with pytest.raises(StoreError, match=r"replaced|nothing is stored"):
            fetch(source, 10, 1000)
