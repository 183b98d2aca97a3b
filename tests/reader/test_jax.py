"""Tensors for JAX: every dtype it has, and no copy on the CPU."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import DTYPES, in_memory, mapping_of, model_bytes, numbers, same, written
from ztensor_remote.reader.arrays import to_jax

pytestmark = pytest.mark.jax
jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")

SHAPE = (3, 5)
ARRAYS = {dtype: numbers(dtype, SHAPE) for dtype in DTYPES}
WIDE = [dtype for dtype in DTYPES if dtype.endswith("64") or dtype == "complex128"]
WIDE.remove("complex64")
PACKED = "float4_e2m1fn"  # which JAX packs in its own way


@pytest.fixture
def all_bits() -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def address_of(array: Any) -> int:
    address: int = array.unsafe_buffer_pointer()
    return address


@pytest.mark.parametrize("place", ["local", "bytes", "fetched"])
@pytest.mark.usefixtures("all_bits")
def test_every_dtype(place: str, path: Path, stored: bytes) -> None:
    with zt.open({"local": path, "bytes": stored, "fetched": in_memory(stored)}[place]) as model:
        loaded = model.load(to="jax", slices={"int8": np.s_[1:, ::2], "bool": np.s_[0, 3]})
        for dtype in DTYPES:
            assert isinstance(model[dtype].jax(), jax.Array)
            assert same(np.asarray(model.read_tensor(dtype, to="jax")), ARRAYS[dtype])
    part = {"int8": np.s_[1:, ::2], "bool": np.s_[0, 3]}
    for dtype, array in loaded.items():
        assert same(np.asarray(array), np.asarray(ARRAYS[dtype][part.get(dtype, ...)]))


def test_a_dtype_that_jax_lacks() -> None:
    with pytest.raises(zt.UnsupportedError, match="JAX has no dtype datetime64"):
        to_jax(np.zeros(2, "M8[s]"))


@pytest.mark.parametrize("dtype", WIDE)
def test_bits_are_not_dropped(stored: bytes, dtype: str) -> None:
    narrow = dtype.replace("128", "64") if dtype == "complex128" else dtype.replace("64", "32")
    with zt.open(stored) as model:
        message = rf"make {narrow} of {dtype}.*jax_enable_x64.*tensor '{dtype}'"
        with pytest.raises(zt.UnsupportedError, match=message):
            model[dtype].jax()
        with pytest.raises(zt.UnsupportedError, match=message):
            model.load([dtype], to="jax")


@pytest.mark.usefixtures("all_bits")
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != PACKED])
def test_is_the_mapped_file_or_what_was_read(path: Path, stored: bytes, dtype: str) -> None:
    with zt.open(path) as model:
        mapped = model[dtype].jax()
        assert mapping_of(address_of(mapped))[1] == str(path)
    with zt.open(in_memory(stored)) as model:
        array = model[dtype].numpy()
        assert address_of(to_jax(array)) == array.__array_interface__["data"][0]


@pytest.mark.usefixtures("all_bits")
def test_computing_reaches_neither_the_file_nor_other_arrays(path: Path, stored: bytes) -> None:
    with zt.open(path) as model:
        array = model["float32"].jax()
        added = jax.jit(lambda x: x + 1, donate_argnums=0)(array)
        assert same(np.asarray(added), ARRAYS["float32"] + 1)
        assert same(np.asarray(model["float32"].jax()), ARRAYS["float32"])
    assert path.read_bytes() == stored


def test_outlives_the_reader_and_the_file(path: Path) -> None:
    model = zt.open(path)
    array = model["int32"].jax()
    model.close()
    del model
    path.unlink()
    gc.collect()
    assert same(np.asarray(array + 1), ARRAYS["int32"] + 1)


def test_a_device_can_be_named(stored: bytes) -> None:
    [device] = jax.devices("cpu")[:1]
    with zt.open(stored) as model:
        assert model["float32"].jax(device).devices() == {device}


def test_scalars_and_empty_tensors() -> None:
    data = model_bytes({"scalar": np.float32(3), "empty": np.zeros((0, 4), bool)})
    with zt.open(data) as model:
        assert model["scalar"].jax().item() == 3
        assert (model["empty"].jax().shape, model["empty"].jax().dtype) == ((0, 4), bool)


@pytest.mark.parametrize("layout", ["csr", "coo"])
def test_sparse_tensors(layout: str) -> None:
    dense = np.array([[0, 1.5, 0, 0], [0, 0, 0, 0], [-2, 0, 0, 4.25]], np.float32)
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.csr_array(dense) if layout == "csr" else sparse.coo_array(dense)
    with zt.open(written(lambda writer: writer.add_tensor("t", matrix))) as model:
        found = model["t"].jax()
        assert type(found).__name__ == {"csr": "BCSR", "coo": "BCOO"}[layout]
        assert same(np.asarray(found.todense()), dense)
        assert type(model.load(to="jax")["t"]) is type(found)
        assert same(np.asarray(model.load(slices={"t": 2}, to="jax")["t"]), dense[2])


def test_arrays_of_jax_are_stored() -> None:
    arrays = {
        "brief": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3),
        "t": jnp.ones(3).at[0].set(2),
    }
    with zt.open(model_bytes(arrays)) as model:
        for name, array in model.load(to="jax").items():
            assert same(np.asarray(array), np.asarray(arrays[name]))


def test_takes_lazy_tensors_as_arrays(stored: bytes) -> None:
    with zt.open(stored) as model:
        assert same(np.asarray(jnp.asarray(model["bfloat16"])), ARRAYS["bfloat16"])
