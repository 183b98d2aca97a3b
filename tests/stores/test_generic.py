"""Any other filesystem: bounded memory, one caller at a time where it may have one connection."""

from __future__ import annotations

import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.asyn import AsyncFileSystem
from fsspec.spec import AbstractFileSystem

from ztensor_remote.errors import StoreError
from ztensor_remote.stores import Limits, Runs, fetch, locate, open_source

DATA = np.random.default_rng(0).bytes(40 << 20)
LIMITS = Limits(in_flight=10 << 20)


class Counting:
    """What a filesystem is asked for, and how much of it at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls = self.most_calls = self.bytes = self.most_bytes = 0

    def begin(self, count: int) -> None:
        with self._lock:
            self.calls += 1
            self.bytes += count
            self.most_calls = max(self.most_calls, self.calls)
            self.most_bytes = max(self.most_bytes, self.bytes)

    def end(self, count: int) -> None:
        with self._lock:
            self.calls -= 1
            self.bytes -= count


class OneConnection(AbstractFileSystem):
    """A filesystem of one object that can do one thing at a time."""

    cachable = False
    protocol = "one"

    def __init__(self) -> None:
        super().__init__()
        self.counting = Counting()

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": len(DATA), "type": "file"}

    def cat_file(self, path: str, start: int = 0, end: int = 0, **_: Any) -> bytes:
        self.counting.begin(end - start)
        threading.Event().wait(0.001)
        self.counting.end(end - start)
        return DATA[start:end]


class ManyConnections(AsyncFileSystem):
    """The same, asynchronous."""

    cachable = False
    protocol = "many"

    def __init__(self) -> None:
        super().__init__()
        self.counting = Counting()

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": len(DATA), "type": "file"}

    async def _cat_file(self, path: str, start: int = 0, end: int = 0, **_: Any) -> bytes:
        import asyncio

        self.counting.begin(end - start)
        await asyncio.sleep(0.02)
        self.counting.end(end - start)
        return DATA[start:end]


def load(fs: Any) -> bytes:
    source, _ = open_source(locate("object", fs=fs), window=100, limits=LIMITS)
    memory = bytearray(len(DATA))
    fetch(source, Runs.single(0, len(DATA)), memoryview(memory), limits=LIMITS)
    return bytes(memory)


def test_one_connection_does_one_thing_at_a_time() -> None:
    fs = OneConnection()
    assert load(fs) == DATA
    assert fs.counting.most_calls == 1


def test_memory_is_bounded() -> None:
    fs = ManyConnections()
    assert load(fs) == DATA
    assert fs.counting.most_calls > 1
    assert fs.counting.most_bytes <= LIMITS.in_flight


@pytest.mark.parametrize("make", [OneConnection, ManyConnections])
def test_a_large_range_is_read_window_by_window(make: Any) -> None:
    fs = make()
    source, _ = open_source(locate("object", fs=fs), window=100, limits=LIMITS)
    memory = bytearray(len(DATA) - 5)
    source.read_into(5, memoryview(memory))
    assert bytes(memory) == DATA[5:]
    assert fs.counting.most_bytes == 8 << 20


@pytest.mark.usefixtures("short_pauses")
def test_reads_that_come_short(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = OneConnection()
    source, _ = open_source(locate("object", fs=fs), window=100, limits=LIMITS)
    whole = fs.cat_file
    cuts = iter([1000, 2000])

    def cut(path: str, start: int, end: int) -> bytes:
        return whole(path, start, end)[: next(cuts, None)]

    monkeypatch.setattr(fs, "cat_file", cut)
    memory = bytearray(10_000)
    source.read_into(0, memoryview(memory))
    assert bytes(memory) == DATA[:10_000]
    monkeypatch.setattr(fs, "cat_file", lambda path, start, end: b"")
    with pytest.raises(StoreError, match="ended after 0 of"):
        source.read_into(0, memoryview(memory))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives(tmp_path: Path, kind: str) -> None:
    data = os.urandom(12 << 20)
    (tmp_path / "object").write_bytes(data)
    archive = tmp_path / f"archive.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.write(tmp_path / "object", "object")
    else:
        import tarfile

        with tarfile.open(archive, "w") as tar:
            tar.add(tmp_path / "object", "object")
    fs = fsspec.filesystem(kind, fo=str(archive), skip_instance_cache=True)
    source, tail = open_source(locate("object", fs=fs), window=100, limits=LIMITS)
    assert bytes(tail) == data[-100:]
    memory = bytearray(len(data))
    fetch(source, Runs.single(0, len(data)), memoryview(memory), limits=LIMITS)
    assert bytes(memory) == data
