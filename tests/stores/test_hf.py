"""The Hugging Face Hub: one commit, fast, and the token for the hub alone."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub")

from tests.servers.faults import Status
from tests.servers.http import HttpServer
from tests.servers.hub import REPOSITORY, TOKEN, Commit, Hub
from tests.servers.proxy import Proxy
from ztensor_remote.errors import NotFoundError, StoreError
from ztensor_remote.stores import Location, Source, locate, open_source

DATA = os.urandom(100_000)
NAME = "weights/model.zt"

pytestmark = pytest.mark.usefixtures("both_ways", "short_pauses")


class Served:
    """A repository, its hub and the storage behind it."""

    def __init__(self, hub: Hub, storage: Proxy, folder: Path) -> None:
        self.hub, self.storage, self.folder = hub, storage, folder

    def commit(self, **files: bytes) -> None:
        named = {NAME if name == "model" else name: data for name, data in files.items()}
        for data in named.values():
            (self.folder / hashlib.sha256(data).hexdigest()).write_bytes(data)
        self.hub.commits.append(Commit(named))

    def location(self, name: str = NAME, **options: Any) -> Location:
        options = {"endpoint": self.hub.url, "token": TOKEN, "skip_instance_cache": True} | options
        return locate(f"hf://{REPOSITORY}/{name}", storage_options=options)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with HttpServer(tmp_path) as files, Proxy(files.url) as storage, Hub(storage.url) as hub:
        served = Served(hub, storage, tmp_path)
        served.commit(model=DATA)
        yield served


def read(source: Source, offset: int, length: int) -> bytes:
    memory = bytearray(length)
    source.read_into(offset, memoryview(memory))
    return bytes(memory)


def test_ranges(served: Served, both_ways: str) -> None:
    source, tail = open_source(served.location(), window=1000)
    assert (bytes(tail), source.identity.size) == (DATA[-1000:], len(DATA))
    assert read(source, 5000, 20_000) == DATA[5000:25_000]
    if both_ways == "lane":
        assert source.stats.fallback is None
        assert served.storage.count() == 2
        assert len(served.hub.log.resolved) == 1  # where the bytes are is known by then


def test_the_token_is_for_the_hub_alone(served: Served) -> None:
    source, _ = open_source(served.location(), window=1000)
    read(source, 0, 100)
    assert {with_token for _, with_token in served.hub.log.resolved} == {True}
    assert not any("authorization" in request.headers for request in served.storage.requests)
    shown = f"{source!r} {source.stats} {source.identity} {pickle.dumps(source.identity)!r}"
    assert TOKEN not in shown and "signed" not in shown


def test_a_commit_to_another_file_changes_nothing(served: Served) -> None:
    source, _ = open_source(served.location(), window=1000)
    served.commit(model=DATA, other=b"other")
    assert read(source, 0, 100) == DATA[:100]
    again, _ = open_source(served.location(), window=1000)
    assert again.identity.matches(source.identity)


def test_the_commit_stays_readable(served: Served) -> None:
    source, _ = open_source(served.location(), window=1000)
    served.commit(model=DATA[::-1])
    assert read(source, 0, len(DATA)) == DATA
    newer, _ = open_source(served.location(), window=1000)
    assert not newer.identity.matches(source.identity)
    assert read(newer, 0, 100) == DATA[::-1][:100]


def test_signatures_that_expire(served: Served, both_ways: str) -> None:
    if both_ways == "client":
        pytest.skip("the client asks the hub each time")
    source, _ = open_source(served.location(), window=1000)
    served.commit(model=DATA[::-1])
    refusals = iter([Status(403)])
    served.storage.fault = lambda request: next(refusals, None)
    assert read(source, 0, 100) == DATA[:100]
    (_, first), (commit, second) = served.hub.log.resolved
    assert first and second
    assert commit == f"{served.hub.commits[0].sha}/{NAME}"  # not of the branch, which has moved
    assert source.stats.fallback is None


def test_nothing_is_there(served: Served) -> None:
    with pytest.raises(NotFoundError):
        open_source(served.location("other.zt"), window=1000)


def test_a_wrong_token(served: Served) -> None:
    with pytest.raises(StoreError) as caught:
        open_source(served.location(token="hf_wr0ng"), window=1000)
    assert "hf_wr0ng" not in f"{caught.value} {caught.value!r}"


def test_a_small_window_of_all(served: Served) -> None:
    _, tail = open_source(served.location(), window=2 * len(DATA))
    assert bytes(tail) == DATA
