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

from ztensor_remote.errors import InvalidInputError, NotFoundError, StoreError
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


FAILING = """
import os, sys, tempfile
from ztensor_remote.errors import ZTensorError
from ztensor_remote.stores import locate, open_sink

def show(path):
    print(sorted(os.listdir(os.path.dirname(path))))

def write(path, size):
    sink = None
    try:
        sink = open_sink(locate(path))
        sink.write(bytes(size))
        sink.commit()
    except ZTensorError as error:
        print(type(error).__name__, error)
    finally:
        if sink is not None:
            sink.abort()
"""


def in_namespace(mount: str, program: str, path: Path) -> list[str]:
    """Run a program where a filesystem of its own is mounted on the folder of a file."""
    script = f'mount -t tmpfs -o {mount} tmpfs "$1" && exec "$2" -c "$3" "$4"'
    shell = ["sh", "-c", script, "sh", str(path.parent), sys.executable, program]
    command = ["unshare", "--user", "--map-root-user", "--mount", *shell, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"this system lets nobody mount: {done.stderr}")
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="mounts as Linux does")
class TestRealFilesystems:
    @pytest.mark.parametrize("kind", ["", "del os.O_TMPFILE\n"], ids=["nameless", "named"])
    def test_a_full_disk(self, path: Path, kind: str) -> None:
        program = "open(sys.argv[1], 'w').close(); write(sys.argv[1], 2 << 20); show(sys.argv[1])"
        error, left = in_namespace("size=1m", FAILING + kind + program, path)
        assert error.startswith("StoreError can't write to it: OSError: [Errno 28] No space left")
        assert error.endswith(f"(in {path})")
        assert left == "['file']"

    def test_a_read_only_filesystem(self, path: Path) -> None:
        program = FAILING + "write(sys.argv[1], 1); show(sys.argv[1])"
        error, left = in_namespace("ro", program, path)
        assert error.startswith("StoreError can't create it: OSError: [Errno 30] Read-only file")
        assert error.endswith(f"(in {path})")
        assert left == "[]"


DENIED = """
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "file")
    open(path, "w").close()
    os.chmod(path, FILE)
    os.chmod(folder, FOLDER)
    child = os.fork()
    if not child:
        if not os.getuid():
            os.setgid(65534)
            os.setuid(65534)
        write(path, 1)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    os.chmod(folder, 0o700)
    print(sorted(os.listdir(folder)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(
    ("folder", "file", "words"),
    [
        ("0o555", "0o666", "AccessDeniedError can't create files in the folder"),
        ("0o777", "0o444", "AccessDeniedError the file is write-protected"),
        ("0o600", "0o666", "AccessDeniedError can't create files in the folder"),
    ],
)
def test_permission_denied(folder: str, file: str, words: str) -> None:
    program = FAILING + DENIED.replace("FOLDER", folder).replace("FILE", file)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    error, left = done.stdout.splitlines()
    assert error.startswith(words)
    assert left == "['file']"


@pytest.mark.usefixtures("temporary")
class TestTargets:
    @pytest.mark.parametrize("name", ["é" * 127, "🙂" * 63, "x" * 255])
    def test_long_names(self, path: Path, name: str) -> None:
        target = path.with_name(name)
        sink = open_sink(locate(target))
        sink.write(NEW)
        sink.commit()
        assert target.read_bytes() == NEW
        assert names(path.parent) == sorted(["file", name])

    def test_a_name_that_is_too_long(self, path: Path) -> None:
        with pytest.raises(StoreError, match="File name too long"):
            open_sink(locate(path.with_name("x" * 256)))

    def test_a_device_is_not_replaced(self, path: Path) -> None:
        pipe = path.with_name("pipe")
        os.mkfifo(pipe)
        for target in (pipe, Path("/dev/null")):
            with pytest.raises(StoreError, match=r"device.*only files"):
                open_sink(locate(target))
        assert stat.S_ISFIFO(pipe.stat().st_mode)

    def test_a_file_as_a_folder(self, path: Path) -> None:
        with pytest.raises(StoreError, match="folder"):
            open_sink(locate(path / "file"))

    def test_a_name_that_ends_as_a_folder_does(self, path: Path) -> None:
        with pytest.raises(InvalidInputError, match="folder"):
            open_sink(locate(f"{path.parent}/new/"))

    def test_a_link_to_nothing(self, path: Path) -> None:
        link = path.with_name("link")
        link.symlink_to(path.with_name("target"))
        open_sink(locate(link)).commit()
        assert path.with_name("target").exists()
        link.unlink()
        link.symlink_to(path.with_name("missing") / "target")
        with pytest.raises(NotFoundError, match="no folder"):
            open_sink(locate(link))

    def test_a_loop_of_links(self, path: Path) -> None:
        link = path.with_name("link")
        link.symlink_to(link)
        with pytest.raises(StoreError, match="symbolic links"):
            open_sink(locate(link))
