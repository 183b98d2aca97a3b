"""Google joins whole objects: those that stay as they are do not pass through the client."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from safetensors.numpy import save

import ztensor_remote as zt
from tests.cli.command import run
from tests.servers.faults import DropResponse, Reset, Status
from tests.servers.proxy import Request
from tests.stores.backends import MakeBackend, Through
from ztensor_remote.rewrite import runs
from ztensor_remote.stores import copying, find_unfinished, open_sink, open_source

from .test_inside import MIB, Store

BLOCK = np.random.default_rng(0).integers(0, 256, 4 * MIB, np.uint8)
SMALL = np.arange(3.0)

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def store(request: pytest.FixtureRequest, backend_of: MakeBackend, through: Through) -> Store:
    return Store(backend_of(getattr(request, "param", "strict_gcs")), through)


@pytest.fixture(autouse=True)
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SHORTEST", MIB)
    monkeypatch.setattr(copying, "_refusing", set())


def joins(request: Request) -> bool:
    return request.path.endswith("/compose")


both = pytest.mark.parametrize("store", ["strict_gcs", "gcs"], indirect=True)


@both
def test_merging_moves_next_to_nothing(store: Store) -> None:
    first = store.write("1", {"small": SMALL, "a": BLOCK})
    second = store.write("2", {"b": BLOCK[:-5]})
    told = fsspec.Callback()
    merged = store.url("merged")
    assert store.run(zt.merge, [first, second], merged, callback=told) < 0.05 * 2 * BLOCK.nbytes
    assert told.value == told.size
    store.holds("merged", {"small": SMALL, "a": BLOCK, "b": BLOCK[:-5]})
    assert sorted(store.backend.names()) == ["1", "2", "merged"]
    again = store.url("again")  # the manifests of both are in it, unused
    assert (
        store.run(zt.merge, [merged, store.write("3", {"c": SMALL})], again) < 0.05 * BLOCK.nbytes
    )
    store.holds("again", {"small": SMALL, "a": BLOCK, "b": BLOCK[:-5], "c": SMALL})


@both
def test_copying_and_renaming(store: Store) -> None:
    model = store.write("model", {"a": BLOCK, "b": SMALL})
    assert store.run(zt.copy, model, store.url("copy")) < 0.05 * BLOCK.nbytes
    store.holds("copy", {"a": BLOCK, "b": SMALL})
    assert store.run(zt.rename, model, {"b": "c"}, store.url("renamed")) < 0.05 * BLOCK.nbytes
    store.holds("renamed", {"a": BLOCK, "c": SMALL})
    assert sorted(store.backend.names()) == ["copy", "model", "renamed"]


@both
@pytest.mark.parametrize("base", [SMALL, BLOCK])
def test_what_is_added_from_other_files(store: Store, base: np.ndarray[Any, Any]) -> None:
    target = store.write("target", {"a": base})
    others = [store.write(name, {name: BLOCK[:-7], f"{name}s": SMALL}) for name in "bc"]
    assert store.run(zt.append_from, target, others) < 0.05 * 2 * BLOCK.nbytes
    added = {name: BLOCK[:-7] for name in "bc"} | {f"{name}s": SMALL for name in "bc"}
    store.holds("target", {"a": base, **added})
    assert sorted(store.backend.names()) == ["b", "c", "target"]


def test_version_2_with_its_wide_padding(store: Store) -> None:
    files = [store.write(name, {name: BLOCK[:-1]}, version="2") for name in "ab"]
    assert store.run(zt.merge, files, store.url("merged")) < 0.05 * 2 * BLOCK.nbytes
    store.holds("merged", {name: BLOCK[:-1] for name in "ab"})


def test_more_objects_than_one_request_joins(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SHORTEST", 1000)
    tensors = {f"t{number:02}": BLOCK[number : 20_000 + number] for number in range(34)}
    files = [store.write(name, {name: tensor}) for name, tensor in tensors.items()]
    store.run(zt.merge, files, store.url("merged"))
    assert sum(joins(each) for each in store.proxy.requests) == 3
    store.holds("merged", tensors)
    target = store.write("target", {"a": BLOCK})
    store.run(zt.append_from, target, files)
    assert sum(joins(each) for each in store.proxy.requests) == 3
    store.holds("target", {"a": BLOCK, **tensors})
    assert sorted(store.backend.names()) == ["merged", *sorted(tensors), "target"]


def test_what_has_to_be_sent_comes_behind(store: Store, tmp_path: Path) -> None:
    with zt.Writer(tmp_path / "here.zt") as writer:
        writer.add_tensor("here", BLOCK)
    there = store.write("there", {"there": BLOCK + 1})
    sources = [zt.open(tmp_path / "here.zt"), zt.open(there, storage_options=store.options)]
    passed = store.run(zt.merge, sources, store.url("merged"), to_storage_options=store.options)
    assert BLOCK.nbytes < passed < 1.05 * BLOCK.nbytes
    store.holds("merged", {"here": BLOCK, "there": BLOCK + 1})
    with zt.open(store.url("merged"), storage_options=store.options) as merged:
        assert [*merged] == ["here", "there"]


def test_nothing_comes_along_that_was_not_chosen(store: Store) -> None:
    secret, rest = np.full(40, 7), {"b": BLOCK, "c": SMALL}
    model = store.write("model", {"secret": secret, **rest})
    assert store.run(zt.copy, model, store.url("copy"), ["b", "c"]) > 2 * BLOCK.nbytes
    store.holds("copy", rest)
    assert secret.tobytes() not in store.backend.read("copy")


@pytest.mark.parametrize(("dead", "is_joined"), [(4, True), (7, False)])
def test_few_dead_bytes_alone(store: Store, dead: int, is_joined: bool) -> None:
    """Of a hundred."""
    gone = BLOCK[: BLOCK.nbytes * dead // (100 - dead)]
    model = store.write("model", {"a": BLOCK, "gone": gone})
    with zt.append(model, storage_options=store.options) as writer:
        writer.remove("gone")
    passed = store.run(zt.copy, model, store.url("copy"))
    assert passed < 0.05 * BLOCK.nbytes if is_joined else passed > 2 * BLOCK.nbytes
    store.holds("copy", {"a": BLOCK})


@pytest.mark.parametrize(("length", "is_joined"), [(64, True), (60, True), (-4, False)])
def test_other_formats(store: Store, length: int, is_joined: bool) -> None:
    """Where nearly all of their data are aligned as ours, wherever they begin."""
    block = BLOCK[: 3 * MIB]
    tensors = {"a": block[:length], "b": block}
    size = sum(tensor.nbytes for tensor in tensors.values())
    store.backend.put("model.safetensors", save(tensors))
    source, new = store.url("model.safetensors"), store.url("new")
    passed = store.run(zt.convert, source, new, checksum=None)
    assert passed < 0.05 * size if is_joined else passed > 2 * size
    store.holds("new", tensors)
    read = store.run(zt.convert, source, new, overwrite=True)  # for digests, which it has none of
    assert size < read < 1.05 * size if is_joined else read > 2 * size
    store.holds("new", tensors)


def test_other_formats_hold_no_whole_objects(store: Store) -> None:
    model = store.write("model", {"a": BLOCK})
    assert store.run(zt.convert, model, store.url("new.safetensors")) > 2 * BLOCK.nbytes
    store.holds("new.safetensors", {"a": BLOCK})


@both
def test_a_source_that_is_replaced_meanwhile(store: Store) -> None:
    first, second = store.write("1", {"a": BLOCK}), store.write("2", {"b": BLOCK})
    other = store.backend.read("1")

    def replace(request: Request) -> None:
        if request.method == "POST" and request.query.get("uploadType"):
            store.backend.put("2", other)

    store.proxy.fault = replace
    with pytest.raises(zt.ObjectChangedError, match="replaced or removed") as failure:
        store.run(zt.merge, [first, second], store.url("merged"))
    assert failure.value.url == second
    assert sorted(store.backend.names()) == ["1", "2"]


def test_a_source_that_is_replaced_at_the_last_moment(store: Store) -> None:
    first, second = store.write("1", {"a": BLOCK}), store.write("2", {"b": BLOCK})
    other = store.backend.read("1")

    def replace(request: Request) -> None:
        if joins(request):
            store.backend.put("2", other)

    store.proxy.fault = replace
    with pytest.raises(zt.ObjectChangedError, match="replaced or removed") as failure:
        store.run(zt.append_from, first, [second])
    assert failure.value.url == second
    assert sorted(store.backend.names()) == ["1", "2"]
    store.holds("1", {"a": BLOCK})


@pytest.mark.parametrize("target", ["merged", "1"])
def test_a_rival(store: Store, target: str) -> None:
    first, second = store.write("1", {"a": BLOCK}), store.write("2", {"b": BLOCK})

    def come_first(request: Request) -> None:
        if joins(request):
            store.backend.put(target, b"rival")

    store.proxy.fault = come_first
    with pytest.raises(zt.ConcurrentWriteError):
        if target == "1":
            store.run(zt.append_from, first, [second])
        else:
            store.run(zt.merge, [first, second], store.url("merged"))
    assert store.backend.read(target) == b"rival"
    assert set(store.backend.names()) == {"1", "2", target}


def test_an_answer_that_is_lost(store: Store) -> None:
    model = store.write("model", {"a": BLOCK})
    lost: list[Request] = []

    def lose(request: Request) -> DropResponse | None:
        if not joins(request) or lost:
            return None
        lost.append(request)
        return DropResponse()

    store.proxy.fault = lose
    store.run(zt.copy, model, store.url("copy"))
    assert lost
    store.holds("copy", {"a": BLOCK})
    assert sorted(store.backend.names()) == ["copy", "model"]


@pytest.mark.parametrize("call", [zt.merge, zt.append_from])
def test_a_store_that_refuses(store: Store, call: Any) -> None:
    """As where the objects' storage classes differ."""
    target = store.url("target")
    if call is zt.append_from:
        store.write("target", {"t": SMALL})
    model = store.write("model", {"a": BLOCK, "b": SMALL})
    store.proxy.fault = lambda request: Status(400) if joins(request) else None
    told = fsspec.Callback()
    arguments = [target, [model]] if call is zt.append_from else [[model], target]
    assert store.run(call, *arguments, callback=told) > 2 * BLOCK.nbytes
    assert told.value == told.size
    assert store.proxy.count(status=400) == 1
    extra = {"t": SMALL} if call is zt.append_from else {}
    store.holds("target", {"a": BLOCK, "b": SMALL, **extra})
    assert sorted(store.backend.names()) == ["model", "target"]


def test_giving_up_leaves_nothing(store: Store) -> None:
    store.write("model", {"a": BLOCK})
    source, _ = open_source(store.backend.location("model"), window=100)
    sink: Any = open_sink(store.backend.location("new"))
    sink.write(b"piece")
    sink.copy_from(source, 0, source.identity.size)
    sink.write(BLOCK)
    assert len(store.backend.names()) == 2  # a piece, and a session that shows no object
    sink.abort()
    assert store.backend.names() == ["model"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_a_killed_one_leaves_is_found(store: Store, tmp_path: Path, moment: str) -> None:
    """Killed before the pieces are joined, and before they are removed."""
    block = np.random.default_rng(1).integers(0, 256, 11 * MIB, np.uint8)
    model, place = store.write("model", {"a": block}), store.backend.location("copy")
    options = tmp_path / "options.json"
    options.write_text(json.dumps(store.options))
    given = ["--storage-options", str(options)]
    command = [sys.executable, "-m", "ztensor_remote", "cp", model, store.url("copy"), *given]
    process = subprocess.Popen(command)

    def die(request: Request) -> Reset | None:
        if joins(request) if moment == "before" else request.method == "DELETE":
            process.kill()
            return Reset()
        return None

    store.proxy.fault = die
    assert process.wait(60) == -signal.SIGKILL
    left = {each.url.rpartition("/")[2] for each in find_unfinished(place)}
    assert len(left) == 2
    published = {"model", "copy"} if moment == "after" else {"model"}
    assert {*store.backend.names()} == published | left
    store.proxy.fault = lambda request: None
    assert run("gc", place.path, *given, "--older-than", "0").status == 0
    assert {*store.backend.names()} == published
    if moment == "after":
        store.holds("copy", {"a": block})


def test_bytes_in_the_middle_pass_through(store: Store) -> None:
    """A sink takes what it is given: parts of objects, and objects behind much else."""
    data = 3 * BLOCK.tobytes()
    store.backend.put("model", data)
    source, _ = open_source(store.backend.location("model"), window=100)
    sink: Any = open_sink(store.backend.location("new"))
    sink.copy_from(source, 5, len(data))
    sink.copy_from(source, 0, len(data))
    sink.copy_from(source, 0, 5)
    sink.commit()
    assert store.backend.read("new") == data[5:] + data + data[:5]
