"""torch.distributed.checkpoint on any URL: by several ranks and by one, no pickle, slices only."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import MEMORY, new_url
from tests.servers.s3 import S3Endpoint

torch = pytest.importorskip("torch")
dcp = pytest.importorskip("torch.distributed.checkpoint")

from torch.distributed.checkpoint.api import CheckpointException  # noqa: E402
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex  # noqa: E402

from ztensor_remote.integrations.dcp.values import from_attribute, to_attribute  # noqa: E402
from ztensor_remote.torch import StorageReader, StorageWriter  # noqa: E402

PROGRAM = Path(__file__).with_name("dcp_ranks.py")
ROOT = PROGRAM.parents[2]
# With a single process torch tells that it saves without ranks.
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled"),
]


def folder() -> str:
    return new_url().rpartition("/")[0]


def save(state: dict[str, Any], url: str, **options: Any) -> None:
    dcp.save(state, storage_writer=StorageWriter(url, **options))


def load(state: dict[str, Any], url: str, **options: Any) -> None:
    dcp.load(state, storage_reader=StorageReader(url, **options))


def a_state() -> dict[str, Any]:
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.8, 0.9))
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "half": torch.randn(5).bfloat16(),
        "flags": torch.tensor([True, False]),
        "scalar": torch.tensor(2.0),
        "empty": torch.zeros(0, 3),
        "run": {"name": "a", "epoch": 3, "ids": [1, 2], "of": {"four": (b"x", None, 0.1)}},
    }


def emptied(value: Any) -> Any:
    """Return the same structure with other contents, as before a load."""
    if isinstance(value, torch.Tensor):
        return torch.full_like(value, 0)
    if isinstance(value, dict):
        return {key: emptied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [emptied(item) for item in value]
    return None


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and all(map(alike, one, other))
    return bool(one == other)


class TestOneProcess:
    @pytest.mark.parametrize("compress", [False, True])
    def test_there_and_back(self, compress: bool) -> None:
        state, url = a_state(), folder()
        save(state, url, compress=compress)
        loaded = emptied(state)
        load(loaded, url)
        assert alike(loaded, state)

    def test_a_local_folder(self, tmp_path: Path) -> None:
        state = {"w": torch.randn(3)}
        save(state, str(tmp_path / "new" / "folder"))
        loaded = emptied(state)
        dcp.load(loaded, checkpoint_id=tmp_path / "new" / "folder", storage_reader=StorageReader())
        assert alike(loaded, state)

    def test_nothing_is_pickled(self) -> None:
        url = folder()
        save(a_state(), url)
        for path in MEMORY.find(url):
            data = MEMORY.cat_file(path)
            assert b"torch_utils" not in data
            assert b"PK\x03\x04" not in data, "a zip file, as torch.save writes it"

    def test_the_root_is_a_file_of_tensors(self) -> None:
        state, url = a_state(), folder()
        save(state, url)
        with zt.open(f"{url}/checkpoint.zt") as file:
            assert np.array_equal(file["model.weight"], state["model"]["weight"].numpy())
            file.verify(deep=True)

    def test_a_second_save_replaces_the_first(self) -> None:
        url = folder()
        for number in range(2):
            save({"w": torch.full((2000,), float(number))}, url)
        load(loaded := {"w": torch.zeros(2000)}, url)
        assert bool((loaded["w"] == 1).all())
        assert len(MEMORY.find(url)) == 2

    def test_what_only_pickle_could_store(self) -> None:
        url = folder()
        with pytest.raises(CheckpointException, match="can't be stored without pickle"):
            save({"w": torch.zeros(2), "model": object()}, url)
        assert not MEMORY.exists(f"{url}/checkpoint.zt")

    def test_no_checkpoint(self) -> None:
        with pytest.raises(CheckpointException, match="nothing is stored there"):
            load({"w": torch.zeros(2)}, folder())

    @pytest.mark.parametrize(
        "damaged",
        [
            None,
            {"version": 2},
            {"version": 1},
            {"version": 1, "tensors": {"w": {}}, "values": {}, "planner_data": None},
            {"version": 1, "tensors": {}, "values": {}, "planner_data": {"set": [1]}},
        ],
    )
    def test_other_files(self, damaged: Any) -> None:
        url = folder()
        with zt.Writer(f"{url}/checkpoint.zt", version="2") as writer:
            if damaged is not None:
                writer.attributes["torch.distributed.checkpoint"] = damaged
        with pytest.raises(zt.FormatError, match="checkpoint"):
            StorageReader(url).read_metadata()


class HalfPlanner(dcp.DefaultLoadPlanner):
    """Asks for some rows of a tensor only, as a rank of many does."""

    def __init__(self, rows: slice) -> None:
        super().__init__()
        self.rows = rows

    def create_local_plan(self) -> Any:
        chunk = ChunkStorageMetadata(
            torch.Size([self.rows.start, 0]), torch.Size([self.rows.stop - self.rows.start, 500])
        )
        from torch.distributed.checkpoint.planner import LoadPlan
        from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

        return LoadPlan(
            create_read_items_for_chunk_list("w", self.metadata.state_dict_metadata["w"], [chunk])
        )

    def lookup_tensor(self, index: MetadataIndex) -> Any:
        return self.state_dict["w"]


def test_a_rank_reads_no_other_bytes(moto: S3Endpoint, bucket: Any, recording: Any) -> None:
    name = bucket(moto)
    values = torch.randn(1000, 500)
    save({"w": values}, moto.uri(name), storage_options=moto.storage_options)
    through, proxy = recording(moto)
    part = {"w": torch.zeros(100, 500)}
    reader = StorageReader(through.uri(name), storage_options=through.storage_options)
    dcp.load(part, storage_reader=reader, planner=HalfPlanner(slice(200, 300)))
    assert torch.equal(part["w"], values[200:300])
    assert proxy.response_bytes < 100 * 500 * 4 + 20_000


def test_four_ranks_save_and_three_and_two_load(
    moto: S3Endpoint, bucket: Callable[[S3Endpoint], str], recording: Any, tmp_path: Path
) -> None:
    through, proxy = recording(moto)
    name = bucket(moto)
    done = subprocess.run(
        [
            sys.executable,
            str(PROGRAM),
            moto.uri(f"{name}/step-7"),
            through.uri(f"{name}/step-7"),
            json.dumps(moto.storage_options),
            json.dumps(through.storage_options),
            str(tmp_path),
        ],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["[]"] * 4 + [""], done.stderr
    # The weights once on three and once on two, by rows; and for each rank the root and the ends of
    # shards.
    assert proxy.response_bytes < 2 * 3000 * 300 * 4 * 1.02

    loaded = {"model": {"w": torch.zeros(3000, 300)}, "optim": {"step": 0}}
    load(loaded, moto.uri(f"{name}/step-7"), storage_options=moto.storage_options)
    assert torch.equal(loaded["model"]["w"].reshape(-1), torch.arange(900_000.0))
    assert loaded["optim"] == {"step": 7}


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -7,
        0.1,
        "ü",
        b"\0",
        [],
        (),
        {},
        [1, (2, [3])],
        {4: {("a", 1): None}, "tuple": [1]},
    ],
    ids=repr,
)
def test_values_keep_their_kinds(value: Any) -> None:
    back = from_attribute(to_attribute(value))
    assert (type(back), back) == (type(value), value)


@pytest.mark.parametrize("value", [{"set": []}, {"tuple": 1}, {"dict": [[1]]}, {"dict": [[[], 1]]}])
def test_damaged_values(value: Any) -> None:
    with pytest.raises(zt.FormatError):
        from_attribute(value)
