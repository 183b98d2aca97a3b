"""Local files are mapped, bytes in memory are themselves."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from ztensor_remote.errors import NotFoundError, ObjectChangedError, StoreError
from ztensor_remote.stores import locate, open_source

DATA = os.urandom(100_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


def test_views_outlive_the_source(path: Path) -> None:
    source, tail = open_source(locate(path), window=100)
    view = source.view(5, 1000)
    private = source.private_view(5, 1000)
    source.close()
    del source
    gc.collect()
    assert (view, private, tail) == (DATA[5:1005], DATA[5:1005], DATA[-100:])


def test_private_views_are_of_nobody_else(path: Path) -> None:
    source, _ = open_source(locate(path), window=100)
    one, other = source.private_view(5000, 1000), source.private_view(5000, 1000)
    assert one is not None
    one[:] = bytes(1000)
    assert other == source.view(5000, 1000) == DATA[5000:6000]
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 4097, 99_999])
def test_private_views_begin_anywhere(path: Path, offset: int) -> None:
    source, _ = open_source(locate(path), window=100)
    assert source.private_view(offset, len(DATA) - offset) == DATA[offset:]
    assert source.private_view(offset, 0) == b""


def test_a_file_that_shrank_is_an_error_not_a_crash(path: Path) -> None:
    source, _ = open_source(locate(path), window=100)
    os.truncate(path, 1000)
    for read in (source.view, source.private_view):
        with pytest.raises(ObjectChangedError):
            read(500, 1000)
    with pytest.raises(ObjectChangedError):
        source.read_into(500, memoryview(bytearray(1000)))
    assert source.view(500, 100) == DATA[500:600]


def test_a_folder_is_no_file(path: Path) -> None:
    with pytest.raises(NotFoundError, match="folder") as caught:
        open_source(locate(path.parent), window=100)
    assert str(path.parent) in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "file://", "local://"])
def test_all_ways_to_name_a_file(path: Path, prefix: str) -> None:
    assert open_source(locate(f"{prefix}{path}"), window=9)[1] == DATA[-9:]
    with pytest.raises(NotFoundError):
        open_source(locate(f"{prefix}{path}.missing"), window=9)


@pytest.mark.parametrize("close", [True, False])
def test_nothing_is_left_open(path: Path, close: bool) -> None:
    source, tail = open_source(locate(path), window=100)
    assert open_files_of(path)
    if close:
        source.close()
        source.close()
    del source, tail
    gc.collect()
    assert open_files_of(path) == []


def open_files_of(path: Path) -> list[Path]:
    return [file for file in Path("/proc/self/fd").iterdir() if file.resolve() == path]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_not_copied(kind: type) -> None:
    data = kind(DATA)
    source, tail = open_source(locate(data), window=100)
    view = source.view(10, 20)
    assert view is not None
    assert (view, tail, view.readonly) == (DATA[10:30], DATA[-100:], True)
    assert view.obj is memoryview(data).obj
    with pytest.raises(StoreError):
        source.view(len(DATA) - 10, 11)
