"""Backends by name, for parametrised tests."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.conftest import Recording
from tests.servers.endpoint import StoreEndpoint
from tests.servers.proxy import Proxy
from ztensor_remote.stores import failures, parts
from ztensor_remote.stores.lane import HTTPLane
from ztensor_remote.stores.target import NoTarget

from .backends import (
    PART,
    Backend,
    BytesBackend,
    CachedBackend,
    HttpBackend,
    LocalBackend,
    MakeBackend,
    MemoryBackend,
    Proxied,
    RemoteBackend,
    StoreBackend,
    Through,
)


@pytest.fixture(scope="session")
def shared_bucket() -> Callable[[StoreEndpoint], tuple[str, Any]]:
    """Give a store's bucket that all tests share, and a client of it."""
    made: dict[StoreEndpoint, tuple[str, Any]] = {}

    def find(endpoint: StoreEndpoint) -> tuple[str, Any]:
        if endpoint not in made:
            name = f"test-{uuid.uuid4().hex[:12]}"
            endpoint.make_bucket(name)
            made[endpoint] = name, endpoint.filesystem()
        return made[endpoint]

    return find


@pytest.fixture
def backend_of(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    shared_bucket: Callable[[StoreEndpoint], tuple[str, Any]],
) -> MakeBackend:
    """Make the backend of a name."""

    def make(name: str) -> Backend:
        match name:
            case "local":
                return LocalBackend(tmp_path)
            case "bytes":
                return BytesBackend()
            case "memory":
                return MemoryBackend()
            case "http":
                return HttpBackend(tmp_path, request.getfixturevalue("http_server"))
            case "s3fs":  # moto, with an option that is s3fs's alone
                named = request.getfixturevalue("moto")
                endpoint = replace(named, response_checksum_validation="when_required")
                return StoreBackend(endpoint, *shared_bucket(endpoint))
            case "cached":
                return CachedBackend(tmp_path, request.getfixturevalue("http_server"))
            case _:
                endpoint = request.getfixturevalue(name)
                return StoreBackend(endpoint, *shared_bucket(endpoint))

    return make


@pytest.fixture
def backend(request: pytest.FixtureRequest, backend_of: MakeBackend) -> Any:
    """Give the backend that a test names with ``parametrize("backend", [...], indirect=True)``."""
    return backend_of(request.param)


@pytest.fixture(scope="session")
def shared_proxies() -> Iterator[Callable[[StoreEndpoint], Proxy]]:
    """Give a store's proxy that all tests share: clients of S3 take half a second to make."""
    with ExitStack() as running:
        made: dict[StoreEndpoint, Proxy] = {}

        def find(endpoint: StoreEndpoint) -> Proxy:
            if endpoint not in made:
                made[endpoint] = running.enter_context(Proxy(endpoint.url))
            return made[endpoint]

        yield find


@pytest.fixture
def through(
    recording: Recording, shared_proxies: Callable[[StoreEndpoint], Proxy]
) -> Iterator[Through]:
    """Give the location of an object as reached through a proxy, and the proxy."""
    used: list[Proxy] = []

    def make(backend: RemoteBackend, path: str) -> Proxied:
        if isinstance(backend, HttpBackend):
            server, proxy = recording(backend.server.endpoint)
            return backend.through(server, path), proxy
        proxy = shared_proxies(backend.endpoint)
        proxy.clear()
        used.append(proxy)
        return backend.through(backend.endpoint.at(proxy.url), path), proxy

    yield make
    for proxy in used:
        proxy.fault = lambda request: None


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upload in the smallest parts that S3 allows."""
    monkeypatch.setattr(parts, "PART_SIZE", PART)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat what fails almost at once."""
    monkeypatch.setattr(failures, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(parts, "_LOOKS", (0.0, 0.001, 0.001))
    set_pauses_of_clients(monkeypatch, 0.001)


def set_pauses_of_clients(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have gcsfs and adlfs wait so long, where their own pauses take half a minute or more."""
    monkeypatch.setattr("gcsfs.retry.min", lambda *pauses: seconds, raising=False)  # of two
    backoff = "azure.storage.blob._shared.policies_async.ExponentialRetry.get_backoff_time"
    monkeypatch.setattr(backoff, lambda policy, settings: seconds)


@pytest.fixture(params=["lane", "client"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read by the lane, then as where the lane can't be used, through the filesystem's client."""
    way: str = request.param
    if way == "client":
        refused = NoTarget("the test wants the client")
        monkeypatch.setattr(HTTPLane, "_target", lambda *_: raising(refused))
    return way


def raising(error: Exception) -> NoReturn:
    raise error
