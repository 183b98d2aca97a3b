"""Handles on their way: small, without what was derived, and one opened file for all tensors."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import MEMORY, in_memory, model_bytes, new_url, same
from tests.servers.s3 import S3Endpoint
from ztensor_remote.reader.handle import OPENED

ARRAYS = {f"layers.{number}.weight": np.full((50, 10), number, "f4") for number in range(20)}


@pytest.fixture
def stored(
    moto: S3Endpoint, bucket: Callable[[S3Endpoint], str], recording: Any
) -> tuple[str, dict[str, Any], Any]:
    """A file in S3, through a proxy that counts: URL, storage options, proxy."""
    name = bucket(moto)
    with zt.Writer(moto.uri(f"{name}/model.zt"), storage_options=moto.storage_options) as writer:
        for key, array in ARRAYS.items():
            writer.add_tensor(key, array)
    through, proxy = recording(moto)
    return through.uri(f"{name}/model.zt"), through.storage_options, proxy


def safetensors(arrays: dict[str, Any]) -> bytes:
    return bytes(pytest.importorskip("safetensors.numpy").save(arrays))


def test_handles_are_small_and_hold_what_the_caller_gave(stored: Any) -> None:
    url, options, _ = stored
    with zt.open(url, storage_options=options) as model:
        model["layers.3.weight"].numpy()
        for handle in (pickle.dumps(model), pickle.dumps(model["layers.3.weight"])):
            assert len(handle) < 1200
            assert b"Signature" not in handle and b"X-Amz" not in handle


def test_tensors_that_arrive_share_one_opened_file(stored: Any) -> None:
    url, options, proxy = stored
    with zt.open(url, storage_options=options) as model:
        handles = [pickle.dumps(tensor) for tensor in model.values()]
    proxy.clear()
    with ThreadPoolExecutor(8) as pool:
        arrived = list(pool.map(pickle.loads, handles))
    assert len(proxy.requests) == 1, "the manifest, once"
    assert len({id(tensor._reader) for tensor in arrived}) == 1
    assert all(same(tensor[:], ARRAYS[tensor.name]) for tensor in arrived)


def test_a_manifest_that_is_sent_along_spares_the_look_at_it(stored: Any) -> None:
    url, options, proxy = stored
    with zt.open(url, storage_options=options, send_manifest=True) as model:
        handles = [pickle.dumps(model), pickle.dumps([*model.values()])]
    proxy.clear()
    reader, tensors = map(pickle.loads, handles)
    assert {*reader} == {*ARRAYS}
    assert proxy.requests == []
    assert same(reader["layers.3.weight"][:], ARRAYS["layers.3.weight"])
    assert all(same(tensor.numpy(), ARRAYS[tensor.name]) for tensor in tensors)
    assert proxy.count(method="GET") == 1 + len(ARRAYS)
    again = pickle.loads(pickle.dumps(reader))
    proxy.clear()
    assert same(again["layers.4.weight"][:], ARRAYS["layers.4.weight"])
    assert len(proxy.requests) == 1


def test_a_manifest_that_is_sent_along_is_of_that_version_alone(stored: Any) -> None:
    url, options, _ = stored
    with zt.open(url, storage_options=options, send_manifest=True) as model:
        arrived = pickle.loads(pickle.dumps(model))
    with zt.Writer(url, storage_options=options) as writer:
        for key, array in ARRAYS.items():
            writer.add_tensor(key, array + 1)
    with pytest.raises(zt.ObjectChangedError):
        arrived["layers.3.weight"].numpy()
    assert arrived.refresh()
    assert same(arrived["layers.3.weight"].numpy(), ARRAYS["layers.3.weight"] + 1)


@pytest.mark.parametrize("kind", ["local", "generic", "bytes", "cached", "foreign", "torn"])
def test_a_manifest_is_sent_along_from_anywhere(kind: str, tmp_path: Path) -> None:
    data = model_bytes(ARRAYS)
    place: Any = tmp_path / "model.zt"
    options: dict[str, Any] = {"send_manifest": True}
    match kind:
        case "local":
            place.write_bytes(data)
        case "generic":
            place = in_memory(data)
        case "bytes":
            place = data
        case "cached":
            place, options["cache"] = in_memory(data), tmp_path / "cache"
        case "foreign":
            place = in_memory(safetensors(ARRAYS))
        case "torn":
            place.write_bytes(data + b"torn")
    with zt.open(place, **options) as model:
        arrived = pickle.loads(pickle.dumps(model))
    assert arrived.manifest == model.manifest
    assert arrived.recovered == (kind == "torn")
    assert all(same(arrived[name].numpy(), array) for name, array in ARRAYS.items())


def test_a_handle_stays_at_its_version() -> None:
    url = in_memory(model_bytes(ARRAYS))
    with zt.open(url) as model:
        handle = model._handle
        assert handle is model["layers.1.weight"]._handle
        assert handle.reader() is model
        MEMORY.pipe_file(url, model_bytes({"layers.1.weight": np.zeros(3)}))
        assert model.refresh()
        with pytest.raises(zt.ObjectChangedError):
            handle.reader()
        assert model._handle.reader() is model


def test_a_process_keeps_what_its_tasks_have_opened() -> None:
    with zt.open(in_memory(model_bytes(ARRAYS))) as model:
        handle = pickle.loads(pickle.dumps(model._handle))
        tensor = pickle.loads(pickle.dumps(model["layers.1.weight"]))
    number = id(handle.reader())
    assert tensor._reader is handle.reader(), "tensors and tasks have one opened file"
    del tensor
    assert id(pickle.loads(pickle.dumps(handle)).reader()) == number
    handle.reader().close()
    assert same(handle.reader()["layers.2.weight"].numpy(), ARRAYS["layers.2.weight"])


def test_other_options_are_another_file() -> None:
    url = in_memory(model_bytes(ARRAYS))
    with zt.open(url) as one, zt.open(url, verify=False) as other:
        tensors = [pickle.loads(pickle.dumps(reader["layers.0.weight"])) for reader in (one, other)]
    assert [tensor._blobs.verify for tensor in tensors] == [True, False]


def test_readers_that_arrive_are_ones_own() -> None:
    with zt.open(in_memory(model_bytes(ARRAYS))) as model:
        tensor, reader = pickle.loads(pickle.dumps((model["layers.1.weight"], model)))
    reader.close()
    assert same(tensor[:], ARRAYS["layers.1.weight"])


def test_a_file_is_let_go_with_its_last_tensor() -> None:
    with zt.open(in_memory(model_bytes(ARRAYS))) as model:
        handle = pickle.dumps(model["layers.1.weight"])
    before = len(OPENED._readers)
    tensor = pickle.loads(handle)
    assert len(OPENED._readers) == before + 1
    reader = tensor._reader
    reader._tensors.clear()  # a reader and its tensors refer to each other
    del tensor, reader
    assert len(OPENED._readers) == before


def test_a_tensor_stays_of_the_version_that_it_was_taken_from() -> None:
    url = in_memory(model_bytes(ARRAYS))
    with zt.open(url) as model:
        tensor = model["layers.1.weight"]
        MEMORY.pipe_file(url, model_bytes({"layers.1.weight": np.zeros(3)}))
        assert model.refresh()
        with pytest.raises(zt.ObjectChangedError):
            pickle.loads(pickle.dumps(tensor))
        assert pickle.loads(pickle.dumps(model["layers.1.weight"])).shape == (3,)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_does_not_wait_for_a_lock_of_its_parents_threads() -> None:
    with zt.open(in_memory(model_bytes(ARRAYS))) as model:
        handle = pickle.dumps(model["layers.7.weight"])
    with OPENED._lock:
        child = os.fork()
        if not child:
            alarm = threading.Timer(20, os._exit, [9])
            alarm.daemon = True
            alarm.start()
            os._exit(0 if pickle.loads(handle)[0, 0] == 7 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_of_a_log() -> None:
    with zt.CheckpointLog(new_url(), compress=True, single_writer=True, verify=False) as log:
        log.append(3, ARRAYS)
        copy = pickle.loads(pickle.dumps(log))
        assert len(pickle.dumps(log)) < 600
    assert copy.steps() == [3]
    copy.append(4, ARRAYS)
    assert same(copy.latest()["layers.2.weight"].numpy(), ARRAYS["layers.2.weight"])
    assert (copy._compress, copy._single_writer, copy._verify) == (True, True, False)
