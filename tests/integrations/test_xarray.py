"""Files as xarray datasets, and datasets to files."""

from __future__ import annotations

import asyncio
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
from tests.servers.http import HttpServer
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3Endpoint

pytestmark = pytest.mark.xarray
xr = pytest.importorskip("xarray")
pd = pytest.importorskip("pandas")
backend = pytest.importorskip("ztensor_remote.integrations.xarray")

KIB = 1 << 10
GRID = np.arange(12 * 10 * 9, dtype=np.float32).reshape(12, 10, 9)
PADDING = np.zeros(128 * KIB, np.uint8)  # so that a look at the end of the file sees no tensor


@pytest.fixture
def weather() -> Any:
    return xr.Dataset(
        {
            "t": (("time", "y", "x"), np.arange(24, dtype="f4").reshape(2, 3, 4), {"units": "K"}),
            "wet": ("x", np.array([True, False, True, True])),
            "phase": ("y", np.arange(3) * 1j),
            "level": ((), np.int8(-2)),
            "gust": ("time", np.array([1, 2], "m8[s]")),
        },
        coords={
            "time": pd.date_range("2020-01-01", periods=2, name="time"),
            "x": [10, 20, 30, 40],
            "height": (("y", "x"), np.linspace(0, 1, 12).reshape(3, 4)),
            "place": ("y", ["Bern", "Zürich", ""]),
        },
        attrs={"title": "weather", "count": np.int64(3), "box": np.array([1.5, 2])},
    )


@pytest.fixture
def reader() -> Iterator[zt.Reader]:
    def add(w: zt.Writer) -> None:
        w.add_tensor("grid", GRID, attributes={"dims": ["t", "y", "x"], "units": "K"})
        w.add_tensor("packed", GRID, compress=True, attributes={"dims": ["t", "y", "x"]})
        w.add_tensor("rows.0", GRID[0], attributes={"dims": ["only one"]})
        w.add_tensor("brief", GRID[0].astype(ml_dtypes.bfloat16))
        w.add_tensor("tiny", GRID[0].astype(ml_dtypes.float8_e5m2))
        w.add_sparse_csr("sparse", np.ones(2), np.array([0, 2]), np.array([0, 1, 1, 2]), (3, 3))
        w.add_tensor("empty", np.zeros((0, 3)))
        w.add_tensor("padding", PADDING)
        w.attributes["license"] = "MIT"

    with zt.open(written(add)) as reader:
        yield reader


@pytest.fixture
def dataset(reader: zt.Reader) -> Any:
    return xr.open_dataset(reader, engine="ztensor")


class TestReading:
    def test_the_engine_is_installed(self, reader: zt.Reader) -> None:
        assert isinstance(xr.backends.list_engines()["ztensor"], backend.Backend)
        assert "grid" in xr.open_dataset(reader.url, engine="ztensor")

    def test_what_the_file_says(self, dataset: Any, reader: zt.Reader) -> None:
        assert set(dataset.variables) == set(reader)
        assert dataset.grid.dims == ("t", "y", "x")
        assert dataset.grid.attrs == {"units": "K"}
        assert dataset["rows.0"].dims == ("rows.0_dim_0", "rows.0_dim_1")
        assert dataset["rows.0"].attrs == {"dims": ["only one"]}
        assert dataset.attrs == {"license": "MIT"}
        assert dataset.encoding["source"] == reader.url

    def test_elements_are_those_of_the_tensors(self, dataset: Any, reader: zt.Reader) -> None:
        for name, variable in dataset.variables.items():
            expected = reader[name].numpy()
            assert variable.dtype == expected.dtype == variable.values.dtype
            assert variable.shape == expected.shape
            assert variable.values.tobytes() == expected.tobytes()

    @pytest.mark.parametrize("name", ["grid", "packed"])
    @pytest.mark.parametrize(
        "key",
        [
            {},
            {"t": 3},
            {"t": -1, "y": slice(None, None, -2), "x": 0},
            {"t": slice(8, 2, -3), "y": slice(2, 2)},
            {"t": [5, 1, 1, -1], "y": [9, 0], "x": [3]},
            {"y": [], "x": 2},
            {"t": xr.DataArray([1, 5, 3], dims="p"), "x": xr.DataArray([0, 8, 8], dims="p")},
            {"y": xr.DataArray([[1, 5], [3, 3]], dims=("p", "q"))},
            {"t": np.arange(12) % 3 == 0, "y": np.arange(10) > 20},
        ],
        ids=str,
    )
    def test_any_index(self, dataset: Any, name: str, key: dict[str, Any]) -> None:
        expected = xr.DataArray(GRID, dims=("t", "y", "x")).isel(key)
        xr.testing.assert_equal(dataset[name].isel(key).load(), expected)

    def test_lazy_indexing_is_composed(self, dataset: Any) -> None:
        part = dataset.grid[2:][:, [4, 1]].isel(x=slice(None, None, 3))[{"t": 1}]
        assert (part.values == GRID[3][[4, 1]][:, ::3]).all()

    def test_some_can_be_left_out(self, reader: zt.Reader) -> None:
        for dropped in ("grid", ["grid", "packed"]):
            left = set(xr.open_dataset(reader, engine="ztensor", drop_variables=dropped))
            assert left == set(reader) - ({dropped} if isinstance(dropped, str) else {*dropped})

    def test_what_was_loaded_can_be_changed(self, tmp_path: Path) -> None:
        with zt.Writer(tmp_path / "a.zt") as w:
            w.add_tensor("a", np.zeros(3), attributes={"dims": ["x"]})
        before = (tmp_path / "a.zt").read_bytes()
        with xr.open_dataset(tmp_path / "a.zt") as dataset:
            dataset.load()
            dataset.a[1] = 5
            dataset.a.values[2] = 6
            assert dataset.a.values.tolist() == [0, 5, 6]
        assert (tmp_path / "a.zt").read_bytes() == before

    def test_files_of_other_formats(self, tmp_path: Path) -> None:
        numpy = pytest.importorskip("safetensors.numpy")
        numpy.save_file({"w": GRID}, tmp_path / "w.safetensors")
        with xr.open_dataset(tmp_path / "w.safetensors", engine="ztensor") as dataset:
            assert (dataset.w.values == GRID).all()


class TestTraffic:
    @pytest.fixture
    def store(
        self, moto: S3Endpoint, bucket: Callable[[S3Endpoint], str], recording: Recording
    ) -> Any:
        url = f"s3://{bucket(moto)}/model.zt"
        with zt.Writer(url, storage_options=moto.storage_options) as w:
            w.add_tensor("rows", np.arange(64 * 1024.0).reshape(1024, 64))
            w.add_tensor("padding", PADDING)
        with zt.open(url, storage_options=moto.storage_options) as reader:
            first = reader["rows"].components["data"].offset
        endpoint, proxy = recording(moto)
        return url, endpoint.storage_options, proxy, range(first, first + 512 * KIB)

    def test_an_index_fetches_what_it_needs(self, store: Any) -> None:
        url, options, proxy, span = store
        with xr.open_dataset(url, storage_options=options) as dataset:
            assert not times_fetched(proxy.requests, span.start, span.stop).any()
            opening = len(proxy.requests)
            assert dataset.rows[[700, 3], 5].values.tolist() == [700 * 64 + 5, 3 * 64 + 5]
            fetched = times_fetched(proxy.requests, span.start, span.stop)
            rows = [slice(row * 64 * 8, (row + 1) * 64 * 8) for row in (3, 700)]
            assert fetched.sum() == sum(fetched[row].sum() for row in rows)
            assert len(proxy.requests) <= opening + 2
            assert dataset.rows.mean("rows_dim_1").shape == (1024,)

    def test_many_are_loaded_side_by_side(self, reader: zt.Reader) -> None:
        dataset = xr.open_dataset(reader, engine="ztensor")[["grid", "packed", "rows.0"]]
        if not hasattr(dataset, "load_async"):
            pytest.skip("this xarray has no load_async")
        asyncio.run(dataset.load_async())
        assert dataset.grid.variable._in_memory
        assert (dataset.packed.values == GRID).all() and (dataset["rows.0"].values == GRID[0]).all()

    def test_chunks_of_dask(self, store: Any) -> None:
        pytest.importorskip("dask")
        url, options, proxy, span = store
        with xr.open_dataset(url, storage_options=options, chunks={"rows_dim_0": 256}) as dataset:
            assert dataset.rows.chunksizes["rows_dim_0"] == (256,) * 4
            assert not times_fetched(proxy.requests, span.start, span.stop).any()
            part = dataset.rows[300:400].sum().compute(scheduler="threads")
            assert part == np.arange(300 * 64.0, 400 * 64).sum()
            fetched = times_fetched(proxy.requests, span.start, span.stop)
            assert (fetched[300 * 512 : 400 * 512] == 1).all()
            assert fetched.sum() == 100 * 512


class TestTravelling:
    def test_datasets_pickle(self, reader: zt.Reader) -> None:
        with xr.open_dataset(reader.url) as dataset:
            data = pickle.dumps(dataset.drop_vars("padding"))
        arrived = pickle.loads(data)
        assert (arrived.grid[3:5].values == GRID[3:5]).all()
        arrived.close()

    def test_what_arrives_is_opened_once(self, http_server: HttpServer, tmp_path: Path) -> None:
        with zt.Writer(tmp_path / "a.zt") as w:
            w.add_tensor("a", GRID)
            w.add_tensor("b", GRID)
            w.add_tensor("padding", PADDING)
        with Proxy(http_server.url) as proxy:
            with xr.open_dataset(f"{proxy.url}/a.zt") as dataset:
                opening = len(proxy.requests)
                data = pickle.dumps(dataset[["a", "b"]])
            arrived = pickle.loads(data)
            assert (arrived.a.values == GRID).all() and (arrived.b.values == GRID).all()
            assert len(proxy.requests) == 2 * opening + 2

    def test_closing(self, reader: zt.Reader, dataset: Any) -> None:
        dataset.close()
        assert (dataset.grid[0].values == GRID[0]).all()
        ours = xr.open_dataset(reader.url)
        ours.close()
        with pytest.raises(zt.ClosedError):
            ours.grid[0].load()

    def test_tasks_of_dask_pickle(self, reader: zt.Reader) -> None:
        pytest.importorskip("dask")
        with xr.open_dataset(reader.url, chunks={"t": 4}) as dataset:
            data = pickle.dumps(dataset.grid)
        arrived = pickle.loads(data)
        assert arrived.sum().compute(scheduler="threads") == GRID.sum()


class TestRefusals:
    def test_a_dimension_has_one_size(self) -> None:
        def add(w: zt.Writer) -> None:
            w.add_tensor("a", np.zeros(3), attributes={"dims": ["x"]})
            w.add_tensor("b", np.zeros(4), attributes={"dims": ["x"]})

        url = written(add)
        with pytest.raises(zt.FormatError, match=r"dimension 'x'.*drop_variables.*tensor 'b'"):
            xr.open_dataset(url)
        assert set(xr.open_dataset(url, drop_variables="b")) == {"a"}

    def test_what_is_no_array(self) -> None:
        url = written(lambda w: w.add_object("q", {"x": np.zeros(3)}, shape=(3,), format="mine"))
        with pytest.raises(zt.UnsupportedError, match=r"layout 'mine'.*drop_variables.*'q'"):
            xr.open_dataset(url)
        assert not xr.open_dataset(url, drop_variables=["q"])

    @pytest.mark.parametrize(
        ("attributes", "message"),
        [
            ({"coordinates": 5}, "CF conventions"),
            ({"units": "days since x"}, "CF conventions"),
            ({"_Encoding": "utf-8"}, r"'_Encoding'.*tensor 'a'"),
        ],
    )
    def test_attributes_that_mean_something_else(
        self, attributes: dict[str, Any], message: str
    ) -> None:
        url = written(lambda w: w.add_tensor("a", np.ones(3), attributes=attributes))
        with pytest.raises(zt.FormatError, match=f"{message}.*{url}") as caught:
            xr.open_dataset(url)
        assert "decode_cf=False" in str(caught.value)
        dataset = xr.open_dataset(url, decode_cf=False)
        assert dataset.a.attrs == attributes
        assert dataset.a.values.tolist() == [1, 1, 1]

    def test_options_for_a_reader_that_is_open(self, reader: zt.Reader) -> None:
        with pytest.raises(zt.InvalidInputError, match="storage_options"):
            xr.open_dataset(reader, engine="ztensor", storage_options={"a": 1})

    def test_no_such_file(self) -> None:
        with pytest.raises(FileNotFoundError):
            xr.open_dataset("memory://nowhere/a.zt")

    @pytest.mark.parametrize(
        ("name", "can"),
        [
            ("s3://bucket/a.zt", True),
            ("https://host/a.zt?version=3", True),
            (Path("a.zt"), True),
            ("a.nc", False),
            ("s3://bucket.zt/a.nc", False),
            (b"\0", False),
            (3, False),
        ],
    )
    def test_guesses(self, name: Any, can: bool) -> None:
        assert backend.Backend().guess_can_open(name) is can


class TestWriting:
    def test_comes_back(self, weather: Any) -> None:
        url = "memory://xarray/weather.zt"
        zt.xarray.to_zt(weather, url, compress=True)
        with xr.open_dataset(url) as back:
            xr.testing.assert_equal(back.load(), weather)
            assert back.t.attrs == {"units": "K"}
            assert back.attrs == {"title": "weather", "count": 3, "box": [1.5, 2]}
            assert back.wet.dtype == bool
            zt.xarray.to_zt(back, url)
        with xr.open_dataset(url) as again:
            xr.testing.assert_identical(again.load(), back)

    def test_missing_dates(self) -> None:
        dates = np.array(["2020-01-01", "NaT", "1999-12-31"], "M8[ns]")
        zt.xarray.to_zt(xr.Dataset({"seen": ("y", dates)}), "memory://xarray/dates.zt")
        with xr.open_dataset("memory://xarray/dates.zt") as back:
            assert (back.seen.isnull() == np.isnat(dates)).all()
            assert (back.seen.values[::2] == dates[::2]).all()

    def test_pieces_that_are_not_in_memory(self, weather: Any) -> None:
        da = pytest.importorskip("dask.array")
        rows = da.arange(30 * 8, chunks=8).reshape(30, 8).rechunk((4, 3))
        zt.xarray.to_zt(xr.Dataset({"rows": (("a", "b"), rows)}), "memory://xarray/rows.zt")
        with xr.open_dataset("memory://xarray/rows.zt", chunks={}) as lazy:
            assert (lazy.rows.values == np.arange(240).reshape(30, 8)).all()
            zt.xarray.to_zt(lazy[{"a": slice(None, None, -2)}], "memory://xarray/half.zt")
        with xr.open_dataset("memory://xarray/half.zt") as half:
            assert (half.rows.values == np.arange(240).reshape(30, 8)[::-2]).all()
            zt.xarray.to_zt(half.isel(a=[3, 1]), "memory://xarray/two.zt")
        with zt.open("memory://xarray/two.zt") as two:
            assert (two["rows"].numpy() == np.arange(240).reshape(30, 8)[::-2][[3, 1]]).all()

    @pytest.mark.parametrize(
        ("variable", "message"),
        [
            (("x", np.array([{1}, None])), "can't be stored"),
            (("x", np.array([b"a", b"b"])), "dtype 'bytes8'"),
            (("x", [1, 2], {"a": object()}), "attribute"),
            (("x", [1, 2], {"dims": "2"}), "'dims' can't be stored"),
        ],
        ids=["objects", "bytes", "attribute", "dims"],
    )
    def test_what_cant_be_stored(self, variable: Any, message: str) -> None:
        url = "memory://xarray/refused.zt"
        with pytest.raises(zt.InvalidInputError, match=f"{message}.*tensor 'bad'"):
            zt.xarray.to_zt(xr.Dataset({"good": ("x", [1, 2]), "bad": variable}), url)
        with pytest.raises(zt.NotFoundError):
            zt.open(url)

    def test_names_are_text(self) -> None:
        with pytest.raises(zt.InvalidInputError, match="3 is not"):
            zt.xarray.to_zt(xr.Dataset({3: ("x", [1])}), "memory://xarray/named.zt")
