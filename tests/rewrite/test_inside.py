"""What stays as it is stored does not pass through the client, where the store can copy it."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request as Get
from urllib.request import urlopen

import fsspec
import numpy as np
import pytest
from azure.storage.blob import BlobServiceClient
from safetensors.numpy import load_file, save

import ztensor_remote as zt
from tests.servers.azure import ACCOUNT, KEY
from tests.servers.faults import Status
from tests.servers.proxy import Proxy, Request
from tests.stores.backends import MakeBackend, StoreBackend, Through
from ztensor_remote.rewrite import runs
from ztensor_remote.rewrite.export import streaming
from ztensor_remote.stores import copying, upload_azure

MIB = 1 << 20
BLOCK = np.random.default_rng(0).integers(0, 256, 11 * MIB, np.uint8)

pytestmark = pytest.mark.usefixtures("short_pauses")


def moved(proxy: Proxy) -> int:
    """Bytes of bodies, either way."""
    return sum(each.request_bytes + each.response_bytes for each in proxy.requests)


class Store:
    """A store behind a proxy, and files in it."""

    def __init__(self, backend: Any, through: Through) -> None:
        assert isinstance(backend, StoreBackend)
        self.backend = backend
        self._through = through
        location, self.proxy = through(backend, "any")
        self.options = dict(location.storage_options)

    def url(self, name: str) -> str:
        return self._through(self.backend, name)[0].path

    def write(self, name: str, tensors: dict[str, Any], **options: Any) -> str:
        direct = self.backend.location(name)
        with zt.Writer(direct.path, storage_options=direct.storage_options, **options) as writer:
            for key, tensor in tensors.items():
                writer.add_tensor(key, tensor)
        return self.url(name)

    def holds(self, name: str, tensors: dict[str, Any]) -> None:
        direct = self.backend.location(name)
        with zt.open(direct.path, storage_options=direct.storage_options) as model:
            model.verify()
            assert sorted(model) == sorted(tensors)
            for key, tensor in tensors.items():
                assert model[key].numpy().tobytes() == tensor.tobytes()
        assert self.backend.open_uploads() == []

    def run(self, call: Callable[..., Any], *args: Any, **options: Any) -> int:
        """Call and return the bytes that passed through the client."""
        self.proxy.clear()
        call(*args, storage_options=self.options, **options)
        return moved(self.proxy)


@pytest.fixture
def store(request: pytest.FixtureRequest, backend_of: MakeBackend, through: Through) -> Store:
    return Store(backend_of(getattr(request, "param", "ministack")), through)


@pytest.mark.parametrize("store", ["moto", "ministack"], indirect=True)
def test_merging_moves_next_to_nothing(store: Store) -> None:
    first = store.write("1", {"small": np.arange(3.0), "a": BLOCK})
    second = store.write("2", {"b": BLOCK + 1})
    assert store.run(zt.merge, [first, second], store.url("merged")) < 0.01 * 2 * BLOCK.nbytes
    store.holds("merged", {"small": np.arange(3.0), "a": BLOCK, "b": BLOCK + 1})


@pytest.mark.parametrize("store", ["moto"], indirect=True)
def test_what_is_added_from_other_files(store: Store) -> None:
    target = store.write("target", {"a": BLOCK})
    other = store.write("other", {"small": np.arange(3.0), "b": BLOCK + 1})
    assert store.run(zt.append_from, target, [other]) < 0.01 * 2 * BLOCK.nbytes
    store.holds("target", {"small": np.arange(3.0), "a": BLOCK, "b": BLOCK + 1})


def test_version_2_with_its_wide_padding(store: Store) -> None:
    files = [
        store.write(name, {name: BLOCK[: -number - 1]}, version="2")
        for number, name in enumerate("ab")
    ]
    assert store.run(zt.merge, files, store.url("merged")) < 0.02 * 2 * BLOCK.nbytes
    store.holds("merged", {"a": BLOCK[:-1], "b": BLOCK[:-2]})


def test_some_tensors_and_names_that_change(store: Store) -> None:
    secret, rest = np.full(40, 7), {"b": BLOCK, "c": np.ones(2)}
    model = store.write("model", {"secret": secret, **rest})
    assert store.run(zt.copy, model, store.url("copy"), ["b", "c"]) < 11 * MIB
    store.holds("copy", rest)
    assert secret.tobytes() not in store.backend.read("copy")
    assert store.run(zt.rename, model, {"secret": "here"}, store.url("renamed")) < MIB
    store.holds("renamed", {"here": secret, **rest})


def test_what_does_not_change_of_what_is_compressed(store: Store) -> None:
    zeros = np.zeros(16 * MIB, np.uint8)
    mixed = store.write("mixed", {"raw": BLOCK})
    with zt.append(mixed, storage_options=store.options) as writer:
        writer.add_tensor("packed", zeros, compress=True)
    assert store.run(zt.decompress, mixed, store.url("raw")) < 18 * MIB
    store.holds("raw", {"raw": BLOCK, "packed": zeros})


def test_safetensors_is_read_for_its_digests_alone(store: Store) -> None:
    tensors = {"a": BLOCK, "b": BLOCK}
    store.backend.put("model.safetensors", save(tensors))
    source, size = store.url("model.safetensors"), 2 * BLOCK.nbytes
    assert size < store.run(zt.convert, source, store.url("new")) < size + 11 * MIB
    store.holds("new", tensors)
    assert store.run(zt.convert, source, store.url("bare"), checksum=None) < 11 * MIB
    store.holds("bare", tensors)


def test_no_more_runs_than_an_upload_has_parts_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MOST", 1)
    monkeypatch.setattr(streaming, "MOST", 1)
    tensors = {"a": BLOCK, "b": BLOCK[:-MIB]}
    files = [store.write(name, {name: tensor}) for name, tensor in tensors.items()]
    for name in ("merged", "merged.safetensors"):
        up_and_down = store.run(zt.merge, files, store.url(name))
        assert 2 * len(tensors["b"]) < up_and_down < 2 * len(tensors["b"]) + 11 * MIB
        store.holds(name, tensors)


def test_to_other_formats(store: Store, tmp_path: Path) -> None:
    tensors = {"a": BLOCK.view("f4"), "small": np.ones(3, np.float32), "z": BLOCK.view("f4")}
    model = store.write("model", tensors)
    for form in ("safetensors", "gguf"):
        up_and_down = store.run(zt.convert, model, store.url(f"new.{form}"))
        assert up_and_down < 2 * 5.1 * MIB * 2  # behind the header, and behind what is small
        store.holds(f"new.{form}", tensors)
    (tmp_path / "new.safetensors").write_bytes(store.backend.read("new.safetensors"))
    found = load_file(tmp_path / "new.safetensors")
    assert all(found[name].tobytes() == tensor.tobytes() for name, tensor in tensors.items())


@pytest.mark.parametrize("store", ["moto", "ministack"], indirect=True)
def test_a_source_that_is_replaced_meanwhile(store: Store) -> None:
    first, second = store.write("1", {"a": BLOCK}), store.write("2", {"b": BLOCK})
    other = store.backend.read("1")

    def replace(request: Request) -> None:
        if "x-amz-copy-source" in request.headers and request.path.endswith("merged"):
            store.backend.put("2", other)

    store.proxy.fault = replace
    with pytest.raises(zt.ObjectChangedError, match="replaced or removed") as failure:
        store.run(zt.merge, [first, second], store.url("merged"))
    assert failure.value.url == second
    assert sorted(store.backend.names()) == ["1", "2"]
    assert store.backend.open_uploads() == []


def test_a_store_that_refuses(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_refusing", set())
    model = store.write("model", {"a": BLOCK, "b": np.arange(3)})

    def refuse(request: Request) -> Status | None:
        return Status(403) if "x-amz-copy-source" in request.headers else None

    store.proxy.fault = refuse
    told = fsspec.Callback()
    assert store.run(zt.copy, model, store.url("copy"), callback=told) > 2 * BLOCK.nbytes
    assert told.value == told.size
    assert store.proxy.count(status=403) == 1
    store.holds("copy", {"a": BLOCK, "b": np.arange(3)})


class Account:
    """What Azurite lacks, done on it: Put Block From URL, as its documentation has it."""

    def __init__(self, store: Store) -> None:
        endpoint = store.backend.endpoint
        self._host = endpoint.url
        self._service = BlobServiceClient(f"{endpoint.url}/{ACCOUNT}", credential=KEY)
        self.copied = 0

    def __call__(self, request: Request) -> Status | None:
        headers = request.headers
        if "x-ms-copy-source" not in headers:
            return None
        assert (request.method, request.query["comp"]) == ("PUT", "block")
        signed = urlsplit(headers["x-ms-copy-source"])
        asked = {"x-ms-range": headers["x-ms-source-range"]}
        asked["If-Match"] = headers["x-ms-source-if-match"]
        try:
            with urlopen(Get(f"{self._host}{signed.path}?{signed.query}", headers=asked)) as answer:
                data = answer.read()
        except HTTPError as error:
            return Status(error.code)
        _, _, container, blob = request.path.split("/", 3)
        client = self._service.get_blob_client(container, blob)
        client.stage_block(b64decode(request.query["blockid"]).decode(), data)
        self.copied += len(data)
        return Status(201)


@pytest.mark.parametrize("store", ["azure"], indirect=True)
class TestAzure:
    def test_blocks_are_copied(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upload_azure, "_COPY", 5 * MIB)
        files = [store.write(name, {name: BLOCK, f"{name}s": np.ones(3)}) for name in "ab"]
        store.proxy.fault = account = Account(store)
        assert store.run(zt.merge, files, store.url("merged")) < 0.01 * 2 * BLOCK.nbytes
        assert account.copied >= 2 * BLOCK.nbytes
        store.holds("merged", {"a": BLOCK, "as": np.ones(3), "b": BLOCK, "bs": np.ones(3)})

    def test_a_source_that_is_replaced_meanwhile(self, store: Store) -> None:
        first, second = store.write("1", {"a": BLOCK}), store.write("2", {"b": BLOCK})
        account, other = Account(store), store.backend.read("1")

        def replace(request: Request) -> Status | None:
            if "x-ms-copy-source" in request.headers:
                store.backend.put("2", other)
            return account(request)

        store.proxy.fault = replace
        with pytest.raises(zt.ObjectChangedError, match="replaced or removed") as failure:
            store.run(zt.merge, [first, second], store.url("merged"))
        assert failure.value.url == second
        assert sorted(store.backend.names()) == ["1", "2"]

    def test_a_server_that_can_not(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(copying, "_refusing", set())
        model = store.write("model", {"a": BLOCK})
        assert store.run(zt.copy, model, store.url("copy")) > 2 * BLOCK.nbytes
        store.holds("copy", {"a": BLOCK})


@pytest.mark.parametrize("store", ["rclone"], indirect=True)
def test_a_store_that_can_not(store: Store) -> None:
    model = store.write("model", {"a": BLOCK})
    for name in ("copy", "again"):
        assert store.run(zt.copy, model, store.url(name)) > 2 * BLOCK.nbytes
        store.holds(name, {"a": BLOCK})


def test_another_store_is_read(store: Store, moto: Any, bucket: Callable[..., str]) -> None:
    model = store.write("model", {"a": BLOCK})
    there = moto.uri(f"{bucket(moto)}/copy")
    zt.copy(model, there, storage_options=store.options, to_storage_options=moto.storage_options)
    with zt.open(there, storage_options=moto.storage_options) as copied:
        assert (copied["a"].numpy() == BLOCK).all()
