"""Writers of one object in a store: none loses what another has added."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.faults import fault
from tests.servers.faults import Status
from tests.servers.proxy import Request
from tests.stores.backends import Backend, MakeBackend, StoreBackend, Through
from tests.stores.test_uploads import lose_publication
from ztensor_remote.stores import locate

from .test_append import SOME

ROOT = Path(__file__).parents[2]
LARGE = {"large": np.arange(1_500_000)}

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def place(request: pytest.FixtureRequest, backend_of: MakeBackend) -> dict[str, Any]:
    """The arguments that open a file in the store that a test names."""
    location = backend_of(request.param).location("object")
    return {"location": location.path, "storage_options": location.storage_options}


def write(place: dict[str, Any], tensors: dict[str, Any]) -> None:
    with zt.Writer(**place) as writer:
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor)


def assert_all(place: dict[str, Any], wanted: dict[str, Any]) -> None:
    with zt.open(**place) as model:
        model.verify()
        assert sorted(model) == sorted(wanted)
        found = model.load()
    assert all((found[name] == wanted[name]).all() for name in wanted)


APPENDING = """
import importlib, json, os, sys, traceback
import numpy as np
import ztensor_remote as zt
place, client = json.loads(sys.argv[1]), sys.argv[2]
importlib.import_module(client)  # once for all

def add(index):
    with zt.append(**place, retries=100) as writer:
        writer.add_tensor(f"t{index}", np.full(2000, 1000 + index))
        writer.attributes[str(index)] = index

wait, go = os.pipe()
children = []
for index in range(8):
    children.append(os.fork())
    if not children[-1]:
        try:
            os.close(go)
            os.read(wait, 1)
            add(index)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
os.close(go)  # all begin now
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def assert_each_once(place: dict[str, Any], start: dict[str, Any]) -> None:
    added = {f"t{index}": np.full(2000, 1000 + index) for index in range(8)}
    assert_all(place, start | added)
    with zt.open(**place) as model:
        assert model.attributes == {str(index): index for index in range(8)}
        size = model.identity.size
    fs, path = locate(place["location"], storage_options=place["storage_options"]).resolve()
    data = fs.cat_file(path, start=0, end=size)
    assert [data.count(tensor.tobytes()) for tensor in added.values()] == [1] * 8


@fault(9)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(
    ("place", "client", "start"),
    [
        ("local", "json", SOME),
        ("ministack", "s3fs", LARGE),
        ("azure", "adlfs", LARGE),
        ("strict_gcs", "gcsfs", LARGE),
    ],
    indirect=["place"],
)
def test_many_processes(place: dict[str, Any], client: str, start: dict[str, Any]) -> None:
    write(place, start)
    named = {**place, "storage_options": dict(place["storage_options"])}
    command = [sys.executable, "-c", APPENDING, json.dumps(named), client]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert_each_once(place, start)


@fault(9)
@pytest.mark.parametrize(
    ("place", "start"),
    [("memory", SOME), ("strict_gcs", SOME)],
    indirect=["place"],
)
def test_many_threads(place: dict[str, Any], start: dict[str, Any]) -> None:
    write(place, start)
    barrier = threading.Barrier(8)

    def add(index: int) -> None:
        barrier.wait(30)
        with zt.append(**place, retries=100) as writer:
            writer.add_tensor(f"t{index}", np.full(2000, 1000 + index))
            writer.attributes[str(index)] = index

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    assert_each_once(place, start)


@fault(15)
@pytest.mark.parametrize("place", ["moto", "rclone", "gcs"], indirect=True)
def test_many_writers_are_refused_where_they_would_lose_something(place: dict[str, Any]) -> None:
    write(place, SOME)
    with pytest.raises(zt.UnsupportedError, match="ignores the condition"):
        zt.append(**place, retries=1)
    with zt.append(**place) as writer:
        assert not writer.guarantees.exclusive
        writer.add_tensor("more", np.arange(3))
    assert_all(place, SOME | {"more": np.arange(3)})


@pytest.mark.parametrize("place", ["ministack", "strict_gcs"], indirect=True)
class TestRivals:
    def test_without_retries_one_loses(self, place: dict[str, Any]) -> None:
        write(place, LARGE)
        first, second = zt.append(**place), zt.append(**place)
        for writer, name in ((first, "first"), (second, "second")):
            writer.add_tensor(name, np.arange(4))
        first.finalize()
        with pytest.raises(zt.ConcurrentWriteError):
            second.finalize()
        assert_all(place, LARGE | {"first": np.arange(4)})

    def test_what_both_have_done(self, place: dict[str, Any]) -> None:
        write(place, SOME | {"c": np.arange(2), "d": np.arange(3)})
        late = zt.append(**place, retries=1)
        late.replace("a", np.arange(40))
        late.remove("c")
        late.attributes["by"] = "late"
        with zt.append(**place) as early:
            early.replace("a", np.arange(30))
            early.remove("d")
            early.add_tensor("e", np.arange(5))
            early.attributes["by"] = "early"
            early.attributes["early"] = True
        late.finalize()
        assert_all(place, {"a": np.arange(40), "b": SOME["b"], "e": np.arange(5)})
        with zt.open(**place) as model:
            assert model.attributes == {"by": "late", "early": True}

    def test_two_tensors_of_one_name(self, place: dict[str, Any]) -> None:
        write(place, SOME)
        late = zt.append(**place, retries=3)
        late.add_tensor("x", np.arange(4))
        with zt.append(**place) as early:
            early.add_tensor("x", np.arange(5))
        with pytest.raises(zt.DuplicateNameError, match="another writer"):
            late.finalize()
        assert_all(place, SOME | {"x": np.arange(5)})

    def test_a_file_that_became_another(self, place: dict[str, Any]) -> None:
        write(place, SOME)
        late = zt.append(**place, retries=3)
        late.add_tensor("x", np.arange(4))
        with zt.Writer(**place, version="2") as rival:
            rival.add_tensor("y", np.arange(5))
        with pytest.raises(zt.UnsupportedError, match="version-2"):
            late.finalize()
        assert_all(place, {"y": np.arange(5)})


@fault(10)
@pytest.mark.parametrize(
    ("name", "retries"),
    [("moto", 0), ("ministack", 0), ("ministack", 2), ("azure", 0), ("azure", 2), ("gcs", 0)],
)
def test_a_lost_answer(backend_of: MakeBackend, through: Through, name: str, retries: int) -> None:
    store = backend_of(name)
    assert isinstance(store, StoreBackend)
    location, proxy = through(store, "object")
    place = {"location": location.path, "storage_options": location.storage_options}
    write(place, LARGE)
    with zt.append(**place, retries=retries) as writer:
        writer.add_tensor("x", np.arange(4))
        proxy.clear()
        proxy.fault = lose_publication(proxy)
    assert_all(place, LARGE | {"x": np.arange(4)})


def test_an_upload_that_somebody_aborts(backend_of: MakeBackend, through: Through) -> None:
    store = backend_of("ministack")
    assert isinstance(store, StoreBackend)
    location, proxy = through(store, "object")
    place = {"location": location.path, "storage_options": location.storage_options}
    write(place, LARGE)
    gone = [Status(404, b"<Error><Code>NoSuchUpload</Code></Error>")]

    def lose(request: Request) -> Status | None:
        completes = request.method == "POST" and "uploadId" in request.query
        return gone.pop() if gone and completes else None

    with zt.append(**place, retries=1) as writer:
        writer.add_tensor("x", np.arange(4))
        proxy.fault = lose
    assert gone == []
    assert_all(place, LARGE | {"x": np.arange(4)})
    assert store.open_uploads() == []


KILLED = """
import json, os, signal, sys
import numpy as np
import ztensor_remote as zt
place = json.loads(sys.argv[1])
writer = zt.append(**place)
writer.add_tensor("x", np.zeros(3_000_000))
os.kill(os.getpid(), signal.SIGKILL)
"""


@fault(12)
@pytest.mark.parametrize("place", ["ministack", "azure", "gcs"], indirect=True)
def test_a_killed_writer(place: dict[str, Any]) -> None:
    write(place, LARGE)
    done = subprocess.run([sys.executable, "-c", KILLED, json.dumps(place)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert_all(place, LARGE)
    with zt.append(**place) as writer:
        writer.add_tensor("y", np.arange(4))
    assert_all(place, LARGE | {"y": np.arange(4)})


def test_readers_go_on_or_say_so(backend_of: MakeBackend) -> None:
    backend: Backend = backend_of("ministack")
    location = backend.location("object")
    place = {"location": location.path, "storage_options": location.storage_options}
    write(place, LARGE)
    with zt.open(**place) as model:
        with zt.append(**place) as writer:
            writer.add_tensor("x", np.arange(4))
        with pytest.raises(zt.ObjectChangedError):
            model["large"].numpy()
        assert model.refresh()
        assert sorted(model) == ["large", "x"]
        model.verify()
