"""Ray: tensors in its object store, its data sets, and files that its workers write."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse

import ztensor_remote as zt
from tests.conftest import Recording
from tests.docs.blocks import read_blocks
from tests.docs.test_code_blocks import ROOT, aws_variables, empty_bucket
from tests.integrations.clusters import times_fetched
from tests.servers.s3 import S3Endpoint

# Ray reads these as it is imported: it is to speak to itself alone, by the loopback interface.
os.environ |= {
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
ray = pytest.importorskip("ray")
pytest.importorskip("pyarrow")

KIB, MIB = 1 << 10, 1 << 20
ROWS = np.arange(64 * 1024, dtype=np.float32).reshape(1024, 64)

pytestmark = [
    pytest.mark.ray,
    # Ray's own use of what it has deprecated.
    pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def cluster(moto: S3Endpoint) -> Iterator[None]:
    """A node of four workers, for which s3:// is a server of the tests'."""
    patch = pytest.MonkeyPatch()
    for name, value in aws_variables(moto).items():
        patch.setenv(name, value)
    ray.init(
        address="local",
        num_cpus=4,
        object_store_memory=256 * MIB,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
    yield
    ray.shutdown()
    patch.undo()


@pytest.fixture
def url(moto: S3Endpoint, bucket: Callable[[S3Endpoint], str]) -> str:
    return f"s3://{bucket(moto)}/model.zt"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[zt.Reader]:
    path = tmp_path / "model.zt"
    with zt.Writer(path) as w:
        w.add_tensor("rows", ROWS)
        w.add_tensor("brief", ROWS.astype(ml_dtypes.bfloat16))
        w.add_tensor("numbers", np.arange(1024))
        w.add_tensor("scalar", np.float64(2.5))
        w.add_tensor("empty", np.zeros((0, 3), np.int8))
        w.add_tensor("flags", np.arange(10) % 3 == 0)
        w.add_sparse_coo("sparse", np.ones(2), np.array([[0, 1], [2, 2]]), (3, 3))
    with zt.open(path) as reader:
        yield reader


def write(endpoint: S3Endpoint, url: str, arrays: dict[str, Any], **options: Any) -> None:
    with zt.Writer(url, storage_options=endpoint.storage_options, **options) as w:
        for name, array in arrays.items():
            w.add_tensor(name, array)


def layers(count: int, rows: int) -> dict[str, Any]:
    numbers = np.random.default_rng(1)
    return {f"layer.{i}": numbers.random((rows, 512), np.float32) for i in range(count)}


class TestShards:
    def test_four_workers_fetch_a_model_once(
        self, moto: S3Endpoint, url: str, recording: Recording
    ) -> None:
        from examples import ray_shards

        arrays = layers(16, 1024)  # 32 MiB
        write(moto, url, arrays)
        through, proxy = recording(moto)
        workers = ray_shards.start(url, 4, storage_options=through.storage_options)
        loaded = ray.get([worker.loaded.remote() for worker in workers])
        norms = ray.get([worker.square_norm.remote() for worker in workers])
        size = sum(array.nbytes for array in arrays.values())
        assert [each.nbytes for each in loaded] == [size // 4] * 4
        assert proxy.response_bytes < 1.02 * size
        assert sum(norms) == pytest.approx(
            sum(np.square(array, dtype="f8").sum() for array in arrays.values())
        )


class TestLoad:
    def test_what_all_need_is_fetched_once(
        self, moto: S3Endpoint, url: str, recording: Recording
    ) -> None:
        arrays = layers(2, 4096)  # 8 MiB each
        write(moto, url, arrays)
        through, proxy = recording(moto)
        with zt.open(url, storage_options=through.storage_options) as reader:
            part = reader["layer.0"].components["data"]
            shared = zt.ray.load(reader, ["layer.0"])
        asked = [row.remote(shared, "layer.0", index) for index in range(8)]
        assert (np.stack(ray.get(asked)) == arrays["layer.0"][:8]).all()
        fetched = times_fetched(proxy.requests, part.offset, part.offset + part.length)
        assert (fetched == 1).all()
        assert proxy.response_bytes - part.length < 2 * 70 * KIB

    def test_arrays_are_views_of_the_object_store(self, local: zt.Reader) -> None:
        shared = zt.ray.load(local, ["rows", "brief"])
        for name in ("rows", "brief"):
            one, other = shared[name], shared[name]
            assert not one.flags.writeable
            assert np.shares_memory(words(one), words(other))
            assert one.dtype == local[name].dtype
            assert (one == local[name].numpy()).all()

    @pytest.mark.parametrize("placement", ["nodes", "here", "spread"])
    def test_all_kinds_of_tensors(self, local: zt.Reader, placement: Any) -> None:
        shared = zt.ray.load(local.url, placement=placement)
        assert sorted(shared) == sorted(local)
        loaded = shared.load()
        for name in {*local} - {"sparse"}:
            expected = local[name].numpy()
            assert loaded[name].dtype == expected.dtype
            assert loaded[name].shape == expected.shape
            assert loaded[name].tobytes() == expected.tobytes()
        assert scipy.sparse.issparse(loaded["sparse"])
        assert loaded["sparse"].sum() == 2

    def test_nothing(self, local: zt.Reader) -> None:
        assert zt.ray.load(local, []).load() == {}

    def test_errors_are_ours(self, local: zt.Reader) -> None:
        with pytest.raises(zt.TensorNotFoundError):
            zt.ray.load(local, ["nothing"])
        with pytest.raises(zt.InvalidInputError, match="placement"):
            zt.ray.load(local, placement="somewhere")
        data = bytearray(Path(local.url).read_bytes())
        data[local["rows"].components["data"].offset] ^= 1
        damaged = Path(local.url).with_name("damaged.zt")
        damaged.write_bytes(data)
        with pytest.raises(zt.DigestError) as caught:
            zt.ray.load(damaged)
        assert caught.value.tensor == "rows"


class TestRowDatasource:
    def test_rows(self, local: zt.Reader) -> None:
        source = zt.ray.RowDatasource(local, ["rows", "numbers"])
        assert source.estimate_inmemory_data_size() == ROWS.nbytes + 8 * 1024
        dataset = ray.data.read_datasource(source, override_num_blocks=4)
        assert dataset.schema().names == ["rows", "numbers"]
        assert dataset.count() == 1024
        assert dataset.materialize().num_blocks() == 4
        columns = [*dataset.iter_batches(batch_size=None, batch_format="numpy")]
        numbers = np.concatenate([batch["numbers"] for batch in columns])
        rows = np.concatenate([batch["rows"] for batch in columns])
        assert (rows[np.argsort(numbers)] == ROWS).all()

    def test_tasks_share_out_the_bytes(
        self, moto: S3Endpoint, url: str, recording: Recording
    ) -> None:
        rows = np.random.default_rng(2).random((4096, 512), np.float32)  # 8 MiB
        write(moto, url, {"rows": rows, "other": np.zeros(128 * KIB, np.uint8)})
        through, proxy = recording(moto)
        source = zt.ray.RowDatasource(url, ["rows"], storage_options=through.storage_options)
        dataset = ray.data.read_datasource(source, override_num_blocks=8)
        assert dataset.count() == 4096
        proxy.clear()
        sums = dataset.map_batches(lambda batch: {"sum": batch["rows"].sum(axis=1)}).take_all()
        assert np.isclose(sum(row["sum"] for row in sums), rows.sum(dtype="f8"))
        with zt.open(url, storage_options=moto.storage_options) as reader:
            part = reader["rows"].components["data"]
        fetched = times_fetched(proxy.requests, part.offset, part.offset + part.length)
        assert (fetched == 1).all()

    def test_frames_are_not_cut(self, tmp_path: Path) -> None:
        rows = np.arange(5 * MIB // 8, dtype=np.int64).reshape(-1, 64)
        with zt.Writer(tmp_path / "model.zt", compress=True) as w:
            w.add_tensor("rows", rows)
        source = zt.ray.RowDatasource(tmp_path / "model.zt")
        tasks = source.get_read_tasks(3)
        assert [task.metadata.num_rows for task in tasks] == [2048, 4096, 4096]
        assert sum(task.metadata.size_bytes for task in tasks) == rows.nbytes

    def test_no_rows(self, tmp_path: Path) -> None:
        with zt.Writer(tmp_path / "model.zt") as w:
            w.add_tensor("rows", ROWS[:0])
        dataset = ray.data.read_datasource(zt.ray.RowDatasource(tmp_path / "model.zt"))
        assert dataset.schema().types[0].shape == (64,)
        assert dataset.take_all() == []

    def test_what_has_no_rows_is_refused(self, local: zt.Reader) -> None:
        with pytest.raises(zt.InvalidInputError, match="has no rows"):
            zt.ray.RowDatasource(local, ["sparse"])
        with pytest.raises(zt.UnsupportedError, match=r"bfloat16.*TensorDatasource") as caught:
            zt.ray.RowDatasource(local, ["rows", "brief"])
        assert caught.value.tensor == "brief"


class TestTensorDatasource:
    def test_each_tensor_is_a_row(self, local: zt.Reader) -> None:
        names = [name for name in local if name != "sparse"]
        dataset = ray.data.read_datasource(
            zt.ray.TensorDatasource(local, names), override_num_blocks=3
        )
        assert dataset.schema().names == ["name", "dtype", "shape", "data"]
        rows = {row["name"]: row for row in dataset.take_all()}
        assert sorted(rows) == sorted(names)
        for name in names:
            array, expected = zt.ray.array(rows[name]), local[name].numpy()
            assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
            assert array.tobytes() == expected.tobytes()

    def test_tasks_and_sizes(self, local: zt.Reader) -> None:
        source = zt.ray.TensorDatasource(local, ["rows", "brief", "numbers", "scalar"])
        tasks = source.get_read_tasks(2)
        assert [task.metadata.num_rows for task in tasks] == [1, 3]
        total = sum(task.metadata.size_bytes for task in tasks)
        assert total == source.estimate_inmemory_data_size() == ROWS.nbytes * 3 // 2 + 8 * 1025

    def test_what_has_no_elements_is_refused(self, local: zt.Reader) -> None:
        with pytest.raises(zt.UnsupportedError, match="names=") as caught:
            zt.ray.TensorDatasource(local)
        assert caught.value.tensor == "sparse"


class TestWriting:
    def test_each_part_is_a_shard(self, moto: S3Endpoint, url: str) -> None:
        options = moto.storage_options
        parts = [made.remote(number) for number in range(3)]
        sparse = scipy.sparse.eye_array(4, format="csr")
        here = {"here": ray.put(ROWS), "sparse": sparse}
        zt.ray.to_zt([*parts, here], url, storage_options=options, attributes={"step": 3})
        with zt.open(url, storage_options=options) as model:
            assert {*model} == {"part.0", "part.1", "part.2", "here", "sparse"}
            assert dict(model.attributes) == {"step": 3}
            assert model.verify(deep=True).checked == 7
            assert all((model[f"part.{number}"].numpy() == number).all() for number in range(3))
            assert (model["here"].numpy() == ROWS).all()
            assert len({part.shard for t in model.values() for part in t.components.values()}) == 4

    @pytest.mark.parametrize(
        ("part", "error"),
        [
            ({"part.0": ROWS}, zt.DuplicateNameError),
            ({"text": np.array(["a"])}, zt.InvalidInputError),
            ([ROWS], zt.InvalidInputError),
        ],
        ids=["name", "dtype", "kind"],
    )
    def test_after_an_error_nothing_is_left(self, tmp_path: Path, part: Any, error: Any) -> None:
        with pytest.raises(error):
            zt.ray.to_zt([made.remote(0), part], tmp_path / "model.zt")
        assert os.listdir(tmp_path) == []


def test_the_blocks_of_the_documentation_run(moto: S3Endpoint) -> None:
    empty_bucket(moto)
    document = ROOT / "docs" / "howto" / "ray.md"
    namespace: dict[str, Any] = {}
    for block in read_blocks(document, ROOT):
        if block.language == "python":
            exec(compile(block.code, f"{document}:{block.line}", "exec"), namespace)


def words(array: Any) -> Any:
    return array.view(f"u{array.itemsize}")


@ray.remote
def row(shared: Any, name: str, index: int) -> Any:
    return shared[name][index]


@ray.remote
def made(number: int) -> dict[str, Any]:
    return {f"part.{number}": np.full((100, 10), number, np.float32)}
