"""Handles on their way: small, without what was derived, and one opened file for all tensors."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import MEMORY, in_memory, model_bytes, new_url, same
from tests.servers.s3 import S3Endpoint
from ztensor_remote.reader.arrivals import ARRIVALS

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
    before = len(ARRIVALS._readers)
    tensor = pickle.loads(handle)
    assert len(ARRIVALS._readers) == before + 1
    reader = tensor._reader
    reader._tensors.clear()  # a reader and its tensors refer to each other
    del tensor, reader
    assert len(ARRIVALS._readers) == before


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
    with ARRIVALS._lock:
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
