"""Lazy tensors handed over by DLPack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import DTYPES, in_memory, mapping_of, numbers, same
from ztensor_remote.reader.arrays import is_foreign

SHAPE = (3, 5)
ARRAYS = {dtype: numbers(dtype, SHAPE) for dtype in DTYPES}
HANDED = [dtype for dtype in DTYPES if not is_foreign(ARRAYS[dtype].dtype)]


@pytest.mark.parametrize("place", ["local", "bytes", "fetched"])
@pytest.mark.parametrize("dtype", HANDED)
def test_numpy_takes_it(place: str, dtype: str, path: Path, stored: bytes) -> None:
    with zt.open({"local": path, "bytes": stored, "fetched": in_memory(stored)}[place]) as model:
        array = np.from_dlpack(model[dtype])
    assert same(array, ARRAYS[dtype])


@pytest.mark.parametrize("library", ["torch", pytest.param("jax", marks=pytest.mark.jax)])
def test_others_take_it(library: str, stored: bytes) -> None:
    take: Callable[[Any], Any] = {
        "torch": lambda tensor: pytest.importorskip("torch").from_dlpack(tensor),
        "jax": lambda tensor: pytest.importorskip("jax").dlpack.from_dlpack(tensor),
    }[library]
    with zt.open(in_memory(stored)) as model:
        for dtype in ("float32", "float16", "int8", "bool", "complex64"):
            assert same(np.asarray(take(model[dtype])), ARRAYS[dtype])


def test_a_local_file_is_mapped_for_one_who_may_write(path: Path, stored: bytes) -> None:
    torch = pytest.importorskip("torch")
    with zt.open(path) as model:
        tensor = torch.from_dlpack(model["float32"])
        assert mapping_of(tensor.data_ptr()) == ("rw-p", str(path))
        tensor.zero_()
        copy = np.from_dlpack(model["float32"], copy=True)
        assert mapping_of(copy.__array_interface__["data"][0])[1] != str(path)
    assert path.read_bytes() == stored


def test_the_device_is_the_cpu(stored: bytes) -> None:
    with zt.open(stored) as model:
        assert model["float32"].__dlpack_device__() == (1, 0)
        with pytest.raises(BufferError, match="CPU"):
            model["float32"].__dlpack__(dl_device=(2, 0))


def test_no_copy(path: Path, stored: bytes) -> None:
    with zt.open(path) as model:
        assert same(np.from_dlpack(model["int32"], copy=False), ARRAYS["int32"])
    with zt.open(in_memory(stored)) as model, pytest.raises(BufferError, match="new memory"):
        np.from_dlpack(model["int32"], copy=False)


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype not in HANDED])
def test_small_floats_are_refused_before_they_are_read(stored: bytes, dtype: str) -> None:
    with zt.open(in_memory(stored)) as model:
        before = model.stats
        with pytest.raises(
            zt.UnsupportedError, match=rf"{dtype} by DLPack; use .*tensor '{dtype}'"
        ):
            np.from_dlpack(model[dtype])
        assert model.stats == before


def test_a_closed_reader(path: Path) -> None:
    with zt.open(path) as model:
        tensor = model["float32"]
    with pytest.raises(zt.ClosedError):
        np.from_dlpack(tensor)
