"""A local file is the old one or the new one, whatever happens to the writer."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ztensor_remote.errors import NotFoundError, StoreError
from ztensor_remote.stores import locate, open_sink

ROOT = Path(__file__).parents[2]
OLD = b"old" * 1000
NEW = os.urandom(3 << 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


@pytest.fixture(params=["nameless", "named"])
def temporary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of temporary file, for not all systems have nameless ones."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    kind: str = request.param
    return kind


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("temporary")
class TestBothWays:
    def test_commit(self, path: Path) -> None:
        sink = open_sink(locate(path))
        sink.write(NEW)
        assert path.read_bytes() == OLD
        sink.commit()
        assert path.read_bytes() == NEW
        assert names(path.parent) == ["file"]
        sink.abort()
        assert path.read_bytes() == NEW

    def test_abort(self, path: Path) -> None:
        sink = open_sink(locate(path))
        sink.write(NEW)
        sink.abort()
        sink.abort()
        assert path.read_bytes() == OLD
        assert names(path.parent) == ["file"]

    def test_a_full_disk(self, path: Path) -> None:
        sink = open_sink(locate(path))
        with file_size_limit(1 << 20), pytest.raises(StoreError) as caught:
            sink.write(NEW)
        sink.abort()
        assert caught.value.url == str(path)
        assert path.read_bytes() == OLD
        assert names(path.parent) == ["file"]

    def test_the_mode_is_kept(self, path: Path) -> None:
        path.chmod(0o640)
        sink = open_sink(locate(path))
        sink.commit()
        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    def test_a_new_file_gets_the_usual_mode(self, path: Path) -> None:
        sink = open_sink(locate(path.with_name("new")))
        sink.commit()
        path.with_name("usual").touch()
        assert path.with_name("new").stat().st_mode == path.with_name("usual").stat().st_mode

    def test_a_link_stays_one(self, path: Path) -> None:
        link = path.with_name("link")
        link.symlink_to(path)
        sink = open_sink(locate(link))
        sink.write(NEW)
        sink.commit()
        assert link.is_symlink()
        assert path.read_bytes() == NEW

    def test_no_such_folder(self, path: Path) -> None:
        with pytest.raises(NotFoundError):
            open_sink(locate(path.parent / "missing" / "file"))

    def test_a_folder(self, path: Path) -> None:
        with pytest.raises(StoreError, match="folder"):
            open_sink(locate(path.parent))


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Make every longer file fail, as a full disk would; Python ignores the signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_reader_sees_whole_files_only(path: Path) -> None:
    contents = [bytes([value]) * 200_000 for value in range(40)]
    path.write_bytes(contents[0])
    seen: list[bytes] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(path.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for content in contents[1:]:
            sink = open_sink(locate(path))
            sink.write(content[:70_000])
            sink.write(content[70_000:])
            sink.commit()
    finally:
        done.set()
        watcher.join()
    assert seen
    assert set(seen) <= set(contents)
    assert path.read_bytes() == contents[-1]


KILLED = """
import os, signal, sys
from ztensor_remote.stores import locate, open_sink
sink = open_sink(locate(sys.argv[1]))
sink.write(bytes(3 << 20))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system has no nameless files")
def test_a_killed_writer_leaves_nothing(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT)
    assert done.returncode == -9
    assert path.read_bytes() == OLD
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("finish", ["commit", "abort"])
def test_nothing_is_left_open(path: Path, finish: str) -> None:
    sink = open_sink(locate(path))
    sink.write(NEW)
    getattr(sink, finish)()
    open_files = [os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()]
    assert not [file for file in open_files if file.startswith(str(path.parent))]
