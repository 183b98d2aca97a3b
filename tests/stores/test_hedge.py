"""A second request for a straggler: asked for by the caller, and the faster one counts."""

from __future__ import annotations

import os
import threading

import pytest

from tests.servers.faults import Delay, Fault, Status
from tests.servers.proxy import Proxy, Request
from ztensor_remote.errors import StoreError
from ztensor_remote.stores import Limits, Runs, Source, fetch, open_source

from .backends import MakeBackend, StoreBackend, Through

DATA = os.urandom(300_000)
HEDGED = Limits(hedge_after=0.2)

Opened = tuple[Source, Proxy]


@pytest.fixture
def opened(backend_of: MakeBackend, through: Through) -> Opened:
    backend = backend_of("moto")
    assert isinstance(backend, StoreBackend)
    backend.put("object", DATA)
    location, proxy = through(backend, "object")
    source, _ = open_source(location, window=100, limits=HEDGED)
    proxy.clear()
    return source, proxy


def read(source: Source, limits: Limits = HEDGED) -> bytes:
    memory = bytearray(100_000)
    fetch(source, Runs.single(1000, len(memory)), memoryview(memory), limits=limits)
    return bytes(memory)


@pytest.mark.usefixtures("both_ways")
def test_the_second_request_overtakes_the_first(opened: Opened) -> None:
    source, proxy = opened

    def delay_the_first(request: Request) -> Fault | None:
        return Delay(20) if len(proxy.requests) == 1 else None

    proxy.fault = delay_the_first
    assert read(source) == DATA[1000:101_000]
    assert proxy.count() == 2
    assert not [thread for thread in threading.enumerate() if thread.name == "ztensor-hedge"]


def test_a_fast_answer_needs_no_second(opened: Opened) -> None:
    source, proxy = opened
    assert read(source, Limits(hedge_after=30)) == DATA[1000:101_000]
    assert proxy.count() == 1


def test_the_first_may_still_win(opened: Opened) -> None:
    source, proxy = opened

    def delay_both(request: Request) -> Fault | None:
        return Delay(0.6 if len(proxy.requests) == 1 else 20)

    proxy.fault = delay_both
    assert read(source) == DATA[1000:101_000]
    assert proxy.count() == 2


@pytest.mark.usefixtures("short_pauses")
def test_both_fail(opened: Opened) -> None:
    source, proxy = opened
    proxy.fault = lambda request: Status(503)
    with pytest.raises(StoreError, match="503"):
        read(source, Limits(hedge_after=0.001))
