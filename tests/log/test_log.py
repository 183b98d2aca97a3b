"""Logs on every kind of store: steps appear whole, once, and share what did not change."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs

from tests.faults import fault
from tests.servers.faults import CutRequest, DropResponse, Fault, Status
from tests.servers.proxy import Request
from tests.stores.backends import Backend, MakeBackend, StoreBackend, Through
from tests.stores.test_uploads import publishes
from ztensor_remote import (
    CheckpointLog,
    ClosedError,
    InvalidInputError,
    NotFoundError,
    StepExistsError,
    StoreError,
    UnsupportedError,
    Writer,
)
from ztensor_remote.stores import Location, delete

BIG = 20_000


def state(seed: int, count: int = 4) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    arrays: dict[str, Any] = {
        f"layer.{number}": rng.standard_normal(BIG // 4, np.float32) for number in range(count)
    }
    return arrays | {"step": np.int64(seed)}


def assert_holds(log: CheckpointLog, step: int, tensors: dict[str, Any]) -> None:
    with log[step] as reader:
        loaded = reader.load()
        assert loaded.keys() == tensors.keys()
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(loaded[name], tensor)
        assert reader.verify(deep=True).undigested == 0


def stored(place: Location) -> dict[str, int]:
    """List what there is, with sizes."""
    fs, path = place.resolve()
    fs.invalidate_cache()
    found = fs.find(path, detail=True) if fs.exists(path) else {}
    return {name.rpartition("/")[2]: info["size"] for name, info in sorted(found.items())}


def is_data(name: str) -> bool:
    return len(name) > len("step-000000000000.zt")


class TestReading:
    def test_steps_come_back(self, log: CheckpointLog) -> None:
        assert log.steps() == []
        for step in (20, 3, 100):
            log.append(step, state(step), attributes={"loss": step / 8, "tags": ["a", b"b"]})
        assert log.steps() == list(log) == [3, 20, 100]
        assert len(log) == 3
        assert 20 in log
        assert 21 not in log
        for step in log:
            assert_holds(log, step, state(step))
        assert log.latest().attributes == {"loss": 12.5, "tags": ["a", b"b"]}
        assert log.attributes(3)["loss"] == 0.375

    def test_what_is_not_there(self, log: CheckpointLog) -> None:
        with pytest.raises(NotFoundError, match="no steps yet"):
            log.latest()
        with pytest.raises(NotFoundError, match="no step 7") as caught:
            log[7]
        assert caught.value.url == log.url

    def test_other_files_are_no_steps(self, backend: Backend, log: CheckpointLog) -> None:
        log.append(1, state(1))
        for name in ("notes.txt", "step-7.zt", "step-000000000009.zt.tmp", "xstep-000000000009.zt"):
            backend.put(f"run/{name}", b"something else")
        assert log.steps() == [1]

    def test_tail(self, log: CheckpointLog, place: Location) -> None:
        log.append(1, state(1))
        log.append(2, state(2))
        assert list(log.tail(timeout=0)) == []
        assert list(log.tail(after=1, timeout=0)) == [2]
        tail = log.tail(after=0, poll=0.01, timeout=30)
        assert [next(tail), next(tail)] == [1, 2]
        other = CheckpointLog(place)
        threading.Timer(0.1, other.append, (5, state(5))).start()
        assert next(tail) == 5


class TestAppending:
    def test_what_did_not_change_is_stored_once(self, place: Location, log: CheckpointLog) -> None:
        tensors = state(0)
        log.append(0, tensors)
        for step in range(1, 6):
            tensors["layer.1"] = tensors["layer.1"] + 1
            tensors["step"] = np.int64(step)
            log.append(step, tensors)
            assert_holds(log, step, tensors)
        assert_holds(log, 0, state(0))
        sizes = [size for name, size in stored(place).items() if is_data(name)]
        assert len(sizes) == 6
        assert sizes[0] > 4 * BIG
        assert max(sizes[1:]) < BIG + 3 * 4096

    def test_another_process_refers_to_them_too(self, log: CheckpointLog, place: Location) -> None:
        log.append(1, state(1))
        before = stored(place)
        CheckpointLog(place).append(2, state(1))
        assert [name for name in stored(place) if name not in before] == ["step-000000000002.zt"]
        assert_holds(log, 2, state(1))

    def test_a_renamed_tensor_and_a_tied_one(self, place: Location, log: CheckpointLog) -> None:
        weight = state(1)["layer.0"]
        log.append(1, {"a": weight, "b": weight})
        log.append(2, {"c": weight, "bits": weight.view(np.uint32)})
        (size,) = [size for name, size in stored(place).items() if is_data(name)]
        assert size < BIG + 3 * 4096
        assert_holds(log, 2, {"c": weight, "bits": weight.view(np.uint32)})

    def test_a_step_that_is_there_stays(self, place: Location, log: CheckpointLog) -> None:
        log.append(1, state(1))
        before = stored(place)
        with pytest.raises(StepExistsError) as caught:
            log.append(1, state(2))
        assert isinstance(caught.value, FileExistsError)
        assert caught.value.url == log.url
        assert stored(place) == before
        assert_holds(log, 1, state(1))

    def test_one_of_many_writers_of_a_step_wins(self, place: Location) -> None:
        barrier = threading.Barrier(4)

        def write(seed: int) -> bool:
            writer = CheckpointLog(place).writer(7)
            barrier.wait(30)  # each has seen that it is not there
            for name, tensor in state(seed).items():
                writer.add_tensor(name, tensor)
            try:
                writer.finalize()
            except StepExistsError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(write, range(4)))
        assert won.count(True) == 1
        assert_holds(CheckpointLog(place), 7, state(won.index(True)))
        assert len(stored(place)) == 2  # the others left nothing behind

    @fault(9)
    def test_writers_of_different_steps(self, place: Location) -> None:
        def write(step: int) -> None:
            CheckpointLog(place).append(step, state(step))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(8)))
        log = CheckpointLog(place)
        assert log.steps() == list(range(8))
        for step in log:
            assert_holds(log, step, state(step))

    @fault(10)
    def test_a_lost_answer_to_the_root(self, backend: Backend, through: Through) -> None:
        if not isinstance(backend, StoreBackend):
            pytest.skip("calls of functions have answers")
        place, proxy = through(backend, "run")
        log = CheckpointLog(place)
        log.append(1, state(1))

        def is_root(request: Request) -> bool:
            return request.method in ("PUT", "POST") and publishes(request)

        proxy.clear()
        proxy.fault = lambda request: (
            DropResponse() if is_root(request) and sum(map(is_root, proxy.requests)) == 2 else None
        )
        log.append(2, state(2))
        assert log.steps() == [1, 2]
        assert_holds(log, 2, state(2))
        assert len(stored(backend.location("run"))) == 4

    @pytest.mark.usefixtures("short_pauses")
    @pytest.mark.parametrize("backend", ["strict_gcs"], indirect=True)
    def test_a_store_that_is_away_is_asked_by_its_client_alone(
        self, backend: Backend, through: Through
    ) -> None:
        assert isinstance(backend, StoreBackend)
        place, proxy = through(backend, "run")
        proxy.fault = lambda request: Status(503)
        with pytest.raises(StoreError):
            CheckpointLog(place).steps()
        assert len(proxy.requests) == 6
        with pytest.raises(StoreError) as caught:
            delete(place.child("step"))
        assert type(caught.value) is StoreError
        assert len(proxy.requests) == 12

    @fault(10)
    @pytest.mark.usefixtures("short_pauses")
    @pytest.mark.parametrize("backend", ["ministack"], indirect=True)
    def test_a_root_whose_fate_is_unknown_keeps_its_data(
        self, backend: Backend, through: Through, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
        assert isinstance(backend, StoreBackend)
        place, proxy = through(backend, "run")
        once = {"config_kwargs": {"retries": {"total_max_attempts": 1}}}
        log = CheckpointLog(replace(place, storage_options={**place.storage_options, **once}))
        log.append(1, state(1))
        proxy.clear()

        def lose(request: Request) -> Fault | None:
            stored = sum(map(publishes, proxy.requests))  # the data, then the root
            if stored < 2 or request.method == "DELETE":
                return None
            return DropResponse() if stored == 2 and publishes(request) else CutRequest(0)

        proxy.fault = lose
        with pytest.raises(StoreError):
            log.append(2, state(2))
        proxy.fault = lambda request: None
        assert_holds(CheckpointLog(place), 2, state(2))

    @pytest.mark.parametrize("step", [-1, 10**12, "1", 1.0, None])
    def test_no_such_number(self, tmp_path: Path, step: Any) -> None:
        with pytest.raises(InvalidInputError, match="step"):
            CheckpointLog(tmp_path).append(step, state(1))

    def test_a_tensor_that_can_not_be_stored(self, place: Location, log: CheckpointLog) -> None:
        with pytest.raises(InvalidInputError) as caught:
            log.append(1, state(1) | {"bad": np.array(["text"])})
        assert caught.value.tensor == "bad"
        assert stored(place) == {}
        log.append(1, state(1))
        assert_holds(log, 1, state(1))

    def test_compression(self, place: Location) -> None:
        log = CheckpointLog(place, compress=True)
        tensors = {"zeros": np.zeros(1 << 20, np.float32), "step": np.int64(1)}
        log.append(1, tensors)
        log.append(2, tensors)
        assert_holds(log, 2, tensors)
        assert sum(stored(place).values()) < 50_000


class TestStreaming:
    def test_pieces(self, log: CheckpointLog) -> None:
        log.append(1, state(1))
        rows = state(2)["layer.0"].reshape(-1, 10)
        with log.writer(2) as writer:
            writer.add_tensor("same", state(1)["layer.0"])
            with writer.stream_tensor("rows", rows.shape, rows.dtype) as part:
                for row in rows:
                    part.write(row)
            writer.attributes["loss"] = 0.5
            assert 2 not in log
        assert_holds(log, 2, {"same": state(1)["layer.0"], "rows": rows})
        assert log.attributes(2) == {"loss": 0.5}

    def test_given_up(self, backend: Backend, place: Location, log: CheckpointLog) -> None:
        with pytest.raises(RuntimeError, match="stop"), log.writer(1) as writer:
            writer.add_tensor("a", np.zeros(BIG))
            raise RuntimeError("stop")
        assert stored(place) == {}
        assert not isinstance(backend, StoreBackend) or backend.open_uploads() == []


class TestPruning:
    def test_what_kept_steps_need_stays(self, place: Location, log: CheckpointLog) -> None:
        tensors = state(0)
        states = {}
        for step in range(12):
            tensors[f"layer.{step % 4}"] = tensors[f"layer.{step % 4}"] + 1
            states[step] = dict(tensors)
            log.append(step, tensors)
        before = stored(place)
        pruned = log.prune(keep_last=2, keep_every=6)
        assert log.steps() == [0, 6, 10, 11]
        assert pruned.steps == (1, 2, 3, 4, 5, 7, 8, 9)
        for step in log:
            assert_holds(log, step, states[step])
        after = stored(place)
        assert pruned.bytes == sum(size for name, size in before.items() if name not in after)
        assert log.prune(keep_last=1).steps == (0, 6, 10)
        assert_holds(log, 11, states[11])
        assert log.prune(keep_last=5) == type(pruned)((), 0)

    def test_the_writer_goes_on(self, log: CheckpointLog, place: Location) -> None:
        log.append(1, state(1))
        CheckpointLog(place).append(2, {"other": state(2)["layer.0"]})
        CheckpointLog(place).prune(keep_last=1)
        log.append(3, state(1))  # the step it would refer to is gone
        assert_holds(log, 3, state(1))
        CheckpointLog(place).prune(keep_last=1)
        assert_holds(log, 3, state(1))

    def test_a_streamed_step_whose_base_goes(self, log: CheckpointLog, place: Location) -> None:
        log.append(1, state(1))
        writer = log.writer(3)
        for name, tensor in state(1).items():
            writer.add_tensor(name, tensor)
        writer.add_tensor("new", state(3)["layer.0"])
        CheckpointLog(place).append(2, state(2))
        CheckpointLog(place).prune(keep_last=1)
        with pytest.raises(OSError, match="write it again"):
            writer.finalize()
        assert log.steps() == [2]
        assert len(stored(place)) == 2

    def test_blobs_of_a_step_that_is_being_written(
        self, log: CheckpointLog, place: Location
    ) -> None:
        log.append(1, state(1))
        writer = log.writer(2)
        writer.add_tensor("new", state(2)["layer.0"])
        file = writer._file
        file._data_file.commit()  # type: ignore[attr-defined]
        CheckpointLog(place).prune(keep_last=1)
        file._data_file.commit = lambda: None  # type: ignore[attr-defined]
        writer.finalize()
        assert_holds(log, 2, {"new": state(2)["layer.0"]})

    @pytest.mark.parametrize("keep", [{}, {"keep_last": 0}, {"keep_every": -1}])
    def test_what_to_keep_must_be_said(self, tmp_path: Path, keep: dict[str, int]) -> None:
        log = CheckpointLog(tmp_path)
        log.append(1, state(1))
        with pytest.raises(InvalidInputError, match="keep"):
            log.prune(**keep)
        assert log.steps() == [1]


class TestBackground:
    def test_steps_are_snapshots(self, log: CheckpointLog) -> None:
        tensors = state(0)
        with log:
            futures = []
            for step in range(5):
                tensors["layer.0"][:] = step
                tensors["step"] = np.int64(step)
                futures.append(log.append(step, tensors, wait=False))
            tensors["layer.0"][:] = -1
        assert all(future.result() is None for future in futures)
        for step in log:
            assert_holds(
                log,
                step,
                state(0) | {"layer.0": np.full(BIG // 4, step, np.float32), "step": np.int64(step)},
            )

    def test_failures_surface(self, tmp_path: Path) -> None:
        log = CheckpointLog(tmp_path)
        log.append(1, state(1))
        future = log.append(1, state(2), wait=False)
        assert isinstance(future.exception(30), StepExistsError)
        with pytest.raises(StepExistsError):
            log.append(2, state(2))
        log.append(2, state(2))  # it is raised once
        log.append(2, state(2), wait=False)
        with pytest.raises(StepExistsError):
            log.close()
        assert log.steps() == [1, 2]
        with pytest.raises(ClosedError):
            log.append(3, state(3))

    def test_two_at_the_most_are_pending(self, tmp_path: Path) -> None:
        log = CheckpointLog(tmp_path)
        begun, go = threading.Semaphore(0), threading.Event()

        class Slow:
            def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
                begun.release()
                assert go.wait(30)
                return np.zeros(3)

        log.append(1, {"slow": Slow()}, wait=False, copy=False)
        assert begun.acquire(timeout=30)
        log.append(2, state(2), wait=False)
        third = threading.Thread(target=log.append, args=(3, state(3)), kwargs={"wait": False})
        third.start()
        third.join(0.2)
        assert third.is_alive()
        go.set()
        third.join(30)
        log.close()
        assert log.steps() == [1, 2, 3]


@fault(15)
class TestStoresThatIgnoreConditions:
    def test_they_are_refused(self, backend_of: MakeBackend) -> None:
        backend = backend_of("rclone")
        place = backend.location("run")
        with pytest.raises(UnsupportedError, match="single_writer=True") as caught:
            CheckpointLog(place).append(1, state(1))
        assert caught.value.url == place.url
        assert backend.names() == []
        log = CheckpointLog(place, single_writer=True)
        log.append(1, state(1))
        log.append(2, state(1))
        with pytest.raises(StepExistsError):
            log.append(1, state(2))
        assert_holds(log, 1, state(1))
        assert_holds(log, 2, state(1))


def test_a_step_is_a_file_like_any_other(tmp_path: Path) -> None:
    log = CheckpointLog(tmp_path)
    log.append(1, state(1))
    with Writer(tmp_path / "step-000000000002.zt", version="2") as writer:
        writer.add_tensor("by hand", np.arange(5))
    assert log.steps() == [1, 2]
    log.append(3, {"by hand": np.arange(5), **state(1)})
    assert_holds(log, 3, {"by hand": np.arange(5), **state(1)})
