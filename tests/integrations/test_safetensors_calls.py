"""The usual code of safetensors' users, with its import and with ours: both do the same."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import new_url
from tests.servers.s3 import S3Endpoint

pytestmark = pytest.mark.torch

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors")
nn = torch.nn


def calls(library: str, framework: str) -> SimpleNamespace:
    """Return the functions of a library, `safe_open` among them."""
    module = importlib.import_module(f"{library}.{framework}")
    found = {name: getattr(module, name) for name in ("load", "load_file", "save", "save_file")}
    if framework == "torch":
        found |= {"save_model": module.save_model, "load_model": module.load_model}
    return SimpleNamespace(
        **found,
        safe_open=safetensors.safe_open if library == "safetensors" else module.safe_open,
    )


@pytest.fixture(params=["safetensors", "ztensor_remote"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def for_numpy(library: str) -> SimpleNamespace:
    return calls(library, "numpy")


@pytest.fixture
def for_torch(library: str) -> SimpleNamespace:
    return calls(library, "torch")


ARRAYS = {
    "b": np.arange(24, dtype=np.float64).reshape(2, 3, 4),
    "a": np.arange(4, dtype=np.int8),
    "flags": np.array([True, False]),
    "scalar": np.array(3.5, np.float32),
    "half": np.arange(3, dtype=np.float16),
    "empty": np.zeros((0, 2), np.uint16),
    "waves": np.array([1 + 2j], np.complex64),
}


class TestNumpy:
    def test_there_and_back(self, for_numpy: SimpleNamespace, tmp_path: Path) -> None:
        path = tmp_path / "arrays"
        for_numpy.save_file(ARRAYS, path, metadata={"format": "np"})
        in_memory = for_numpy.load(for_numpy.save(ARRAYS))
        for loaded in (for_numpy.load_file(path), for_numpy.load_file(str(path)), in_memory):
            assert set(loaded) == set(ARRAYS)
            for name, array in ARRAYS.items():
                assert isinstance(loaded[name], np.ndarray)
                assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
                np.testing.assert_array_equal(loaded[name], array)
                assert loaded[name].flags.writeable

    def test_safe_open(self, for_numpy: SimpleNamespace, tmp_path: Path) -> None:
        for_numpy.save_file(ARRAYS, tmp_path / "arrays", metadata={"format": "np"})
        for framework in ("np", "numpy"):
            with for_numpy.safe_open(tmp_path / "arrays", framework=framework) as file:
                assert file.keys() == sorted(ARRAYS)
                assert sorted(file.offset_keys()) == sorted(ARRAYS)
                assert file.metadata() == {"format": "np"}
                np.testing.assert_array_equal(file.get_tensor("b"), ARRAYS["b"])
                assert sorted(file.get_tensors()) == sorted(ARRAYS)

    @pytest.mark.parametrize(
        "key",
        [
            np.s_[0],
            np.s_[-1],
            np.s_[1, 2, 3],
            np.s_[:, ::2],
            np.s_[..., 1],
            np.s_[:],
            np.s_[1:, 1:],
        ],
        ids=str,
    )
    def test_slices(self, for_numpy: SimpleNamespace, tmp_path: Path, key: Any) -> None:
        for_numpy.save_file(ARRAYS, tmp_path / "arrays")
        with for_numpy.safe_open(tmp_path / "arrays", "np") as file:
            part = file.get_slice("b")
            assert (part.get_shape(), part.get_dtype()) == ([2, 3, 4], "F64")
            assert isinstance(part[key], np.ndarray)
            np.testing.assert_array_equal(part[key], ARRAYS["b"][key])
            part[key][...] = 0  # it is one's own

    def test_names_of_dtypes(self, for_numpy: SimpleNamespace, tmp_path: Path) -> None:
        for_numpy.save_file(ARRAYS, tmp_path / "arrays")
        with for_numpy.safe_open(tmp_path / "arrays", "np") as file:
            names = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        wanted = {"b": "F64", "a": "I8", "flags": "BOOL", "scalar": "F32", "half": "F16"}
        assert names == wanted | {"empty": "U16", "waves": "C64"}

    def test_without_metadata(self, for_numpy: SimpleNamespace, tmp_path: Path) -> None:
        for_numpy.save_file({"a": np.zeros(1)}, tmp_path / "arrays")
        with for_numpy.safe_open(tmp_path / "arrays", "np") as file:
            assert file.metadata() is None

    def test_no_such_file(self, for_numpy: SimpleNamespace, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            for_numpy.load_file(tmp_path / "none")


TENSORS = {
    "brain": torch.randn(6, 4).bfloat16(),
    "tiny": torch.randn(5).to(torch.float8_e4m3fn),
    "flags": torch.tensor([True, False]),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
    "long": torch.arange(7),
}


def same(one: Any, other: Any) -> bool:
    return one.dtype == other.dtype and torch.equal(
        one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)
    )


class TestTorch:
    def test_there_and_back(self, for_torch: SimpleNamespace, tmp_path: Path) -> None:
        for_torch.save_file(TENSORS, tmp_path / "model", metadata={"format": "pt"})
        for loaded in (
            for_torch.load_file(tmp_path / "model"),
            for_torch.load_file(tmp_path / "model", device="cpu", backend="pread"),
            for_torch.load(for_torch.save(TENSORS)),
        ):
            assert set(loaded) == set(TENSORS)
            assert all(same(loaded[name], tensor) for name, tensor in TENSORS.items())

    def test_a_loop_over_safe_open(self, for_torch: SimpleNamespace, tmp_path: Path) -> None:
        for_torch.save_file(TENSORS, tmp_path / "model", metadata={"format": "pt"})
        loaded = {}
        with for_torch.safe_open(tmp_path / "model", framework="pt", device="cpu") as file:
            assert file.metadata()["format"] == "pt"
            for key in file.keys():  # noqa: SIM118
                loaded[key] = file.get_tensor(key)
        assert all(same(loaded[name], tensor) for name, tensor in TENSORS.items())

    def test_the_shards_of_ranks(self, for_torch: SimpleNamespace, tmp_path: Path) -> None:
        for_torch.save_file(TENSORS, tmp_path / "model")
        world, parts = 2, []
        for rank in range(world):
            with for_torch.safe_open(tmp_path / "model", framework="pt", device="cpu") as file:
                tensor_slice = file.get_slice("brain")
                vocabulary, _ = tensor_slice.get_shape()
                assert tensor_slice.get_dtype() == "BF16"
                block = vocabulary // world
                parts.append(tensor_slice[rank * block : (rank + 1) * block, :])
        assert torch.equal(torch.cat(parts), TENSORS["brain"])

    def test_what_can_not_be_saved(self, for_torch: SimpleNamespace, tmp_path: Path) -> None:
        whole = torch.zeros(4, 4)
        for tensors in (
            {"w": whole.t().contiguous().t()[:, :2]},
            {"w": "text"},
            [whole],
            {"w": whole.to_sparse()},
        ):
            with pytest.raises(ValueError):
                for_torch.save_file(tensors, tmp_path / "model")
        with pytest.raises(RuntimeError, match="share memory"):
            for_torch.save_file({"a": whole, "b": whole[1:]}, tmp_path / "model")
        for_torch.save_file({"a": whole[:2], "b": whole[2:]}, tmp_path / "model")


class Shared(nn.Module):
    """A tied weight, and a buffer that is a part of another one."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 5, bias=False)
        self.embed = nn.Embedding(5, 3)
        self.embed.weight = self.head.weight
        self.register_buffer("table", torch.randn(4, 4))
        self.register_buffer("corner", self.table[:2])


class TestModels:
    def test_shared_memory_is_stored_once(self, for_torch: SimpleNamespace, tmp_path: Path) -> None:
        model, other = Shared(), Shared()
        for_torch.save_model(model, tmp_path / "model", metadata={"step": "7"})
        with for_torch.safe_open(tmp_path / "model", framework="pt") as file:
            assert file.keys() == ["embed.weight", "table"]
            stand_ins = {"head.weight": "embed.weight", "corner": "table"}
            assert file.metadata() == stand_ins | {"step": "7"}
        missing, unexpected = for_torch.load_model(other, tmp_path / "model")
        assert (len(missing), len(unexpected)) == (0, 0)
        assert torch.equal(other.head.weight, model.head.weight)
        assert torch.equal(other.corner, model.corner)
        assert other.embed.weight is other.head.weight

    def test_dtypes_are_converted(self, for_torch: SimpleNamespace, tmp_path: Path) -> None:
        model = nn.Linear(3, 2)
        for_torch.save_model(model, tmp_path / "model")
        half = nn.Linear(3, 2).bfloat16()
        for_torch.load_model(half, tmp_path / "model")
        assert torch.equal(half.weight, model.weight.bfloat16())

    def test_strides_are_no_matter(self, for_torch: SimpleNamespace, tmp_path: Path) -> None:
        model = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
        other = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
        for_torch.save_model(model, tmp_path / "model")
        for_torch.load_model(other, tmp_path / "model")
        assert torch.equal(other.weight, model.weight)
        assert other.weight.is_contiguous(memory_format=torch.channels_last)

    def test_keys_that_do_not_fit(self, for_torch: SimpleNamespace, tmp_path: Path) -> None:
        for_torch.save_file({"weight": torch.ones(2, 3), "more": torch.ones(1)}, tmp_path / "model")
        model = nn.Linear(3, 2)
        with pytest.raises(RuntimeError, match=r"(?s)bias.*more"):
            for_torch.load_model(model, tmp_path / "model")
        missing, unexpected = for_torch.load_model(model, tmp_path / "model", strict=False)
        assert (sorted(missing), sorted(unexpected)) == (["bias"], ["more"])
        assert bool((model.weight == 1).all())

    def test_views_of_nothing_that_is_whole(
        self, for_torch: SimpleNamespace, tmp_path: Path
    ) -> None:
        model = nn.Module()
        whole = torch.zeros(4)
        model.register_buffer("a", whole[:3])
        model.register_buffer("b", whole[1:])
        with pytest.raises(RuntimeError):
            for_torch.save_model(model, tmp_path / "model")
        assert not (tmp_path / "model").exists()


class TestUrls:
    def test_s3(self, moto: S3Endpoint, bucket: Any) -> None:
        ours = calls("ztensor_remote", "torch")
        url = moto.uri(f"{bucket(moto)}/model.zt")
        options = {"storage_options": moto.storage_options}
        model, other = Shared(), Shared()
        ours.save_model(model, url, **options)
        ours.load_model(other, url, **options)
        assert torch.equal(other.head.weight, model.head.weight)
        assert set(ours.load_file(url, **options)) == {"embed.weight", "table"}
        with ours.safe_open(url, framework="np", **options) as file:
            assert file.get_slice("table")[1:2].shape == (1, 4)

    def test_slices_fetch_what_they_need(self) -> None:
        ours, url = calls("ztensor_remote", "numpy"), new_url()
        ours.save_file({"w": np.zeros((8, 1000), np.float32)}, url)
        with ours.safe_open(url, "np") as file:
            before = file._reader.stats.bytes
            file.get_slice("w")[2:4]
            assert file._reader.stats.bytes - before == 8000


class TestFilesOfSafetensors:
    def test_are_read_too(self, tmp_path: Path) -> None:
        theirs, ours = calls("safetensors", "torch"), calls("ztensor_remote", "torch")
        path = tmp_path / "model.safetensors"
        theirs.save_model(model := Shared(), path, metadata={"step": "7"})
        ours.load_model(other := Shared(), path)
        assert torch.equal(other.head.weight, model.head.weight)
        with ours.safe_open(path, "pt") as file, theirs.safe_open(path, "pt") as original:
            assert file.metadata() == original.metadata()
            assert file.keys() == original.keys()
            assert file.offset_keys() == original.offset_keys()


class TestErrors:
    def test_of_arguments(self, tmp_path: Path) -> None:
        ours = calls("ztensor_remote", "numpy")
        ours.save_file({"a": np.zeros(1)}, tmp_path / "a")
        with pytest.raises(zt.InvalidInputError, match="framework 'tf'"):
            ours.safe_open(tmp_path / "a", "tf")
        with pytest.raises(zt.InvalidInputError, match="backend 'gds'"):
            ours.load_file(tmp_path / "a", backend="gds")
        with pytest.raises(zt.InvalidInputError, match="metadata must be text"):
            ours.save_file({"a": np.zeros(1)}, tmp_path / "b", metadata={"step": 1})
        assert not (tmp_path / "b").exists()

    def test_no_such_tensor(self, tmp_path: Path) -> None:
        ours = calls("ztensor_remote", "numpy")
        ours.save_file({"a": np.zeros(1)}, tmp_path / "a")
        with (
            ours.safe_open(tmp_path / "a", "np") as file,
            pytest.raises(zt.TensorNotFoundError, match="'b'"),
        ):
            file.get_tensor("b")
