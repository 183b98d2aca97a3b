"""Parts of many tensors in one load, and the plan of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.callbacks import Callback

import ztensor_remote as zt
from tests.reader.models import MEMORY, in_memory, model_bytes, numbers, same, written
from tests.stores.backends import MakeBackend, Through

RANDOM = np.random.default_rng(0)
ARRAYS: dict[str, Any] = {
    "matrix": np.arange(60_000, dtype=np.float32).reshape(300, 200),
    "compressed": np.repeat(np.arange(3000, dtype=np.float64), 400).reshape(3000, 400),
    "bools": RANDOM.random((40, 50)) > 0.5,
    "packed": numbers("float4_e2m1fn", (12, 10)),
    "bfloat": numbers("bfloat16", (33, 7)),
    "scalar": np.array(3, np.int16),
    "nothing": np.zeros((0, 5)),
}
SLICES: dict[str, Any] = {
    "matrix": np.s_[:, 10:20],
    "compressed": np.s_[1000:1010, ::7],
    "bools": np.s_[::-3, 1:],
    "packed": np.s_[5],
    "bfloat": np.s_[[3, 1, 3]],
    "scalar": (),
    "nothing": np.s_[:, 2],
}


def model_of(version: str) -> bytes:
    def add(writer: zt.Writer) -> None:
        for name, array in ARRAYS.items():
            if version == "2" or name != "packed":
                writer.add_tensor(name, array, compress=3 if name == "compressed" else None)

    data: bytes = MEMORY.cat_file(written(add, version=version))
    return data


@pytest.fixture(params=["1.2", "2"])
def data(request: pytest.FixtureRequest) -> bytes:
    return model_of(request.param)


@pytest.fixture(params=["fetched", "bytes", "local"])
def model(request: pytest.FixtureRequest, data: bytes, tmp_path: Path) -> zt.Reader:
    if request.param == "fetched":
        return zt.open(in_memory(data))
    if request.param == "bytes":
        return zt.open(data)
    (tmp_path / "model.zt").write_bytes(data)
    return zt.open(tmp_path / "model.zt")


class TestLoading:
    def test_what_numpy_gives_for_the_same_keys(self, model: zt.Reader) -> None:
        keys = {name: key for name, key in SLICES.items() if name in model}
        loaded = model.load(slices=keys)
        assert list(loaded) == list(keys)
        for name, key in keys.items():
            assert same(loaded[name], ARRAYS[name][key]), name
            assert same(model[name][key], ARRAYS[name][key]), name

    def test_others_whole(self, model: zt.Reader) -> None:
        loaded = model.load(model, slices={"matrix": SLICES["matrix"]})
        assert list(loaded) == list(model)
        for name, array in loaded.items():
            assert same(array, ARRAYS[name][SLICES["matrix"]] if name == "matrix" else ARRAYS[name])

    def test_names_and_a_prefix_decide(self, model: zt.Reader) -> None:
        assert list(model.load(["bools"], slices=SLICES)) == ["bools"]
        keys = {name: key for name, key in SLICES.items() if name in model}
        assert list(model.load(prefix="b", slices=keys)) == ["bools", "bfloat"]

    def test_torch(self, model: zt.Reader) -> None:
        torch = pytest.importorskip("torch")
        keys = {name: SLICES[name] for name in ("matrix", "compressed", "bools", "scalar")}
        keys |= {"matrix": np.s_[::-2, 3]}
        for name, tensor in model.load(slices=keys, to="torch").items():
            assert isinstance(tensor, torch.Tensor)
            assert same(tensor.numpy(), np.asarray(ARRAYS[name][keys[name]]))

    def test_sparse_ones(self) -> None:
        scipy = pytest.importorskip("scipy.sparse")
        matrix = scipy.random_array((50, 60), density=0.1, rng=1)
        model = zt.open(in_memory(model_bytes({"a": matrix.tocsr(), "b": np.arange(9)})))
        loaded = model.load(slices={"a": np.s_[3:9, ::2], "b": np.s_[2:4]})
        assert same(loaded["a"], matrix.toarray()[3:9, ::2])
        assert same(loaded["b"], np.arange(2, 4))

    def test_tied_weights(self) -> None:
        weight = np.arange(40_000).reshape(200, 200)
        model = zt.open(in_memory(model_bytes({"a": weight, "b": weight}, dedup=True)))
        loaded = model.load(model, slices={"a": np.s_[:, :3]})
        assert same(loaded["a"], weight[:, :3])
        assert same(loaded["b"], weight)

    def test_nothing_is_read_where_a_key_is_wrong(self) -> None:
        model = zt.open(in_memory(model_of("1.2")))
        before = model.stats.requests
        with pytest.raises(IndexError):
            model.load(slices={"bools": np.s_[0], "matrix": np.s_[300]})
        with pytest.raises(zt.TensorNotFoundError, match="did you mean 'matrix'"):
            model.load(slices={"bools": np.s_[0], "matrx": np.s_[0]})
        with pytest.raises(zt.InvalidInputError, match="to='jpeg'"):
            model.load(slices={"bools": np.s_[0]}, to="jpeg")  # type: ignore[arg-type]
        assert model.stats.requests == before

    def test_small_slices_do_not_keep_what_was_read_over(self) -> None:
        model = zt.open(in_memory(model_of("1.2")))
        column = model.load(slices={"matrix": np.s_[:, 5]})["matrix"]
        owner = column
        while owner.base is not None and isinstance(owner.base, np.ndarray):
            owner = owner.base
        assert owner.nbytes < 2 * column.nbytes + 128


class TestProgress:
    def test_it_ends_where_it_was_said_to(self, model: zt.Reader) -> None:
        callback = Callback()
        keys = {name: key for name, key in SLICES.items() if name in model}
        model.load(model, slices=keys, callback=callback)
        assert callback.size is not None
        assert callback.value == callback.size


class TestPlan:
    def test_it_is_what_load_then_does(self, backend_of: MakeBackend, through: Through) -> None:
        backend = backend_of("moto")
        arrays = {f"layer.{n}": np.full((64, 256), n, np.float32) for n in range(40)}
        backend.put("model.zt", model_bytes(arrays))
        place, proxy = through(backend, "model.zt")  # type: ignore[arg-type]
        with zt.open(place) as model:
            keys = {name: np.s_[:, n % 200 : n % 200 + 32] for n, name in enumerate(arrays)}
            requests, nbytes = model.stats.requests, model.stats.bytes
            proxy.clear()
            plan = model.plan(slices=keys)
            assert proxy.requests == []
            loaded = model.load(slices=keys)
            assert model.stats.requests - requests == plan.requests == len(proxy.requests)
            assert model.stats.bytes - nbytes == plan.bytes
            assert sorted(request.range or "" for request in proxy.requests) == sorted(
                f"bytes={each.offset}-{each.offset + each.length - 1}" for each in plan.ranges
            )
            assert {each.url for each in plan.ranges} == {model.url}
            assert plan.wanted == 40 * 64 * 32 * 4
            assert plan.over_read == plan.bytes / plan.wanted
            assert plan.requests < len(arrays)  # not one a tensor, let alone one a row
            for name, key in keys.items():
                assert same(loaded[name], arrays[name][key])

    def test_rows_are_read_to_the_byte(self) -> None:
        model = zt.open(in_memory(model_bytes({"w": ARRAYS["matrix"]})))
        plan = model.plan(slices={"w": np.s_[100:200]})
        assert (plan.requests, plan.bytes, plan.over_read) == (1, 100 * 800, 1.0)
        assert repr(plan) == "<ReadPlan: 1 requests, 78.1 KiB, 1.00 times what is needed>"

    def test_mapped_files_cost_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "model.zt").write_bytes(model_of("1.2"))
        with zt.open(tmp_path / "model.zt") as model:
            plan = model.plan()
        assert (plan.requests, plan.bytes, plan.wanted, plan.over_read) == (0, 0, 0, 1.0)

    def test_a_closed_reader(self) -> None:
        model = zt.open(in_memory(model_of("1.2")))
        model.close()
        with pytest.raises(zt.ClosedError):
            model.plan()
