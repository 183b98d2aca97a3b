"""Data sets read by DataLoader's workers, forked and spawned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import in_memory, model_bytes, new_url
from tests.servers.s3 import S3Endpoint

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

from ztensor_remote.torch import RowDataset, StepDataset  # noqa: E402

ROWS = 2000
# From Python 3.12 on, forking with threads around is warned of: here it is what is tested.
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]


def columns(rows: int = ROWS) -> dict[str, Any]:
    x = np.arange(rows * 16, dtype=np.float32).reshape(rows, 16)
    return {"x": x, "y": np.arange(rows, dtype=np.int64)}


@pytest.fixture(scope="module")
def in_s3(moto: S3Endpoint) -> Callable[[], zt.Reader]:
    """Open a file in S3, each time anew."""
    moto.make_bucket("rows")
    place = {"storage_options": moto.storage_options}
    with zt.Writer(moto.uri("rows/data.zt"), **place) as writer:
        for name, array in columns().items():
            writer.add_tensor(name, array)
    return lambda: zt.open(moto.uri("rows/data.zt"), **place)


def check(batches: Any, count: int) -> None:
    """Compare batches with what was stored; they must be so many, and each row once."""
    seen = []
    for batch in batches:
        assert torch.equal(batch["x"][:, 0], batch["y"] * 16.0)
        seen += batch["y"].tolist()
    assert sorted(seen) == list(range(count))


class TestRows:
    def test_one_and_many(self) -> None:
        rows = RowDataset(in_memory(model_bytes(columns())))
        assert len(rows) == ROWS
        assert rows[7]["x"].tolist() == columns()["x"][7].tolist()
        many = rows.__getitems__([5, 3, 5])
        assert [row["y"].item() for row in many] == [5, 3, 5]

    def test_some_tensors(self) -> None:
        rows = RowDataset(in_memory(model_bytes(columns() | {"w": np.zeros(3)})), names=["y"])
        assert rows[9] == {"y": torch.tensor(9)}

    def test_a_batch_is_one_plan(self) -> None:
        with zt.open(in_memory(model_bytes({"y": columns()["y"]}))) as reader:
            before = reader.stats.requests
            next(iter(DataLoader(RowDataset(reader), batch_size=50)))
            assert reader.stats.requests - before == 1

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"a": np.zeros(2), "b": np.zeros(3)}, "same number of rows.*a: 2, b: 3"),
            ({"a": np.float32(1)}, "has no rows"),
            ({}, "have none"),
        ],
    )
    def test_what_has_no_rows(self, arrays: dict[str, Any], message: str) -> None:
        with pytest.raises(zt.InvalidInputError, match=message):
            RowDataset(in_memory(model_bytes(arrays)))


class TestWorkers:
    @pytest.mark.parametrize(("how", "workers"), [("fork", 4), ("spawn", 1)])
    def test_rows_in_s3(self, how: str, workers: int, in_s3: Any) -> None:
        with in_s3() as reader:
            reader["y"][:5]  # connections are open when the workers are forked
            loader = DataLoader(
                RowDataset(reader),
                batch_size=40,
                shuffle=True,
                num_workers=workers,
                multiprocessing_context=how,
                timeout=60,
            )
            check(loader, ROWS)

    @pytest.mark.slow
    @pytest.mark.parametrize("how", ["fork", "spawn"])
    def test_a_thousand_batches(self, how: str, in_s3: Any) -> None:
        with in_s3() as reader:
            reader["y"][:5]
            loader = DataLoader(
                RowDataset(reader),
                batch_size=2,
                shuffle=True,
                num_workers=4,
                multiprocessing_context=how,
                timeout=120,
            )
            assert len(loader) == 1000
            check(loader, ROWS)

    def test_a_fork_while_reads_are_running(self, in_s3: Any) -> None:
        stop, read = threading.Event(), []

        def go_on_reading(reader: zt.Reader) -> None:
            while not stop.is_set():
                read.append(reader["x"].numpy()[-1, -1])

        with in_s3() as reader:
            threads = [threading.Thread(target=go_on_reading, args=(reader,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            try:
                for _ in range(3):
                    loader = DataLoader(
                        RowDataset(reader),
                        batch_size=250,
                        num_workers=2,
                        multiprocessing_context="fork",
                        timeout=60,
                    )
                    check(loader, ROWS)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
        assert set(read) == {ROWS * 16.0 - 1}


class TestSteps:
    @pytest.fixture
    def log(self) -> zt.CheckpointLog:
        with zt.CheckpointLog(new_url(), single_writer=True) as log:
            for step in range(7):
                log.append(step, {"w": np.full(5, step, "f4"), "b": np.zeros(2)})
        return log

    def test_in_one_process(self, log: zt.CheckpointLog) -> None:
        steps = list(StepDataset(log, names=["w"]))
        assert [step for step, _ in steps] == list(range(7))
        assert all(tensors["w"].tolist() == [step] * 5 for step, tensors in steps)
        assert set(steps[0][1]) == {"w"}

    def test_are_shared_out_to_workers(self, log: zt.CheckpointLog) -> None:
        loader = DataLoader(
            StepDataset(log),
            batch_size=None,
            num_workers=3,
            multiprocessing_context="fork",
            timeout=60,
        )
        steps = {step: tensors["w"][0].item() for step, tensors in loader}
        assert steps == {step: float(step) for step in range(7)}
