"""Tensors as Dask collections, computed by threads and by a real cluster of processes."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ztensor_remote as zt
from tests.conftest import Recording
from tests.integrations.clusters import times_fetched
from tests.reader.models import written
from tests.servers.s3 import S3Endpoint

pytestmark = pytest.mark.dask

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

KIB, MIB = 1 << 10, 1 << 20
ROWS = np.arange(64 * 1024, dtype=np.float32).reshape(1024, 64)
PADDING = np.zeros(128 * KIB, np.uint8)  # so that a look at the end of the file sees no tensor


@pytest.fixture(autouse=True)
def small_chunks() -> Iterator[None]:
    with dask.config.set({"array.chunk-size": "64KiB", "scheduler": "threads"}):
        yield


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A cluster of two processes of their own."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def local(tmp_path: Path) -> Iterator[zt.Reader]:
    path = tmp_path / "model.zt"
    with zt.Writer(path) as w:
        w.add_tensor("rows", ROWS)
        w.add_tensor("brief", ROWS.astype(ml_dtypes.bfloat16))
        w.add_tensor("tiny", ROWS.astype(ml_dtypes.float8_e5m2))
        w.add_tensor("scalar", np.float64(2.5))
        w.add_tensor("empty", np.zeros((0, 3), np.int8))
        w.add_tensor("eye", np.eye(8), attributes={"n": 8})
        w.add_sparse_coo("sparse", np.ones(2), np.array([[0, 1], [2, 2]]), (3, 3))
    with zt.open(path) as reader:
        yield reader


@pytest.fixture
def store(moto: S3Endpoint, bucket: Callable[[S3Endpoint], str]) -> tuple[S3Endpoint, str]:
    return moto, f"s3://{bucket(moto)}/model.zt"


class TestArrays:
    @pytest.mark.parametrize("name", ["rows", "brief", "tiny", "scalar", "empty"])
    def test_elements_are_those_of_the_tensor(self, local: zt.Reader, name: str) -> None:
        array = zt.dask.array(local[name])
        expected = local[name].numpy()
        assert array.dtype == expected.dtype == array.compute().dtype
        assert array.compute().tobytes() == expected.tobytes()

    def test_chunks_are_runs_of_rows(self, local: zt.Reader) -> None:
        assert zt.dask.array(local["rows"]).chunks == ((256,) * 4, (64,))
        chosen = zt.dask.array(local["rows"], chunks=(512, 16))
        assert chosen.chunks == ((512, 512), (16,) * 4)
        assert (chosen.compute() == ROWS).all()

    def test_names_follow_from_content(self, local: zt.Reader, tmp_path: Path) -> None:
        array = zt.dask.array(local["rows"])
        with zt.open(local.url) as again:
            assert zt.dask.array(again["rows"]).name == array.name
            assert zt.dask.array(again["rows"], chunks=512).name != array.name
        other = tmp_path / "other.zt"
        other.write_bytes(Path(local.url).read_bytes())
        with zt.open(other) as reader:
            assert zt.dask.array(reader["rows"]).name != array.name

    @pytest.mark.parametrize(
        "key",
        [
            np.s_[3:500:7, [1, 40, 2]],
            np.s_[5, [1, 2]],
            np.s_[[600, 3, 3], 2:4],
            np.s_[-3:, None, 5],
            np.s_[::-5, 60:],
        ],
        ids=str,
    )
    def test_any_index(self, local: zt.Reader, key: Any) -> None:
        assert (zt.dask.array(local["rows"])[key].compute() == ROWS[key]).all()

    def test_nothing_is_read_before_it_is_computed(self) -> None:
        url = written(lambda w: w.add_tensor("rows", ROWS))
        with zt.open(url) as reader:
            cost = reader.stats.bytes
            array = zt.dask.array(reader["rows"])
            mean = array[300:400].mean(axis=0)
            assert reader.stats.bytes == cost
            assert np.allclose(mean.compute(), ROWS[300:400].mean(axis=0))

    def test_slices_read_what_they_need(self, store: tuple[S3Endpoint, str]) -> None:
        endpoint, url = store
        with zt.Writer(url, storage_options=endpoint.storage_options) as w:
            w.add_tensor("rows", ROWS)
        with zt.open(url, storage_options=endpoint.storage_options) as reader:
            array = zt.dask.array(reader["rows"])
            cost = reader.stats.bytes
            assert (array[10:12].compute() == ROWS[10:12]).all()
            assert reader.stats.bytes - cost == 2 * ROWS[0].nbytes

    def test_compressed_tensors_are_cut_at_frames(self) -> None:
        rows = np.arange(5 * MIB // 8, dtype=np.int64).reshape(-1, 64)
        url = written(lambda w: w.add_tensor("rows", rows, compress=True))
        with dask.config.set({"array.chunk-size": "2.5MiB"}), zt.open(url) as reader:
            array = zt.dask.array(reader["rows"])
            assert array.chunks[0] == (4096, 4096, 2048)
            assert (array.compute() == rows).all()

    def test_what_has_no_chunks_says_what_to_do(self, local: zt.Reader) -> None:
        with pytest.raises(zt.UnsupportedError, match=r"delayed\(\)") as caught:
            zt.dask.array(local["sparse"])
        assert caught.value.tensor == "sparse"
        assert zt.dask.delayed(local)["sparse"].compute().nnz == 2

    def test_a_closed_reader_is_opened_again(self, local: zt.Reader) -> None:
        array = zt.dask.array(local["rows"])
        local.close()
        assert (array.compute() == ROWS).all()

    def test_another_version_is_refused(self, local: zt.Reader) -> None:
        array = zt.dask.array(local["rows"])
        local.close()
        with zt.Writer(local.url) as w:
            w.add_tensor("rows", np.concatenate([ROWS, ROWS]))
        with pytest.raises(zt.ObjectChangedError):
            array.compute()

    def test_graphs_are_small_and_hold_no_more_than_the_user_gave(
        self, store: tuple[S3Endpoint, str]
    ) -> None:
        endpoint, url = store
        with zt.Writer(url, storage_options=endpoint.storage_options) as w:
            w.add_tensor("rows", ROWS)
        with zt.open(url, storage_options=endpoint.storage_options) as reader:
            array = zt.dask.array(reader["rows"])
            assert len(pickle.dumps(dict(array.__dask_graph__()))) < 4 * KIB
            assert endpoint.url not in repr(array.__dask_graph__().layers) + array.name


class TestWholeFiles:
    def test_delayed(self, local: zt.Reader) -> None:
        values = zt.dask.delayed(local.url)
        assert [*values] == [*local]
        assert (values["rows"].compute() == ROWS).all()
        assert values["rows"].key == zt.dask.delayed(local, ["rows"])["rows"].key
        with pytest.raises(zt.TensorNotFoundError):
            zt.dask.delayed(local, ["nothing"])

    def test_bag(self, local: zt.Reader) -> None:
        sizes = zt.dask.bag(local, partition_size=300 * KIB).map(lambda item: item[1].shape)
        assert sizes.npartitions == 3  # two of them for the two larger tensors
        assert sizes.compute(scheduler="threads") == [local[name].shape for name in local]
        assert zt.dask.bag(local, []).compute(scheduler="threads") == []


class TestCluster:
    def test_every_byte_is_fetched_once(
        self, client: Any, store: tuple[S3Endpoint, str], recording: Recording
    ) -> None:
        endpoint, url = store
        rows = np.random.default_rng(1).random((8 * KIB, 512), np.float32)  # 16 MiB
        with zt.Writer(url, storage_options=endpoint.storage_options) as w:
            w.add_tensor("rows", rows)
            w.add_tensor("other", PADDING)
        through, proxy = recording(endpoint)
        with zt.open(url, storage_options=through.storage_options) as reader:
            place = reader["rows"].components["data"]
            with dask.config.set({"array.chunk-size": "1MiB"}):
                array = zt.dask.array(reader["rows"])
            means = client.compute(array.mean(axis=0, dtype=np.float64)).result()
        assert array.numblocks == (16, 1)
        assert np.allclose(means, rows.mean(axis=0, dtype=np.float64))
        fetched = times_fetched(proxy.requests, place.offset, place.offset + place.length)
        assert (fetched == 1).all()
        # Here, and in each worker: a look at the end, and what it takes to know the store.
        assert proxy.response_bytes - rows.nbytes < 3 * 70 * KIB

    def test_workers_write_and_the_root_makes_it_one_model(
        self, client: Any, store: tuple[S3Endpoint, str]
    ) -> None:
        endpoint, url = store
        options = endpoint.storage_options
        arrays = {f"layer.{i}": da.from_array(ROWS + i, chunks=(300, 20)) for i in range(4)}
        arrays["brief"] = arrays["layer.3"].astype(ml_dtypes.bfloat16)
        zt.dask.to_zt(
            arrays, url, storage_options=options, shard_size=300 * KIB, attributes={"step": 3}
        )
        with zt.open(url, storage_options=options) as model:
            assert {*model} == {*arrays}
            assert model.version == "2"
            assert dict(model.attributes) == {"step": 3}
            assert model.verify(deep=True).checked == 5
            for i in range(4):
                assert (model[f"layer.{i}"].numpy() == ROWS + i).all()
            assert model["brief"].dtype == ml_dtypes.bfloat16
            shards = {model[name].components["data"].shard for name in model}
        assert len(shards) == 5
        assert len(endpoint.filesystem().ls(url.rpartition("/")[0])) == 6

    def test_one_process_opens_a_file_once(
        self, client: Any, store: tuple[S3Endpoint, str], recording: Recording
    ) -> None:
        endpoint, url = store
        with zt.Writer(url, storage_options=endpoint.storage_options) as w:
            for number in range(12):
                w.add_tensor(f"w{number}", ROWS[:8] + number)
            w.add_tensor("other", PADDING)
        through, proxy = recording(endpoint)
        with zt.open(url, storage_options=through.storage_options) as reader:
            sums = [zt.dask.array(reader[f"w{number}"]).sum() for number in range(12)]
            computed = dask.compute(*sums, scheduler=client)
        assert np.allclose(computed, [(ROWS[:8] + number).sum() for number in range(12)])
        size = endpoint.filesystem().size(url)
        assert times_fetched(proxy.requests, size - 40, size).max() == 0  # asked for as a suffix
        suffixes = [each for each in proxy.requests if (each.range or "").startswith("bytes=-")]
        assert 2 <= len(suffixes) <= 3


class TestWriting:
    def test_shapes_and_dtypes(self, tmp_path: Path) -> None:
        arrays = {
            "scalar": da.asarray(np.float32(3)),
            "empty": da.zeros((0, 3), dtype=np.int8),
            "numpy": np.arange(5),
            "bools": da.from_array(np.array([True, False])),
            "deep": da.from_array(np.arange(60).reshape(3, 4, 5), chunks=(2, 1, 2)),
        }
        zt.dask.to_zt(arrays, tmp_path / "model.zt", compress=True)
        with zt.open(tmp_path / "model.zt") as model:
            for name, array in arrays.items():
                expected = np.asarray(array)
                assert model[name].dtype == expected.dtype
                assert model[name].numpy().tolist() == expected.tolist()

    def test_after_an_error_nothing_is_left(self, tmp_path: Path) -> None:
        def fail(block: Any) -> Any:
            raise OverflowError("in a task")

        bad = da.from_array(ROWS).map_blocks(fail, dtype="f4", meta=np.empty((0, 0), "f4"))
        path = tmp_path / "model.zt"
        zt.dask.to_zt({"good": ROWS}, path)
        before = {*os.listdir(tmp_path)}
        with pytest.raises(OverflowError):
            zt.dask.to_zt({"good": ROWS + 1, "bad": bad}, path, shard_size=1)
        assert {*os.listdir(tmp_path)} == before
        with zt.open(path) as model:
            assert (model["good"].numpy() == ROWS).all()

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"": ROWS}, "name"),
            ({"text": np.array(["a"])}, "dtype|type"),
            ({"unknown": da.from_array(ROWS)[da.from_array(ROWS[:, 0]) > 9]}, "compute_chunk"),
        ],
        ids=["name", "dtype", "shape"],
    )
    def test_what_can_not_be_written_is_refused_at_once(
        self, tmp_path: Path, arrays: Any, message: str
    ) -> None:
        with pytest.raises((zt.InvalidInputError, zt.UnsupportedError), match=message):
            zt.dask.to_zt(arrays, tmp_path / "model.zt")
        assert os.listdir(tmp_path) == []
