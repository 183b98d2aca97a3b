"""Content digests, differences and statistics, whatever the file and however large the tensor."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ztensor_remote as zt
from tests.cli.files import write_model
from tests.formats.expected import DATA
from ztensor_remote.container import Footer, Generation, build_footer

_MIB = 1 << 20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.zt"
    write_model(path)
    return path


def write(path: Path, version: Any = "1.2", **arrays: Any) -> Path:
    with zt.Writer(path, version=version) as w:
        for name, array in arrays.items():
            w.add_tensor(name, array)
    return path


# --- content digests ----------------------------------------------------------------------------


def test_content_ids_are_those_of_the_published_package() -> None:
    stated = json.loads((DATA / "fixtures" / "2.1.2-content-digests.json").read_text("utf-8"))
    known = {name: each["sha256"] for name, each in stated.items() if each}
    paths = [DATA / "fixtures" / "2.1.2" / name for name in known]
    there = [path for path in paths if path.exists()]
    assert len(there) > 10
    for path in there:
        assert zt.content_id(path) == known[path.name], path


def test_the_content_id_does_not_depend_on_how_it_is_stored(tmp_path: Path) -> None:
    arrays = {"a": np.arange(1000), "b": np.array([True, False]), "c": np.zeros((0, 3), np.int8)}
    first = write(tmp_path / "a.zt", **arrays)
    zt.convert(first, tmp_path / "b.zt", version="2", compress=True)
    zt.convert(first, tmp_path / "c.zt", version="1.0", checksum=None)
    ids = {zt.content_id(tmp_path / f"{name}.zt") for name in "abc"}
    assert len(ids) == 1
    arrays["a"][999] = 0
    assert zt.content_id(write(tmp_path / "d.zt", **arrays)) not in ids


def test_a_data_shard_has_no_content_id() -> None:
    shard = Generation.V2.magic + build_footer(Footer(Generation.V2, 0, 0, 0))
    assert zt.open(shard).manifest.is_data_shard
    with pytest.raises(zt.UnsupportedError, match="data shard"):
        zt.content_id(shard)


# --- differences --------------------------------------------------------------------------------


def test_the_same_tensors_stored_in_another_way_do_not_differ(model: Path, tmp_path: Path) -> None:
    zt.compress(model, tmp_path / "small.zt")
    zt.convert(model, tmp_path / "2.zt", version="2")
    assert zt.diff(model, tmp_path / "small.zt") == []
    assert zt.diff(model, tmp_path / "2.zt") == []


def test_tensors_without_elements_do_not_differ(tmp_path: Path) -> None:
    first = write(tmp_path / "a.zt", nothing=np.zeros((3, 0)))
    assert zt.diff(first, write(tmp_path / "b.zt", nothing=np.zeros((3, 0)))) == []


def test_each_kind_of_difference(tmp_path: Path) -> None:
    with zt.Writer(tmp_path / "a.zt") as w:
        w.add_tensor("gone", np.zeros(2))
        w.add_tensor("shape", np.zeros(2))
        w.add_tensor("dtype", np.zeros(2, np.int32))
        w.add_tensor("layout", np.eye(2), attributes={"same": 1})
        w.add_tensor("values", np.array([1.0, np.nan, 3.0]), attributes={"unit": "m", "same": 1})
        w.attributes["license"] = "MIT"
    with zt.Writer(tmp_path / "b.zt") as w:
        w.add_tensor("shape", np.zeros((2, 1)))
        w.add_tensor("dtype", np.zeros(2, np.uint32))
        w.add_sparse_csr(
            "layout", np.ones(2), np.arange(2), np.arange(3), (2, 2), attributes={"same": 1}
        )
        w.add_tensor("values", np.array([1.0, np.nan, 3.5]), attributes={"unit": "ft", "same": 1})
        w.add_tensor("new", np.zeros(2, ml_dtypes.bfloat16))
    assert zt.diff(tmp_path / "a.zt", tmp_path / "b.zt") == [
        zt.Difference(None, "attributes", {"license": "MIT"}, {}),
        zt.Difference("dtype", "dtype", "int32", "uint32"),
        zt.Difference("gone", "missing", "float64 [2]", None),
        zt.Difference("layout", "layout", "dense", "sparse_csr"),
        zt.Difference("new", "missing", None, "bfloat16 [2]"),
        zt.Difference("shape", "shape", [2], [2, 1]),
        zt.Difference("values", "attributes", {"unit": "m"}, {"unit": "ft"}),
        zt.Difference("values", "values", 1, 0.5),
    ]


def test_a_tolerance_compares_values_of_other_dtypes(tmp_path: Path) -> None:
    exact = np.linspace(0, 1, 1000, dtype=np.float32)
    first = write(tmp_path / "a.zt", w=exact)
    second = write(tmp_path / "b.zt", w=exact.astype(ml_dtypes.bfloat16))
    kinds = [[each.kind for each in zt.diff(first, second, rtol=r)] for r in (0, 1e-4, 1e-2)]
    assert kinds == [["dtype"], ["dtype", "values"], ["dtype"]]
    third = write(tmp_path / "c.zt", w=exact + np.float32(1e-4))
    [found] = zt.diff(first, third)
    assert found.second == pytest.approx(1e-4, rel=1e-2)
    assert zt.diff(first, third, atol=2e-4) == []
    with pytest.raises(zt.InvalidInputError):
        zt.diff(first, third, atol=-1)


def test_sparse_tensors_and_unknown_layouts(tmp_path: Path) -> None:
    for name, value in (("a", 2.0), ("b", 3.0)):
        with zt.Writer(tmp_path / f"{name}.zt") as w:
            w.add_sparse_coo("coo", [1.0, value], np.array([[0, 1], [1, 0]]), (2, 2))
            w.add_object("odd", {"x": np.array([value])}, shape=(1,), format="custom/1")
    found = zt.diff(tmp_path / "a.zt", tmp_path / "b.zt")
    assert [(each.tensor, each.kind, each.first) for each in found] == [
        ("coo", "values", 1),
        ("odd", "values", 1),
    ]


# --- statistics ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "bool", "bfloat16"])
def test_statistics_are_those_of_numpy(tmp_path: Path, dtype: str) -> None:
    made = np.random.default_rng(7).normal(0, 3, 5000)
    kind = getattr(ml_dtypes, dtype, None) or np.dtype(dtype)
    array = made.astype(kind)
    path = write(tmp_path / "a.zt", w=array.reshape(50, 100))
    found = zt.statistics(zt.open(path)["w"], bins=10)
    wide = array.astype(np.float64)
    assert (found.count, found.nan, found.inf) == (5000, 0, 0)
    assert found.zeros == np.count_nonzero(wide == 0)
    assert (found.minimum, found.maximum) == (wide.min(), wide.max())
    assert found.mean == pytest.approx(wide.mean())
    assert found.std == pytest.approx(wide.std())
    counts, edges = np.histogram(wide, 10)
    assert found.counts == tuple(counts)
    assert found.edges == pytest.approx(edges)


def test_what_is_not_finite_is_counted_apart(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.zt",
        w=np.array([1, np.nan, np.inf, -np.inf, 0.0]),
        none=np.array([np.nan]),
        empty=np.zeros(0),
    )
    with zt.open(path) as reader:
        found = zt.statistics(reader["w"], bins=2)
        assert (found.nan, found.inf, found.zeros) == (1, 2, 1)
        assert (found.minimum, found.maximum, found.counts) == (0, 1, (1, 1))
        for name in ("none", "empty"):
            assert zt.statistics(reader[name]).minimum is None
            assert zt.statistics(reader[name]).counts == ()


def test_what_has_no_order_is_refused(tmp_path: Path, model: Path) -> None:
    path = write(tmp_path / "a.zt", w=np.zeros(2, np.complex64))
    with pytest.raises(zt.UnsupportedError, match="no order"):
        zt.statistics(zt.open(path)["w"])
    assert zt.statistics(zt.open(model)["adjacency"]).count == 3


# --- memory -------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_tensors(tmp_path: Path) -> None:
    path = tmp_path / "big.zt"
    with (
        zt.Writer(path) as w,
        w.stream_tensor("big", (160, 256, 1024), "float32") as part,
    ):
        for number in range(160):
            part.write(np.full((256, 1024), number, np.float32))
    tracemalloc.start()
    try:
        with zt.open(path, mmap=False) as reader:
            found = zt.statistics(reader["big"])
            assert zt.diff(reader, path) == []
            zt.content_id(reader)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.mean, found.maximum, found.count) == (79.5, 159, 40 * _MIB)
    assert peak < 80 * _MIB
