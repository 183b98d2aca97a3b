"""Objects that are continued inside their stores: what is sent, what is kept, who comes first."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from azure.storage.blob import ContentSettings

from tests.conftest import Recording
from tests.faults import fault
from tests.servers.faults import Status
from tests.servers.proxy import Proxy, Request
from tests.servers.strict_gcs import StrictGcs
from ztensor_remote.errors import ConcurrentWriteError
from ztensor_remote.stores import Location, copies, guarantees_of, locate, open_append, open_source
from ztensor_remote.stores.azure import blob_client
from ztensor_remote.stores.event_loop import run

from .backends import PART, Backend, MakeBackend, StoreBackend, Through

BASE = os.urandom(2 * PART + 12_345)
MORE = os.urandom(200_000)

pytestmark = pytest.mark.usefixtures("short_pauses", "small_parts")


@pytest.fixture
def store(request: pytest.FixtureRequest, backend_of: MakeBackend) -> StoreBackend:
    """The store that a test names."""
    backend = backend_of(request.param)
    assert isinstance(backend, StoreBackend)
    return backend


def append(location: Location, data: bytes) -> None:
    source, _ = open_source(location, window=100)
    sink = open_append(location, source, in_place=True)
    try:
        sink.write(data)
        sink.commit()
    except BaseException:
        sink.abort()
        raise


def sent(proxy: Proxy) -> int:
    """Count the bytes that went up."""
    return sum(request.request_bytes for request in proxy.requests)


class TestBytesThatAreSent:
    @pytest.mark.parametrize("store", ["moto", "ministack", "gcs", "azure"], indirect=True)
    def test_are_the_new_ones(self, store: StoreBackend, through: Through) -> None:
        store.put("object", BASE)
        location, proxy = through(store, "object")
        append(location, MORE)
        append(location, MORE)
        assert store.read("object") == BASE + MORE + MORE
        # Azure's client writes a small object, and a large one by one request: it has no blocks.
        first = len(BASE) if isinstance(proxy, Proxy) and store_is_azure(store) else 0
        assert 2 * len(MORE) < sent(proxy) < first + 2 * len(MORE) + 20_000
        assert store.names() == ["object"]
        assert store.open_uploads() == []

    def test_are_few_of_a_small_object(self, backend_of: MakeBackend, through: Through) -> None:
        store = backend_of("ministack")
        assert isinstance(store, StoreBackend)
        store.put("object", BASE[:1000])
        location, proxy = through(store, "object")
        append(location, MORE)
        assert store.read("object") == BASE[:1000] + MORE
        assert proxy.count(method="PUT") == 1
        assert proxy.count(method="POST") == 0

    @pytest.mark.parametrize("store", ["moto", "ministack"], indirect=True)
    def test_of_an_object_that_is_copied_in_pieces(
        self, store: StoreBackend, through: Through, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copies, "_COPY", PART + (1 << 20))
        store.put("object", BASE)
        location, proxy = through(store, "object")
        append(location, MORE * 40)
        assert store.read("object") == BASE + MORE * 40
        copied = [it for it in proxy.requests if "x-amz-copy-source-range" in it.headers]
        assert len(copied) == 2
        assert all("x-amz-copy-source-if-match" in request.headers for request in copied)
        assert sent(proxy) < len(MORE) * 40 + 20_000

    def test_are_all_where_the_store_can_not_copy(self, backend_of: MakeBackend) -> None:
        store = backend_of("rclone")
        store.put("object", BASE)
        append(store.location("object"), MORE)
        assert store.read("object") == BASE + MORE


def store_is_azure(store: StoreBackend) -> bool:
    return store.endpoint.protocol == "az"


@pytest.mark.parametrize("size", [1000, len(BASE)])
@pytest.mark.parametrize("store", ["moto", "ministack", "gcs"], indirect=True)
def test_what_the_object_says_of_itself_is_kept(store: StoreBackend, size: int) -> None:
    kept: dict[str, Any]
    if store.endpoint.protocol == "s3":
        kept = {"Metadata": {"owner": "me"}, "ContentType": "model/zt"}
        bucket, _, key = store.key("object").partition("/")
        store.fs.call_s3("put_object", Bucket=bucket, Key=key, Body=BASE[:size], **kept)
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending a large body", ResourceWarning)
            store.fs.pipe_file(
                store.key("object"),
                BASE[:size],
                metadata={"owner": "me"},
                content_type="model/zt",
            )
    append(store.location("object"), MORE)
    store.fs.invalidate_cache()
    info = store.fs.info(store.key("object"))
    assert "model/zt" in (info.get("ContentType"), info.get("contentType"))
    if store.endpoint.protocol == "s3":
        assert store.fs.metadata(store.key("object"), refresh=True)["owner"] == "me"
    else:
        assert info["metadata"]["owner"] == "me"


class TestAzure:
    @pytest.fixture
    def azure_store(self, backend_of: MakeBackend) -> StoreBackend:
        backend = backend_of("azure")
        assert isinstance(backend, StoreBackend)
        return backend

    def put_blocks(self, store: StoreBackend, blocks: dict[str, bytes], commit: bool) -> None:
        async def put() -> None:
            async with blob_client(store.fs, store.key("object")) as client:
                for name, data in blocks.items():
                    await client.stage_block(name, io.BytesIO(data), length=len(data))
                if commit:
                    await client.commit_block_list([*blocks])

        run(store.fs, put)

    @pytest.mark.parametrize("length", [1, 14, 15, 23, 40, 64])
    def test_blocks_of_other_programs(
        self, azure_store: StoreBackend, through: Through, length: int
    ) -> None:
        blocks = {name * length: BASE[:PART] for name in "ab"}
        self.put_blocks(azure_store, blocks, commit=True)
        location, proxy = through(azure_store, "object")
        append(location, MORE)
        assert azure_store.read("object") == BASE[:PART] * 2 + MORE
        kept = length >= 15
        assert (sent(proxy) < PART) == kept

    @pytest.mark.parametrize("size", [1000, len(BASE)])
    def test_what_the_blob_says_of_itself_is_kept(
        self, azure_store: StoreBackend, size: int
    ) -> None:
        azure_store.put("object", BASE[:size])

        async def ask(change: bool) -> Any:
            async with blob_client(azure_store.fs, azure_store.key("object")) as client:
                if change:
                    await client.set_blob_metadata({"owner": "me"})
                    await client.set_http_headers(ContentSettings(content_type="model/zt"))
                return await client.get_blob_properties()

        run(azure_store.fs, ask, True)
        append(azure_store.location("object"), MORE)
        found = run(azure_store.fs, ask, False)
        assert found.metadata["owner"] == "me"
        assert found.content_settings.content_type == "model/zt"
        assert azure_store.read("object") == BASE[:size] + MORE

    def test_blocks_that_others_have_staged(self, azure_store: StoreBackend) -> None:
        self.put_blocks(azure_store, {"a" * 23: BASE}, commit=True)
        # Not of the same name: Azurite would then take the staged one, though asked for the other.
        self.put_blocks(azure_store, {"b" * 23: MORE, "c" * 23: MORE}, commit=False)
        append(azure_store.location("object"), MORE)
        assert azure_store.read("object") == BASE + MORE


GUARANTEES = {
    "local": True,
    "memory": True,
    "ministack": True,
    "moto": False,
    "rclone": False,
    "gcs": False,
    "azure": True,
}


@pytest.mark.parametrize("name", GUARANTEES)
def test_guarantees(backend_of: MakeBackend, name: str) -> None:
    backend = backend_of(name)
    backend.put("object", MORE)
    found = guarantees_of(backend.location("object"))
    assert found.atomic
    assert found.exclusive == GUARANTEES[name]
    assert found.reason
    assert backend.names() == ["object"]
    assert not isinstance(backend, StoreBackend) or not backend.open_uploads()


def test_they_are_found_out_once(backend_of: MakeBackend, through: Through) -> None:
    store = backend_of("ministack")
    assert isinstance(store, StoreBackend)
    location, proxy = through(store, "object")
    guarantees_of(location)
    proxy.clear()
    guarantees_of(location)
    assert proxy.requests == []


def test_a_rival_in_memory(backend_of: MakeBackend) -> None:
    backend: Backend = backend_of("memory")
    backend.put("object", BASE)
    source, _ = open_source(backend.location("object"), window=100)
    sink = open_append(backend.location("object"), source, in_place=True)
    backend.put("object", BASE)
    with pytest.raises(ConcurrentWriteError):
        sink.commit()
    sink.abort()
    assert backend.names() == ["object"]


@fault(11)
@pytest.mark.parametrize("store", ["ministack"], indirect=True)
class TestRefusals:
    def test_a_conflict_while_a_rival_publishes(
        self, store: StoreBackend, through: Through
    ) -> None:
        store.put("object", BASE)
        location, proxy = through(store, "object")
        proxy.fault = lambda request: Status(409) if completes(request) else None
        with pytest.raises(ConcurrentWriteError):
            append(location, MORE)
        assert store.read("object") == BASE
        assert store.open_uploads() == []

    def test_an_error_in_an_answer_of_success(self, store: StoreBackend, through: Through) -> None:
        store.put("object", BASE)
        location, proxy = through(store, "object")
        body = b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"
        left = [Status(200, body)]
        proxy.fault = lambda request: left.pop() if left and completes(request) else None
        append(location, MORE)
        assert left == []
        assert store.read("object") == BASE + MORE
        assert store.open_uploads() == []


def completes(request: Request) -> bool:
    return request.method == "POST" and "uploadId" in request.query


class TestStrictGcs:
    @pytest.fixture
    def strict(self) -> Iterator[StrictGcs]:
        with StrictGcs() as server:
            yield server

    @pytest.fixture
    def place(self, strict: StrictGcs, recording: Recording) -> tuple[Location, Proxy]:
        endpoint, proxy = recording(strict.endpoint)
        strict.store("folder/object", BASE, {})
        return locate("gs://bucket/folder/object", storage_options=endpoint.storage_options), proxy

    def test_what_is_sent(self, strict: StrictGcs, place: Any) -> None:
        location, proxy = place
        for _ in range(2):
            append(location, MORE)
        assert strict.objects["folder/object"][-1].data == BASE + MORE + MORE
        assert [*strict.objects] == ["folder/object"]
        assert sent(proxy) < 2 * len(MORE) + 5000

    def test_a_rival(self, strict: StrictGcs, place: Any) -> None:
        source, _ = open_source(place[0], window=100)
        sink = open_append(place[0], source, in_place=True)
        sink.write(MORE)
        strict.store("folder/object", MORE, {})
        with pytest.raises(ConcurrentWriteError):
            sink.commit()
        sink.abort()
        assert strict.objects["folder/object"][-1].data == MORE
        assert [*strict.objects] == ["folder/object"]

    def test_guarantees(self, strict: StrictGcs, place: Any) -> None:
        assert guarantees_of(place[0]).exclusive
        assert [*strict.objects] == ["folder/object"]
