"""Local files are mapped, bytes in memory are themselves."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import ztensor_remote as zt
from ztensor_remote.errors import NotFoundError, ObjectChangedError, StoreError
from ztensor_remote.stores import locate, open_source
from ztensor_remote.stores.mounts import _kind_of

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


class TestReading:
    """Into memory of the caller's, or where nothing is mapped."""

    @pytest.mark.parametrize("mmap", [True, False])
    def test_the_same_bytes(self, path: Path, mmap: bool) -> None:
        source, tail = open_source(locate(path, mmap=mmap), window=100)
        assert tail == DATA[-100:]
        assert (source.view(0, 10) is not None) == mmap
        assert (source.private_view(0, 10) is not None) == mmap
        one, other = bytearray(10), bytearray(60_000)
        source.read_into(5, memoryview(one), memoryview(b""), memoryview(other))
        assert bytes(one + other) == DATA[5:60_015]
        source.read_into(5, memoryview(b""))

    def test_what_is_read_is_not_mapped(self, tmp_path: Path) -> None:
        path = tmp_path / "model.zt"
        array = np.arange(4 << 20, dtype=np.float32)
        with zt.Writer(path) as w:
            w.add_tensor("w", array)
            w.add_tensor("small", np.ones(3))
        for mmap in (True, False, None):
            model = zt.open(path, mmap=mmap)
            before = mapped_bytes(path)
            out = np.empty_like(array)
            model.read_into({"w": out})
            assert (out == array).all()
            assert mapped_bytes(path) - before < 1 << 20
            loaded = model.load()["w"]
            assert (loaded == array).all()
            assert loaded.flags.writeable == (mmap is False)
            assert (model["w"][1000:2000:3] == array[1000:2000:3]).all()
            assert (model.verify().checked, model["small"].numpy().sum()) == (2, 3)
            again = pickle.loads(pickle.dumps(model))
            assert (again["w"][:3] == array[:3]).all()

    def test_a_file_that_shrinks_meanwhile(self, path: Path) -> None:
        source, _ = open_source(locate(path, mmap=False), window=100)
        os.truncate(path, 1000)
        with pytest.raises(ObjectChangedError):
            source.read_into(500, memoryview(bytearray(1000)))

    def test_a_torn_tail(self, tmp_path: Path) -> None:
        path = tmp_path / "model.zt"
        with zt.Writer(path) as w:
            w.add_tensor("w", np.arange(10))
        with path.open("ab") as file:
            file.write(bytes(5000))
        assert (zt.open(path, mmap=False)["w"].numpy() == np.arange(10)).all()
        with zt.append(path) as w:
            w.add_tensor("more", np.arange(5))
        assert (zt.open(path, mmap=False)["more"].numpy() == np.arange(5)).all()


def mapped_bytes(path: Path) -> int:
    """How much of a file's mappings is in this process's memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    return sum(
        int(next(line for line in lines if line.startswith("Rss:")).split()[1]) << 10
        for line in lines
        if line.endswith(str(path))
    )


@pytest.mark.parametrize(
    ("kind", "far"),
    [
        ("ext4", False),
        ("overlay", False),
        ("fuseblk", False),
        ("tmpfs", False),
        ("nfs4", True),
        ("cifs", True),
        ("fuse.sshfs", True),
        ("lustre", True),
    ],
)
def test_network_filesystems_are_told_by_their_mounts(
    path: Path, kind: str, far: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    device = path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "24 1 0:0 / /proc rw,nosuid - proc proc rw\n"
        f"36 35 {os.major(device)}:{os.minor(device)} / /mnt rw shared:1 - {kind} server:/x rw\n"
    )
    monkeypatch.setattr("ztensor_remote.stores.mounts._MOUNTS", mounts)
    _kind_of.cache_clear()
    source, _ = open_source(locate(path), window=100)
    _kind_of.cache_clear()
    assert (source.view(0, 1) is None) == far
    assert open_source(locate(path, mmap=True), window=100)[0].view(0, 1) is not None
