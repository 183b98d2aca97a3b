"""A writer that fails, at any moment, leaves what was there, and says why."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.faults import fault
from tests.stores.test_upload_local import file_size_limit
from ztensor_remote.stores import upload_local
from ztensor_remote.writer import spool

ROOT = Path(__file__).parents[2]
DATA = np.arange(1000, dtype=np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is there already."""
    path = tmp_path / "model.zt"
    with zt.Writer(path) as writer:
        writer.add_tensor("old", DATA)
    return path


@pytest.fixture(scope="module", autouse=True)
def few_objects() -> Iterator[None]:
    """Have collections, here and in children, pass over what earlier tests have left."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def old_file(path: Path) -> Iterator[None]:
    """Check that it is there afterwards, and nothing else."""
    before = path.read_bytes()
    yield
    gc.collect()
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.fixture(params=["nameless", "named"], autouse=True)
def temporary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of temporary file, for not all systems have nameless ones."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
        monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False, raising=False)


class Mishap(Exception):
    """Something that goes wrong in the code of a user."""


def pieces() -> Iterator[Any]:
    yield DATA[:500]
    raise Mishap


@fault(13)
class TestExceptions:
    @pytest.mark.parametrize("kind", [Mishap, KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_in_the_block(self, path: Path, kind: type[BaseException]) -> None:
        with pytest.raises(kind), zt.Writer(path) as writer:
            writer.add_tensor("new", DATA)
            raise kind
        with pytest.raises(zt.ClosedError, match=r"given up.*model\.zt"):
            writer.add_tensor("more", DATA)

    def test_in_a_generator(self, path: Path) -> None:
        with (
            pytest.raises(Mishap),
            zt.Writer(path) as writer,
            writer.stream_tensor("new", (1000,), "float32") as part,
        ):
            for piece in pieces():
                part.write(piece)

    def test_in_a_generator_that_the_block_survives(self, path: Path) -> None:
        with pytest.raises(zt.ClosedError, match="earlier error"), zt.Writer(path) as writer:
            with (
                pytest.raises(Mishap),
                writer.stream_tensor("new", (1000,), "float32") as part,
            ):
                for piece in pieces():
                    part.write(piece)
            with pytest.raises(zt.ClosedError):
                writer.add_tensor("more", DATA)

    def test_in_an_array(self, path: Path) -> None:
        class Broken:
            def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
                raise Mishap

        with pytest.raises(Mishap), zt.Writer(path) as writer:
            writer.add_tensor("new", Broken())

    def test_the_first_error_stays(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(self: Any) -> None:
            raise OSError("no clean-up today")

        writer = zt.Writer(path)
        with monkeypatch.context() as broken, pytest.raises(Mishap) as caught, writer:
            broken.setattr(upload_local.LocalSink, "_remove", fail)
            raise Mishap
        assert "no clean-up today" in caught.value.__notes__[0]
        writer.abort()  # now it works


class TestUnfinishedStreams:
    def test_at_the_end_of_the_block(self, path: Path) -> None:
        with (
            pytest.raises(zt.InvalidInputError, match=r"'new' is still being streamed.*model\.zt"),
            zt.Writer(path) as writer,
        ):
            stream = writer.stream_tensor("new", (1000,), "float32")
            stream.__enter__().write(DATA[:10])
        with pytest.raises(zt.ClosedError):
            writer.add_tensor("more", DATA)

    def test_that_miss_elements(self, path: Path) -> None:
        with (
            pytest.raises(zt.InvalidInputError, match=r"3960 of 4000 bytes") as caught,
            zt.Writer(path) as writer,
            writer.stream_tensor("new", (1000,), "float32") as part,
        ):
            part.write(DATA[:10])
        assert (caught.value.tensor, caught.value.url) == ("new", str(path))

    def test_that_are_left_by_return(self, path: Path) -> None:
        def write() -> None:
            with zt.Writer(path) as writer, writer.stream_tensor("new", (5,), "i1"):
                return

        with pytest.raises(zt.InvalidInputError, match="5 of 5 bytes"):
            write()

    def test_that_are_dropped(self, path: Path) -> None:
        with pytest.raises(zt.ClosedError), zt.Writer(path) as writer:
            stream: Any = writer.stream_tensor("new", (1000,), "float32")
            stream.__enter__()
            del stream
            gc.collect()

    def test_that_are_aborted(self, path: Path) -> None:
        with zt.Writer(path) as writer, writer.stream_tensor("new", (5,), "i1") as part:
            writer.abort()
            with pytest.raises(zt.ClosedError):
                part.write(b"12345")

    def test_take_nothing_after_their_block(self, path: Path) -> None:
        with zt.Writer(path) as writer:
            with writer.stream_tensor("new", (0,), "i1") as part:
                pass
            with pytest.raises(zt.ClosedError, match=r"left.*'new'.*model\.zt"):
                part.write(b"")
            writer.abort()

    def test_a_second_one_inside(self, path: Path) -> None:
        with zt.Writer(path) as writer, writer.stream_tensor("new", (5,), "i1"):
            for add in (
                lambda: writer.add_tensor("more", DATA),
                lambda: writer.stream_tensor("more", (5,), "i1").__enter__(),
                writer.finalize,
            ):
                with pytest.raises(zt.InvalidInputError, match="still being streamed"):
                    add()
            writer.abort()


class TestStoresThatFail:
    @pytest.mark.parametrize("compress", [False, True])
    def test_a_failed_piece_can_not_be_passed_over(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, compress: bool
    ) -> None:
        """Whoever catches the error must not get a file with a hole."""
        real = upload_local.LocalSink.write
        failing = iter([OSError(28, "No space left on device")])

        def write(self: Any, data: Any) -> None:
            real(self, data[: len(data) // 2])
            if error := next(failing, None):
                raise error
            real(self, data[len(data) // 2 :])

        noise = np.random.default_rng(0).bytes(4 << 20)
        with pytest.raises(zt.ClosedError, match="earlier error"), zt.Writer(path) as writer:
            with writer.stream_tensor("new", (8 << 20,), "u1", compress=compress) as part:
                monkeypatch.setattr(upload_local.LocalSink, "write", write)
                with pytest.raises(OSError, match="No space left"):
                    part.write(noise)
                with pytest.raises(zt.ClosedError):
                    part.write(noise)
            raise AssertionError("the stream ended as if it were whole")

    def test_no_room_for_what_waits(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spool, "_IN_MEMORY", 100)
        noise = np.random.default_rng(0).bytes(2 << 20)
        with (
            file_size_limit(1 << 20),
            pytest.raises(zt.StoreError, match=r"set TMPDIR.*'new'.*model\.zt"),
            zt.append(path, retries=1) as writer,
        ):
            writer.add_tensor("new", np.frombuffer(noise, "u1"))


class TestAfterTheEnd:
    CALLS: tuple[Callable[[Any], object], ...] = (
        lambda writer: writer.add_tensor("more", DATA),
        lambda writer: writer.stream_tensor("more", (5,), "i1").__enter__(),
        lambda writer: writer.attributes.update(more=1),
        lambda writer: writer.attributes.pop("a"),
        lambda writer: writer.attributes.clear(),
        lambda writer: writer.finalize(),
        lambda writer: writer.__enter__(),
    )

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("end", ["finalize", "abort", "error"])
    def test_every_call_raises(self, path: Path, call: Callable[[Any], object], end: str) -> None:
        other = path.parent / "other.zt"
        writer = zt.Writer(other)
        writer.attributes["a"] = 1
        if end == "error":
            with pytest.raises(Mishap), writer:
                raise Mishap
        else:
            getattr(writer, end)()
        with pytest.raises(zt.ClosedError, match=r"other\.zt"):
            call(writer)
        assert writer.attributes["a"] == 1
        writer.abort()
        assert other.exists() == (end == "finalize")
        other.unlink(missing_ok=True)

    def test_finalized_in_the_block(self, path: Path) -> None:
        other = path.parent / "other.zt"
        with pytest.raises(Mishap), zt.Writer(other) as writer:
            writer.finalize()
            raise Mishap
        assert zt.open(other).tensor_names == []
        other.unlink()


@fault(13)
class TestDropped:
    def test_with_a_warning(self, path: Path) -> None:
        with pytest.warns(ResourceWarning, match=r"model\.zt was dropped unfinished"):
            zt.Writer(path)
            gc.collect()

    def test_at_exit(self, path: Path) -> None:
        program = f"import ztensor_remote as zt; writer = zt.Writer({str(path)!r})"
        done = run(program)
        assert (done.returncode, done.stderr) == (0, "")

    def test_after_an_exception(self, path: Path) -> None:
        done = run(f"import ztensor_remote as zt; writer = zt.Writer({str(path)!r}); 1 / 0")
        assert done.returncode == 1
        assert done.stderr.strip().endswith("ZeroDivisionError: division by zero")


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
class TestForked:
    def test_a_child_can_not_go_on(self, path: Path) -> None:
        writer = zt.Writer(path)
        writer.attributes["a"] = 1
        for use in TestAfterTheEnd.CALLS:
            assert in_child(lambda use=use: use(writer)) == "ClosedError"  # type: ignore[misc]
        writer.abort()

    @pytest.mark.parametrize("end", ["del", "abort", "exception", "exit"])
    def test_a_child_that_ends_spoils_nothing(self, path: Path, end: str) -> None:
        def leave() -> None:
            nonlocal writer
            if end == "del":
                del writer
                gc.collect()
            elif end == "abort":
                writer.abort()
            elif end == "exception":
                with writer:
                    raise Mishap
            else:
                sys.exit()

        other = path.parent / "other.zt"
        writer = zt.Writer(other)
        writer.add_tensor("new", DATA)
        in_child(leave)
        writer.add_tensor("more", DATA)
        writer.finalize()
        assert zt.open(other).verify().checked == 2
        other.unlink()

    def test_a_child_does_not_keep_the_lock(self, path: Path) -> None:
        other = path.parent / "other.zt"
        with zt.Writer(other) as writer:
            writer.add_tensor("one", DATA)
        writer = zt.append(other)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(writing)
            os.read(reading, 1)  # until the parent is done
            os._exit(0)
        writer.add_tensor("two", DATA + 1)
        writer.finalize()
        with zt.append(other) as writer:
            writer.add_tensor("three", DATA + 2)
        os.close(writing)
        os.waitpid(child, 0)
        os.close(reading)
        assert zt.open(other).verify().checked == 3
        other.unlink()

    def test_a_child_does_not_write_what_waits(self, path: Path) -> None:
        other = path.parent / "other.zt"
        zt.Writer(other).finalize()
        done = run(WAITING.replace("PATH", repr(str(other))))
        assert (done.returncode, done.stderr) == (0, "")
        assert zt.open(other).verify().checked == 3
        other.unlink()


WAITING = """
import os, sys
import numpy as np
import ztensor_remote as zt
from ztensor_remote.writer import spool

spool._IN_MEMORY = 100
writer = zt.append(PATH, retries=1)
for number in range(2):
    writer.add_tensor(f"before {number}", np.full(1000, number, "f4"))
if not os.fork():
    sys.exit()
os.wait()
writer.add_tensor("after", np.full(1000, 9, "f4"))
writer.finalize()
"""


def in_child(call: Callable[[], object]) -> str:
    """Return the name of what a call raises in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        outcome = ""
        try:
            call()
        except BaseException as error:
            outcome = type(error).__name__
        os.write(writing, outcome.encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as stream:
        outcome = stream.read()
    os.waitpid(child, 0)
    return outcome


def test_two_writers_of_one_name(path: Path) -> None:
    other = path.parent / "other.zt"
    first, second = zt.Writer(other), zt.Writer(other)
    for writer, value in ((first, 1), (second, 2)):
        writer.add_tensor("x", np.full(1000, value))
    second.finalize()
    assert zt.open(other)["x"][0] == 2
    first.finalize()
    assert zt.open(other)["x"].numpy().tolist() == [1] * 1000
    other.unlink()


def test_many_threads_of_one_writer(path: Path) -> None:
    other = path.parent / "other.zt"

    def add(number: int) -> None:
        for index in range(30):
            writer.add_tensor(f"{number}.{index}", np.full(2000, number))

    with zt.Writer(other, compress=True) as writer:
        threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with zt.open(other) as model:
        assert model.verify().checked == 240
        assert all((model[name].numpy() == int(name[0])).all() for name in model)
    other.unlink()
