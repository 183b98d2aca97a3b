"""A reader: a mapping of names, and reading many tensors at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from fsspec.callbacks import Callback

import ztensor_remote as zt
from tests.reader.models import in_memory, model_bytes, numbers, same

ARRAYS = {
    "layers.0.bias": numbers("float32", (7,)),
    "layers.0.weight": numbers("bfloat16", (7, 5)),
    "layers.1.bias": numbers("float32", (7,)),
    "layers.1.weight": numbers("float4_e2m1fn", (7, 5)),
    "mask": numbers("bool", (9,)),
}
SPARSE = sp.csr_array(np.eye(3, dtype=np.float32))
ATTRIBUTES = {"license": "MIT", "steps": 12}


@pytest.fixture(scope="module")
def stored() -> bytes:
    return model_bytes({**ARRAYS, "sparse": SPARSE}, ATTRIBUTES)


@pytest.fixture(params=["local", "fetched"])
def model(request: pytest.FixtureRequest, tmp_path: Path, stored: bytes) -> Iterator[zt.Reader]:
    (tmp_path / "model.zt").write_bytes(stored)
    place = tmp_path / "model.zt" if request.param == "local" else in_memory(stored)
    with zt.open(place) as reader:
        yield reader


class TestMapping:
    def test_of_names_to_tensors(self, model: zt.Reader) -> None:
        names = [*ARRAYS, "sparse"]
        assert isinstance(model, Mapping)
        assert [*model] == model.tensor_names == [*model.keys()] == names
        assert len(model) == 6
        assert [tensor.name for tensor in model.values()] == names
        assert all(model[name] is tensor for name, tensor in model.items())
        assert "mask" in model and "masks" not in model and 3 not in model
        assert model.get("mask") is model["mask"] and model.get("masks") is None

    def test_two_readers_are_never_equal(self, model: zt.Reader, stored: bytes) -> None:
        with zt.open(stored) as other:
            assert model == model and model != other and len({model, other}) == 2

    @pytest.mark.parametrize("read", [zt.Reader.__getitem__, zt.Reader.metadata])
    def test_a_missing_name_gets_a_hint(self, model: zt.Reader, read: Callable[..., Any]) -> None:
        with pytest.raises(zt.TensorNotFoundError, match=r"did you mean 'layers\.0\.weight'\?"):
            read(model, "layers.0.weigth")
        with pytest.raises(KeyError) as caught:
            read(model, "nothing like it")
        assert "did you mean" not in str(caught.value) and model.url in str(caught.value)

    def test_what_the_file_says(self, model: zt.Reader, stored: bytes) -> None:
        assert dict(model.attributes) == ATTRIBUTES
        assert model.version == "1.2"
        assert model.identity.size == len(stored)
        with pytest.raises(TypeError):
            model.attributes["license"] = "none"  # type: ignore[index]

    def test_repr(self, stored: bytes) -> None:
        reader = zt.open(stored)
        assert repr(reader) == "<Reader <bytes>: 6 tensors, 221 B, zTensor 1.2>"
        reader.close()
        assert repr(reader) == "<Reader <bytes>: closed, 6 tensors, 221 B, zTensor 1.2>"

    def test_a_file_without_tensors(self) -> None:
        with zt.open(in_memory(model_bytes({}))) as empty:
            assert len(empty) == 0 and empty.load() == {}
            assert empty.verify() == zt.Verification(0, 0)

    def test_metadata_as_the_published_package_has_it(self, model: zt.Reader) -> None:
        dense, sparse = model.metadata("layers.0.weight"), model.metadata("sparse")
        assert (dense.name, dense.shape, dense.dtype_str) == ("layers.0.weight", (7, 5), "bfloat16")
        assert (dense.layout, dense.size, dense.encoding) == ("dense", 70, "raw")
        assert (dense.offset % 64, dense.endianness) == (0, "little")
        assert dense.dtype == ARRAYS["layers.0.weight"].dtype
        assert dense.checksum is not None and dense.checksum.startswith("crc32c:")
        assert (sparse.layout, sparse.encoding, sparse.size) == ("sparse_csr", None, 0)
        assert (sparse.dtype, sparse.dtype_str) == (np.float32, "float32")


class Recorder(Callback):  # type: ignore[misc]
    """What a progress bar would be told."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def relative_update(self, inc: int = 1) -> None:
        self.steps.append(inc)
        super().relative_update(inc)


class TestLoad:
    def test_everything(self, model: zt.Reader) -> None:
        loaded = model.load()
        assert [*loaded] == [*model]
        assert isinstance(loaded["sparse"], sp.csr_matrix)
        assert all(same(loaded[name], array) for name, array in ARRAYS.items())

    def test_by_prefix(self, model: zt.Reader) -> None:
        loaded = model.load(prefix="layers.1.")
        assert [*loaded] == ["layers.1.bias", "layers.1.weight"]
        assert model.load(prefix="none") == {}

    def test_by_name_in_the_order_asked_for(self, model: zt.Reader) -> None:
        assert [*model.load(["mask", "layers.0.bias"])] == ["mask", "layers.0.bias"]
        assert [*model.load(iter(["mask", "layers.0.bias"]), prefix="m")] == ["mask"]

    def test_for_torch(self, model: zt.Reader) -> None:
        torch = pytest.importorskip("torch")
        loaded = model.load(prefix="layers.0.", to="torch")
        assert loaded["layers.0.weight"].dtype == torch.bfloat16
        assert loaded["layers.0.bias"].tolist() == ARRAYS["layers.0.bias"].tolist()

    def test_tells_a_callback_each_stored_byte_once(self, model: zt.Reader) -> None:
        seen = Recorder()
        model.load(prefix="layers.", callback=seen)
        assert sorted(seen.steps) == [18, 28, 28, 70]
        assert seen.size == seen.value == 144

    def test_a_missing_name_is_found_before_anything_is_read(self, model: zt.Reader) -> None:
        before, seen = model.stats, Recorder()
        with pytest.raises(zt.TensorNotFoundError):
            model.load(["mask", "masks"], callback=seen)
        assert model.stats == before and seen.steps == []

    @pytest.mark.parametrize("to", ["tensorflow", None])
    def test_for_an_unknown_library(self, model: zt.Reader, to: Any) -> None:
        with pytest.raises(zt.InvalidInputError, match="use one of 'numpy', 'torch'"):
            model.load(["mask"], to=to)

    def test_the_first_error_names_its_tensor(self) -> None:
        arrays = {f"t{number}": np.arange(100) + number for number in range(40)}
        data = bytearray(model_bytes(arrays))
        with zt.open(bytes(data)) as good:
            data[good["t17"].components["data"].offset] ^= 1
        with zt.open(in_memory(bytes(data))) as model, pytest.raises(zt.DigestError) as caught:
            model.load()
        assert caught.value.tensor == "t17"


class TestReadInto:
    def test_fills_the_callers_memory(self, model: zt.Reader) -> None:
        torn = np.zeros((2, *SPARSE.shape), np.float32)
        out = {name: np.zeros_like(array) for name, array in ARRAYS.items()}
        model.read_into({**out, "sparse": torn[1]})
        assert all(same(out[name], array) for name, array in ARRAYS.items())
        assert same(torn[1], SPARSE.toarray()) and not torn[0].any()

    def test_of_a_scalar_and_of_nothing(self) -> None:
        arrays = {"scalar": np.array(3.5), "empty": np.zeros((2, 0), np.int8)}
        out = {"scalar": np.zeros(()), "empty": np.zeros((2, 0), np.int8)}
        with zt.open(in_memory(model_bytes(arrays))) as model:
            model.read_into(out)
        assert out["scalar"] == 3.5

    def test_of_compressed_data(self) -> None:
        array, out = np.arange(3000).reshape(3, 1000), np.zeros((3, 1000), np.int64)
        with zt.open(in_memory(model_bytes({"w": array}, compress=True))) as model:
            model["w"].read_into(out)
        assert same(out, array)

    @pytest.mark.parametrize(
        "out",
        [
            np.zeros((5, 7), np.float32),
            np.zeros(7, np.float64),
            np.zeros(7, ">f4"),
            np.zeros((7, 2), np.float32)[:, 0],
            np.broadcast_to(np.float32(0), (7,)),
            [0.0] * 7,
            bytearray(28),
        ],
        ids=["shape", "dtype", "byte order", "strides", "read-only", "list", "bytearray"],
    )
    def test_refuses_memory_that_does_not_fit(self, model: zt.Reader, out: Any) -> None:
        before = model.stats
        with pytest.raises(zt.InvalidInputError) as caught:
            model.read_into({"layers.0.bias": out})
        assert caught.value.tensor == "layers.0.bias"
        assert model.stats == before

    def test_refuses_fortran_order(self, model: zt.Reader) -> None:
        out = np.zeros((7, 5), ARRAYS["layers.0.weight"].dtype, order="F")
        with pytest.raises(zt.InvalidInputError, match="C-contiguous"):
            model.read_into({"layers.0.weight": out})

    def test_a_missing_name(self, model: zt.Reader) -> None:
        with pytest.raises(zt.TensorNotFoundError):
            model.read_into({"masks": np.zeros(9, bool)})


READS: dict[str, Callable[[zt.Reader], Any]] = {
    "load": lambda model: model.load(),
    "read_tensor": lambda model: model.read_tensor("mask"),
    "read_into": lambda model: model.read_into({"mask": np.zeros(9, bool)}),
    "verify": lambda model: model.verify(),
    "enter": lambda model: model.__enter__(),
    "numpy": lambda model: model["mask"].numpy(),
    "asarray": lambda model: np.asarray(model["mask"]),
    "asarray uncopied": lambda model: np.asarray(model["mask"], copy=False),
    "slice": lambda model: model["mask"][1:3],
    "row": lambda model: model["layers.0.weight"][0],
    "torch": lambda model: model["layers.0.bias"].torch(),
    "scipy": lambda model: model["sparse"].scipy(),
    "tensor into": lambda model: model["mask"].read_into(np.zeros(9, bool)),
    "component": lambda model: model["mask"].components["data"].read(),
    "component array": lambda model: model["mask"].components["data"].numpy(),
}


class TestClosed:
    @pytest.mark.parametrize("read", READS)
    def test_refuses_to_read(self, model: zt.Reader, read: str) -> None:
        with model:
            pass
        with pytest.raises(zt.ClosedError, match="closed"):
            READS[read](model)

    def test_still_says_what_is_there(self, model: zt.Reader) -> None:
        model.close()
        model.close()
        assert [*model] == [*ARRAYS, "sparse"]
        assert model["mask"].shape == (9,) and dict(model.attributes) == ATTRIBUTES


class TestThreads:
    def test_sixteen_read_different_tensors(self, tmp_path: Path) -> None:
        arrays = {f"t{number}": np.arange(5_000) * number for number in range(64)}
        data = model_bytes(arrays)
        (tmp_path / "model.zt").write_bytes(data)
        for place in (tmp_path / "model.zt", in_memory(data)):
            with zt.open(place) as model, ThreadPoolExecutor(16) as pool:
                whole = pool.map(lambda name: model[name].numpy(), arrays)
                parts = pool.map(lambda name: model[name][10:4_000:3], arrays)
                assert all(map(same, whole, arrays.values()))
                assert all(map(same, parts, (a[10:4_000:3] for a in arrays.values())))

    def test_many_load_at_the_same_time(self, model: zt.Reader) -> None:
        with ThreadPoolExecutor(8) as pool:
            loads = [pool.submit(model.load, prefix="layers.") for _ in range(32)]
            for load in loads:
                assert all(same(array, ARRAYS[name]) for name, array in load.result().items())
