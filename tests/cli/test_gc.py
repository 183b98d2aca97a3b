"""``ztensor gc`` finds what writers left that were killed, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.servers.s3 import S3Endpoint
from tests.stores.backends import MakeBackend, StoreBackend
from tests.stores.conftest import *  # noqa: F403
from ztensor_remote.stores import (
    discard,
    find_unfinished,
    locate,
    open_append,
    open_sink,
    open_source,
)

from .command import run

DATA = bytes(9 << 20)


def options_of(endpoint: Any, folder: Path) -> list[str]:
    file = folder / "options.json"
    file.write_text(json.dumps(endpoint.storage_options), encoding="utf-8")
    return ["--storage-options", str(file)]


def test_uploads(backend_of: MakeBackend, tmp_path: Path) -> None:
    store = backend_of("ministack")  # to moto all uploads are of 2010
    assert isinstance(store, StoreBackend) and isinstance(store.endpoint, S3Endpoint)
    names = ["a/model.zt", "a/deeper/model.zt", "a/.ztensor-probe-0123456789abcdef"]
    names += ["a/other.bin", "ab/model.zt", "b.bin"]
    sinks = [open_sink(store.location(name)) for name in names]
    for sink in sinks:
        sink.write(DATA)
    options = options_of(store.endpoint, tmp_path)
    folder = store.endpoint.uri(store.key("a"))

    young = run("gc", folder, *options)
    assert young.status == 0
    assert young.stdout.count("too young: multipart upload ") == 3
    dry = run("gc", folder, *options, "--older-than", "0", "--dry-run", "--json").json
    assert dry["schema"] == "ztensor-gc/1"
    assert {each["url"] for each in dry["unfinished"]} == {
        store.endpoint.uri(store.key(name)) for name in names[:3]
    }
    assert len(store.open_uploads()) == 6
    done = run("gc", folder, *options, "--older-than", "0")
    assert done.stdout.count("removed: multipart upload ") == 3
    left = {upload["Key"].rpartition("a/")[2] for upload in store.open_uploads()}
    assert len(store.open_uploads()) == 3, left
    one = run("gc", store.endpoint.uri(store.key("b.bin")), *options, "--older-than", "0")
    assert one.stdout.count("removed") == 1
    for sink in sinks:
        sink.abort()


def test_uploads_with_other_checksums_are_of_other_programs(backend_of: MakeBackend) -> None:
    store = backend_of("moto")
    assert isinstance(store, StoreBackend)
    location = store.location("a/model.zt")
    ours = open_sink(location)
    ours.write(DATA)
    bucket, key, _ = store.fs.split_path(store.key("a/model.zt"))
    named = {"Bucket": bucket, "Key": key}
    for algorithm in ("SHA256", "CRC32"):
        store.fs.call_s3("create_multipart_upload", ChecksumAlgorithm=algorithm, **named)
    (found,) = find_unfinished(location)
    discard(found)
    assert len(store.open_uploads()) == 2
    ours.abort()


def test_what_waits_to_be_joined(backend_of: MakeBackend, tmp_path: Path) -> None:
    store = backend_of("gcs")
    assert isinstance(store, StoreBackend)
    store.put("model.zt", DATA)
    source, _ = open_source(store.location("model.zt"), window=100)
    sink: Any = open_append(store.location("model.zt"), source, in_place=True)
    sink.write(b"more")
    sink._join = sink._stop = lambda: None  # as if it were killed before
    sink.commit()
    assert len(store.names()) == 2
    options = options_of(store.endpoint, tmp_path)
    url = store.endpoint.uri(store.key("model.zt"))
    assert "removed: temporary file" in run("gc", url, *options, "--older-than", "0").stdout
    assert store.names() == ["model.zt"]


def test_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.O_TMPFILE", raising=False)
    path = tmp_path / "model.zt"
    sink = open_sink(locate(path))
    sink.write(b"some")
    others = [tmp_path / name for name in (".model.zt.tmp", "x.0123456789ab.tmp", "model.zt")]
    for other in others:
        other.touch()
    assert "too young" in run("gc", tmp_path).stdout
    assert run("gc", tmp_path / "other.zt", "--older-than", "0").stdout.startswith("nothing")
    assert run("gc", path, "--older-than", "0").stdout.startswith("removed: temporary file ")
    assert sorted(tmp_path.iterdir()) == sorted(others)
    sink.abort()
