"""Tensors for torch: every dtype it has, and no copy of a local file."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import DTYPES, in_memory, mapping_of, model_bytes, numbers, same
from ztensor_remote.reader import loading
from ztensor_remote.reader.memory import allocate

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

SHAPE = (3, 5)
IN_TORCH = [dtype for dtype in DTYPES if hasattr(torch, dtype)]
ARRAYS = {dtype: numbers(dtype, SHAPE) for dtype in DTYPES}


@pytest.mark.parametrize("place", ["local", "bytes", "fetched"])
@pytest.mark.parametrize("dtype", IN_TORCH)
def test_every_dtype(place: str, dtype: str, path: Path, stored: bytes) -> None:
    places = {"local": path, "bytes": stored, "fetched": in_memory(stored)}
    with zt.open(places[place]) as model:
        tensor = model[dtype].torch()
    assert (tensor.dtype, tuple(tensor.shape)) == (getattr(torch, dtype), SHAPE)
    assert bytes(tensor.view(torch.uint8).numpy()) == ARRAYS[dtype].tobytes()


def test_a_dtype_that_torch_lacks(path: Path) -> None:
    with (
        zt.open(path) as model,
        pytest.raises(zt.UnsupportedError, match="no dtype float4_e2m1fn"),
    ):
        model["float4_e2m1fn"].torch()


def test_a_device_can_be_named(path: Path) -> None:
    with zt.open(path) as model:
        assert model["float32"].torch(device="cpu").tolist() == ARRAYS["float32"].tolist()
        assert model["float32"].torch(device=torch.device("meta")).is_meta


class TestLocalFiles:
    @pytest.mark.parametrize("dtype", IN_TORCH)
    def test_are_mapped_and_not_copied(self, path: Path, dtype: str) -> None:
        with zt.open(path) as model:
            tensor = model[dtype].torch()
            assert mapping_of(tensor.data_ptr()) == ("rw-p", str(path))

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool"])
    def test_writing_reaches_neither_the_file_nor_other_views(
        self, path: Path, stored: bytes, dtype: str
    ) -> None:
        with zt.open(path) as model:
            view, first, second = (
                model[dtype].numpy(),
                model[dtype].torch(),
                model[dtype].torch(),
            )
            first.fill_(1)
            assert bool((first == 1).all())
            assert bytes(second.view(torch.uint8).numpy()) == ARRAYS[dtype].tobytes()
            assert same(view, ARRAYS[dtype])
            assert bytes(model[dtype].torch().view(torch.uint8).numpy()) == ARRAYS[dtype].tobytes()
        assert path.read_bytes() == stored

    def test_outlive_the_reader_and_the_file(self, path: Path) -> None:
        model = zt.open(path)
        tensor = model["int64"].torch()
        model.close()
        del model
        path.unlink()
        gc.collect()
        tensor += 1
        assert tensor.tolist() == (ARRAYS["int64"] + 1).tolist()

    def test_compressed_tensors_are_the_callers(self, tmp_path: Path) -> None:
        path = tmp_path / "model.zt"
        with zt.Writer(path, compress=True) as writer:
            writer.add_tensor("w", ARRAYS["float32"])
        with zt.open(path) as model:
            model["w"].torch().zero_()
            assert same(model["w"].numpy(), ARRAYS["float32"])


def test_what_was_fetched_is_writable_and_ones_own(stored: bytes) -> None:
    for place in (stored, in_memory(stored)):
        with zt.open(place) as model:
            model["int32"].torch().zero_()
            assert same(model["int32"].numpy(), ARRAYS["int32"])


@pytest.mark.parametrize("dtype", IN_TORCH)
def test_what_was_fetched_is_not_copied(
    dtype: str, stored: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[int] = []

    def noted(nbytes: int) -> memoryview:
        memory = allocate(nbytes)
        fetched.append(np.frombuffer(memory, np.uint8).ctypes.data)
        return memory

    monkeypatch.setattr(loading, "allocate", noted)
    with zt.open(in_memory(stored)) as model:
        tensors = [model[dtype].torch(), *model.load([dtype], to="torch").values()]
    assert fetched == [tensor.data_ptr() for tensor in tensors]


def test_scalars_and_empty_tensors(tmp_path: Path) -> None:
    path = tmp_path / "model.zt"
    path.write_bytes(model_bytes({"scalar": np.float64(3), "empty": np.zeros((0, 4), bool)}))
    for place in (path, path.read_bytes(), in_memory(path.read_bytes())):
        with zt.open(place) as model:
            assert model["scalar"].torch().item() == 3
            assert model["empty"].torch().shape == (0, 4)
            assert model["empty"].torch().dtype == torch.bool
