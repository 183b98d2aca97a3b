"""Uploads that meet faults and rivals, on the stores and on a strict GCS of our own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError

from tests.conftest import Recording
from tests.faults import fault
from tests.servers.faults import DropResponse, Fault, Status
from tests.servers.proxy import Proxy, Request
from tests.servers.strict_gcs import CHUNK, StrictGcs
from ztensor_remote.errors import AccessDeniedError, ConcurrentWriteError, StoreError
from ztensor_remote.stores import Location, locate, open_append, open_sink, open_source
from ztensor_remote.stores.remote import run

from .backends import PART, MakeBackend, StoreBackend, Through

SMALL = os.urandom(300_000)
# More than two parts, and no multiple of anything.
LARGE = os.urandom(2 * PART + 12_345)

# One for each way to upload.
STORES = ["moto", "gcs", "azure"]


pytestmark = pytest.mark.usefixtures("short_pauses", "small_parts")


@pytest.fixture
def store(request: pytest.FixtureRequest, backend_of: MakeBackend) -> StoreBackend:
    """The store that a test names."""
    backend = backend_of(request.param)
    assert isinstance(backend, StoreBackend)
    return backend


def write(location: Location, data: bytes) -> None:
    sink = open_sink(location)
    try:
        sink.write(data)
        sink.commit()
    except BaseException:
        sink.abort()
        raise


def nth(number: int, fault: Fault, count: int = 1) -> Callable[[Request], Fault | None]:
    """Spoil `count` requests that carry an upload, from this one (from 1) on."""
    left = iter([None] * (number - 1) + [fault] * count)
    return lambda request: next(left, None) if request.method in ("PUT", "POST") else None


@pytest.mark.parametrize("store", STORES, indirect=True)
class TestFaults:
    @pytest.mark.parametrize(("data", "number"), [(SMALL, 1), (LARGE, 2)], ids=["small", "large"])
    def test_503_once(
        self, store: StoreBackend, through: Through, data: bytes, number: int
    ) -> None:
        location, proxy = through(store, "object")
        proxy.fault = nth(number, Status(503))
        write(location, data)
        assert store.read("object") == data
        assert proxy.count(status=503) == 1

    @fault(14)
    def test_a_part_that_is_refused(self, store: StoreBackend, through: Through) -> None:
        store.put("object", SMALL)
        location, proxy = through(store, "object")
        proxy.fault = nth(2, Status(403), count=9)
        with pytest.raises(AccessDeniedError) as caught:
            write(location, LARGE)
        assert caught.value.url == location.url
        assert store.read("object") == SMALL
        assert store.open_uploads() == []

    @pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
    def test_the_answer_to_the_publication_is_lost(
        self, store: StoreBackend, through: Through, data: bytes
    ) -> None:
        location, proxy = through(store, "object")
        proxy.fault = lose_publication(proxy)
        write(location, data)
        assert store.read("object") == data
        assert store.open_uploads() == []
        assert any(publishes(request) for request in proxy.requests)


def publishes(request: Request) -> bool:
    """Whether this is the request that makes an object of ours appear."""
    query, headers = request.query, request.headers
    whole_s3 = request.method == "PUT" and "x-amz-meta-ztensor-commit" in headers
    complete_s3 = request.method == "POST" and "uploadId" in query
    whole_gcs = query.get("uploadType") == "multipart"
    last_of_gcs = "content-range" in headers and not headers["content-range"].endswith("/*")
    blocks = query.get("comp") == "blocklist"
    return whole_s3 or complete_s3 or whole_gcs or last_of_gcs or blocks


def lose_publication(proxy: Proxy) -> Callable[[Request], Fault | None]:
    """Lose the answer to the first of them."""
    return lambda request: (
        DropResponse() if publishes(request) and sum(map(publishes, proxy.requests)) == 1 else None
    )


# moto and fake-gcs-server ignore conditions where they finish an upload in parts; there we look.
@pytest.mark.parametrize(
    ("store", "size"),
    [
        ("ministack", 1000),
        ("ministack", len(LARGE)),
        ("moto", 1000),
        ("moto", len(LARGE)),
        ("gcs", 1000),
        ("gcs", len(LARGE)),
        ("azure", 1000),
        ("azure", len(LARGE)),
    ],
    indirect=["store"],
)
class TestRivals:
    def test_a_base_that_was_replaced(self, store: StoreBackend, size: int) -> None:
        store.put("object", LARGE[:size])
        location = store.location("object")
        source, _ = open_source(location, window=100)
        sink = open_append(location, source, in_place=False)
        sink.write(b"more")
        store.put("object", SMALL)
        with pytest.raises(ConcurrentWriteError) as caught:
            sink.commit()
        sink.abort()
        assert caught.value.url == location.url
        assert store.read("object") == SMALL
        assert store.open_uploads() == []

    def test_a_base_that_was_replaced_before(self, store: StoreBackend, size: int) -> None:
        store.put("object", LARGE[:size])
        location = store.location("object")
        source, _ = open_source(location, window=100)
        store.put("object", SMALL)
        with pytest.raises(StoreError, match=r"replaced|another writer"):
            open_append(location, source, in_place=False).commit()
        assert store.read("object") == SMALL
        assert store.open_uploads() == []

    @fault(10)
    def test_a_lost_answer_is_not_a_rival(
        self, store: StoreBackend, through: Through, size: int
    ) -> None:
        store.put("object", LARGE[:size])
        location, proxy = through(store, "object")
        source, _ = open_source(location, window=100)
        sink = open_append(location, source, in_place=False)
        sink.write(b"more")
        proxy.fault = lose_publication(proxy)
        sink.commit()
        assert store.read("object") == LARGE[:size] + b"more"


# moto looks before it finishes an upload in parts, fake-gcs-server not even that.
@pytest.mark.parametrize(
    ("place", "size"),
    [
        ("local", 1000),
        ("memory", 1000),
        ("ministack", 1000),
        ("ministack", len(LARGE)),
        ("moto", 1000),
        ("gcs", 1000),
        ("azure", 1000),
        ("azure", len(LARGE)),
    ],
)
class TestCreating:
    def test_what_is_there_stays(self, backend_of: MakeBackend, place: str, size: int) -> None:
        backend = backend_of(place)
        backend.put("object", SMALL)
        sink = open_sink(backend.location("object"), create=True)
        sink.write(LARGE[:size])
        with pytest.raises(ConcurrentWriteError):
            sink.commit()
        sink.abort()
        assert backend.read("object") == SMALL
        assert backend.names() == ["object"]
        assert not isinstance(backend, StoreBackend) or backend.open_uploads() == []

    @fault(9)
    def test_one_of_many_wins(self, backend_of: MakeBackend, place: str, size: int) -> None:
        backend = backend_of(place)

        def create(number: int) -> bool:
            sink = open_sink(backend.location("object"), create=True)
            sink.write(bytes([number]) * size)
            try:
                sink.commit()
            except ConcurrentWriteError:
                sink.abort()
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(create, range(4)))
        assert won.count(True) == 1
        assert backend.read("object") == bytes([won.index(True)]) * size


@fault(10)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_a_lost_answer_to_a_creation_is_not_a_rival(store: StoreBackend, through: Through) -> None:
    location, proxy = through(store, "object")
    sink = open_sink(location, create=True)
    sink.write(SMALL)
    proxy.fault = lose_publication(proxy)
    sink.commit()
    assert store.read("object") == SMALL


class TestAzure:
    def test_two_writers_of_one_blob(self, backend_of: MakeBackend) -> None:
        backend = backend_of("azure")
        assert isinstance(backend, StoreBackend)
        sinks = [open_sink(backend.location("object")) for _ in range(2)]
        contents = [LARGE, LARGE[::-1]]
        for sink, data in zip(sinks, contents, strict=True):
            sink.write(data)
        while len(staged_blocks(backend, "object")) < 4:  # the third of each goes at commit
            time.sleep(0.01)
        sinks[0].commit()
        assert backend.read("object") == contents[0]
        # The first commit dropped the blocks that the second writer had staged.
        with pytest.raises(ConcurrentWriteError):
            sinks[1].commit()
        sinks[1].abort()
        assert backend.read("object") == contents[0]


def staged_blocks(backend: StoreBackend, path: str) -> list[Any]:
    """List the blocks that nobody has committed yet."""

    async def ask() -> tuple[list[Any], list[Any]]:
        container, _, key = backend.key(path).partition("/")
        async with backend.fs.service_client.get_blob_client(container, key) as client:
            lists: tuple[list[Any], list[Any]] = await client.get_block_list("all")
        return lists

    try:
        return run(backend.fs, ask)[1]
    except ResourceNotFoundError:
        return []


@pytest.fixture
def strict() -> Iterator[StrictGcs]:
    """The strict GCS."""
    with StrictGcs() as server:
        yield server


@pytest.fixture
def place(strict: StrictGcs, recording: Recording) -> tuple[Location, Proxy]:
    """An object on it, and the proxy before it."""
    endpoint, proxy = recording(strict.endpoint)
    return locate("gs://bucket/folder/object", storage_options=endpoint.storage_options), proxy


Place = tuple[Location, Proxy]


class TestStrictGcs:
    @pytest.mark.parametrize("size", [0, 1000, PART, PART + CHUNK, len(LARGE)])
    def test_round_trip(self, strict: StrictGcs, place: Place, size: int) -> None:
        location, _ = place
        write(location, LARGE[:size])
        (stored,) = strict.objects["folder/object"]
        assert stored.data == LARGE[:size]
        source, tail = open_source(location, window=1 << 16)
        assert bytes(tail) == LARGE[:size][-(1 << 16) :]
        assert source.identity.size == size

    def test_large_data_are_cut_where_the_store_wants_it(
        self, strict: StrictGcs, place: Place
    ) -> None:
        data = os.urandom(5 * PART + 12_345)
        sink: Any = open_sink(place[0])
        sink.write(data)
        sink.take(data, lent=True)
        sink.commit()
        assert strict.objects["folder/object"][-1].data == data * 2

    @pytest.mark.parametrize("keep", [CHUNK, 3 * CHUNK, PART - CHUNK])
    def test_chunks_that_are_stored_in_part(
        self, strict: StrictGcs, place: Place, keep: int
    ) -> None:
        strict.keep = keep
        write(place[0], LARGE)
        assert strict.objects["folder/object"][-1].data == LARGE

    @pytest.mark.parametrize("number", [1, 2, 3, 4])
    def test_lost_answers(self, strict: StrictGcs, place: Place, number: int) -> None:
        location, proxy = place
        strict.keep = PART - CHUNK
        proxy.fault = nth(number, DropResponse())
        write(location, LARGE)
        assert [stored.data for stored in strict.objects["folder/object"]] == [LARGE]

    def test_an_abort_deletes_the_session(self, strict: StrictGcs, place: Place) -> None:
        sink = open_sink(place[0])
        sink.write(LARGE)
        assert len(strict.sessions) == 1
        sink.abort()
        sink.abort()
        assert (strict.sessions, strict.objects) == ({}, {})

    def test_a_base_is_continued(self, strict: StrictGcs, place: Place) -> None:
        write(place[0], LARGE)
        source, _ = open_source(place[0], window=100)
        sink = open_append(place[0], source, in_place=False)
        sink.write(SMALL)
        sink.commit()
        assert strict.objects["folder/object"][-1].data == LARGE + SMALL

    @pytest.mark.parametrize("moment", ["before", "during"])
    @pytest.mark.parametrize("size", [1000, len(LARGE)])
    def test_rivals(self, strict: StrictGcs, place: Place, size: int, moment: str) -> None:
        strict.versioned = True  # so that the old generation can still be read
        write(place[0], LARGE[:size])
        source, _ = open_source(place[0], window=100)
        if moment == "before":
            strict.store("folder/object", SMALL, {})
        with pytest.raises(ConcurrentWriteError):
            sink = open_append(place[0], source, in_place=False)
            strict.store("folder/object", SMALL, {})
            sink.commit()
        assert strict.objects["folder/object"][-1].data == SMALL

    def test_an_old_generation(self, strict: StrictGcs, place: Place) -> None:
        write(place[0], LARGE)
        source, _ = open_source(place[0], window=100)
        strict.versioned = True
        write(place[0], SMALL)
        strict.versioned = False
        found = memoryview(bytearray(1000))
        with pytest.raises(StoreError, match="replaced"):
            source.read_into(5, found)
        strict.versioned = True
        source.read_into(5, found)
        assert found == LARGE[5:1005]

    def test_the_store_says_why(self, strict: StrictGcs, place: Place) -> None:
        location, proxy = place
        refusal = b'{\n "error": {\n  "message": "x does not have storage.objects.get access"}}'
        proxy.fault = lambda request: Status(403, refusal)
        with pytest.raises(AccessDeniedError, match=r"x does not have storage\.objects\.get"):
            open_source(location, window=100)
