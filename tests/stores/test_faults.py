"""Servers that misbehave: the right bytes, or an error that says what is wrong."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.servers.faults import (
    Chunked,
    Delay,
    Drip,
    DropResponse,
    Fault,
    Headers,
    Reset,
    Stall,
    Status,
)
from tests.servers.proxy import Proxy, Request
from ztensor_remote.errors import (
    AccessDeniedError,
    ObjectChangedError,
    StoreError,
    StoreTimeoutError,
)
from ztensor_remote.stores import (
    Limits,
    Location,
    Runs,
    Source,
    failures,
    fetches_of,
    open_source,
    transfer,
)
from ztensor_remote.stores.control import Control

from .backends import FAULTY, REMOTE, MakeBackend, RemoteBackend, Through

DATA = os.urandom(300_000)
FIRST, COUNT = 1000, 200_000
WANTED = DATA[FIRST : FIRST + COUNT]
IMPATIENT = Limits(timeout=0.3)
SOON = Limits(deadline=0.2)

Hook = Callable[[Request], Fault | None]

pytestmark = pytest.mark.usefixtures("short_pauses", "both_ways")
faulty = pytest.mark.parametrize("place", FAULTY, indirect=True)


@dataclass
class Place:
    """DATA in a store behind a proxy."""

    backend: RemoteBackend
    location: Location
    proxy: Proxy

    def open(self, limits: Limits = IMPATIENT) -> Source:
        """Open it, and forget what that took."""
        source, _ = open_source(self.location, window=100, limits=limits)
        self.proxy.clear()
        return source

    def open_slowly(self, limits: Limits) -> Source:
        """Open it with limits that count from then on only: a busy machine may take its time."""
        source: Any = self.open()
        source.limits = limits
        opened: Source = source
        return opened


@pytest.fixture
def place(request: pytest.FixtureRequest, backend_of: MakeBackend, through: Through) -> Place:
    backend = backend_of(request.param)
    assert isinstance(backend, RemoteBackend)
    backend.put("object", DATA)
    return Place(backend, *through(backend, "object"))


def once(fault: Fault) -> Hook:
    faults = iter([fault])
    return lambda request: next(faults, None)


def always(fault: Fault) -> Hook:
    return lambda request: fault


def read(source: Source) -> bytes:
    memory = bytearray(COUNT)
    source.read_into(FIRST, memoryview(memory))
    return bytes(memory)


def first_byte(request: Request) -> int:
    assert request.range is not None
    return int(request.range.removeprefix("bytes=").partition("-")[0])


@faulty
class TestBrokenBodies:
    @pytest.mark.parametrize("fault", [Reset(100_000), Stall(100_000)], ids=["reset", "stall"])
    def test_what_has_arrived_is_not_asked_for_again(
        self, place: Place, fault: Fault, both_ways: str
    ) -> None:
        source = place.open()
        opening = source.stats.bytes
        place.proxy.fault = once(fault)
        assert read(source) == WANTED
        _, second = place.proxy.requests
        if both_ways == "lane" and isinstance(fault, Stall):  # a reset may discard what was sent
            assert first_byte(second) == FIRST + 100_000
            assert place.proxy.response_bytes == COUNT
            assert source.stats.bytes - opening == COUNT

    @pytest.mark.parametrize("fault", [Delay(20), DropResponse()], ids=["late", "dropped"])
    def test_an_answer_that_does_not_come(self, place: Place, fault: Fault) -> None:
        source = place.open()
        place.proxy.fault = once(fault)
        assert read(source) == WANTED

    def test_chunks(self, place: Place) -> None:
        source = place.open()
        place.proxy.fault = always(Chunked())
        assert read(source) == WANTED

    def test_more_bytes_than_were_announced(self, place: Place) -> None:
        source = place.open()
        place.proxy.fault = always(Chunked(surplus=b"more"))
        assert read(source) == WANTED
        assert read(source) == WANTED

    @pytest.mark.parametrize("limits", [SOON, Limits(timeout=0.05)], ids=["deadline", "timeout"])
    def test_stalls_without_end(
        self, place: Place, limits: Limits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = place.open_slowly(limits)
        monkeypatch.setattr(failures, "ATTEMPTS", 2)
        place.proxy.fault = always(Stall(0))
        with pytest.raises(StoreTimeoutError) as caught:
            read(source)
        assert caught.value.url == source.url

    def test_a_body_that_drips_ends_at_the_deadline(self, place: Place) -> None:
        source = place.open_slowly(SOON)
        place.proxy.fault = always(Drip(0.05))
        with pytest.raises(StoreTimeoutError, match="deadline"):
            read(source)

    def test_opening_has_a_deadline_too(self, place: Place) -> None:
        place.proxy.fault = always(Delay(20))
        with pytest.raises(StoreTimeoutError):
            place.open(SOON)


@faulty
class TestWrongAnswers:
    @pytest.mark.parametrize(
        "changed",
        [
            {"Content-Range": f"bytes {FIRST}-{FIRST + COUNT - 1}/{len(DATA) + 1}"},
            {"ETag": '"another"', "x-goog-generation": "7"},
        ],
        ids=["total", "etag"],
    )
    def test_of_another_version(self, place: Place, changed: dict[str, str]) -> None:
        source = place.open()
        place.proxy.fault = always(Headers(tuple(changed.items())))
        with pytest.raises(ObjectChangedError):
            read(source)

    @pytest.mark.parametrize("status", [412, 416])
    def test_refusals_that_mean_another_version(self, place: Place, status: int) -> None:
        source = place.open()
        place.proxy.fault = always(Status(status))
        with pytest.raises(ObjectChangedError, match="open it again"):
            read(source)

    @pytest.mark.parametrize(
        "content_range",
        [f"bytes 0-{COUNT - 1}/{len(DATA)}", "bytes nonsense", f"bytes 5-4/{len(DATA)}"],
        ids=["elsewhere", "nonsense", "backwards"],
    )
    def test_a_range_that_was_not_asked_for(self, place: Place, content_range: str) -> None:
        source = place.open()
        place.proxy.fault = always(Headers((("Content-Range", content_range),)))
        with pytest.raises(StoreError):
            read(source)
        assert place.proxy.count() <= 5

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_server_that_wants_time_gets_it(
        self, place: Place, status: int, both_ways: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []
        monkeypatch.setattr(Control, "pause", lambda self, seconds: pauses.append(seconds))
        source = place.open()
        place.proxy.fault = once(Status(status, headers=(("Retry-After", "1"),)))
        assert read(source) == WANTED
        assert both_ways == "client" or pauses == [1.0]

    def test_a_server_that_is_never_ready(self, place: Place, both_ways: str) -> None:
        if both_ways == "client" and place.location.path.startswith(("s3://", "gs://")):
            pytest.skip("these clients have retries of their own")
        source = place.open()
        place.proxy.fault = always(Status(429))
        with pytest.raises(StoreError, match=r"429|Too Many"):
            read(source)
        assert place.proxy.count() == 5

    def test_bodies_said_to_be_compressed(self, place: Place) -> None:
        source = place.open()
        place.proxy.fault = always(Headers((("Content-Encoding", "gzip"),)))
        try:
            assert read(source) == WANTED  # stores say so of what was put there like that
        except StoreError as error:
            assert "Encoding" in str(error) or "decompress" in str(error)

    def test_what_has_expired_is_signed_anew(self, place: Place, both_ways: str) -> None:
        source = place.open()
        place.proxy.fault = once(Status(403))
        if both_ways == "client":
            with pytest.raises(AccessDeniedError):
                read(source)
        else:
            assert read(source) == WANTED
            assert place.proxy.count() == 2
            assert source.stats.fallback is None

    @pytest.mark.parametrize("status", [301, 307])
    def test_credentials_are_not_sent_elsewhere(
        self, place: Place, status: int, recording: Any, http_server: Any
    ) -> None:
        elsewhere, other = recording(http_server.endpoint)
        source = place.open()
        where = f"{elsewhere.url}/object"
        place.proxy.fault = always(Status(status, headers=(("Location", where),)))
        try:
            assert read(source) == WANTED
        except StoreError:
            assert place.location.path.startswith(("s3", "gs", "az"))
        for request in other.requests:
            assert not {"authorization", "x-amz-security-token", "cookie"} & request.headers.keys()
            assert not {"X-Amz-Signature", "sig"} & request.query.keys()


@pytest.mark.parametrize("place", REMOTE, indirect=True)
def test_an_object_that_is_replaced_in_the_middle_of_a_load(place: Place) -> None:
    source = place.open()

    def replace_at_the_third(request: Request) -> None:
        if len(place.proxy.requests) == 3:
            place.backend.put("object", DATA[::-1])

    place.proxy.fault = replace_at_the_third
    offsets = np.arange(0, len(DATA), len(DATA) // 10, dtype=np.int64)
    memory = memoryview(bytearray(len(DATA)))
    with pytest.raises(ObjectChangedError):
        for offset in offsets.tolist():
            source.read_into(offset, memory[offset : offset + len(DATA) // 10])
    assert bytes(memory[: len(DATA) // 10]) == DATA[: len(DATA) // 10]


class Stop(Exception):
    """What a caller's callback may raise."""


@faulty
class TestStopping:
    """All but the first request wait for 20 seconds, which nobody wants to."""

    @pytest.fixture
    def load(self, place: Place) -> Callable[..., None]:
        source = place.open(Limits())
        place.proxy.fault = lambda request: Delay(20) if len(place.proxy.requests) > 1 else None
        size = len(DATA) // 10
        self.memory = memoryview(bytearray(10 * size))

        def run(progress: Callable[[int], object]) -> None:
            fetches = [
                fetch
                for offset in range(0, len(DATA), size)
                for fetch in fetches_of(
                    source,
                    Runs.single(offset, size),
                    [self.memory[offset : offset + size]],
                    limits=Limits(),
                )
            ]
            transfer(fetches, [source], limits=Limits(), progress=progress)

        return run

    @pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
    def test_by_an_exception_in_a_callback(
        self, load: Callable[..., None], error: type[BaseException]
    ) -> None:
        def progress(count: int) -> None:
            raise error

        with pytest.raises(error):
            load(progress)
        assert_nothing_runs()

    def test_by_an_interrupt(self, load: Callable[..., None]) -> None:
        main = threading.main_thread().ident
        assert main is not None
        interrupt = partial(signal.pthread_kill, main, signal.SIGINT)
        timer = threading.Timer(0.3, interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            load(lambda count: None)
        timer.join()
        assert_nothing_runs()


def assert_nothing_runs() -> None:
    """No other thread is reading, and no task of a client's is left."""
    from fsspec import asyn

    here = threading.get_ident()
    for thread, frame in sys._current_frames().items():
        seen = frame if thread != here else None
        while seen is not None:
            assert "read_into" not in seen.f_code.co_name
            seen = seen.f_back
    if asyn.loop[0] is not None:
        names = [repr(task) for task in list_tasks(asyn.loop[0])]
        assert not [name for name in names if "._get()" in name or "_sign()" in name]


def list_tasks(loop: Any) -> list[Any]:
    import asyncio

    async def collect() -> list[Any]:
        return list(asyncio.all_tasks())

    return asyncio.run_coroutine_threadsafe(collect(), loop).result()
