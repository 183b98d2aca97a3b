"""A lazy tensor: what it says before anything is read, and what reading gives."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.formats.expected import DATA
from tests.reader.models import DTYPES, IN_1_0, in_memory, mapping_of, model_bytes, numbers, same

SHAPE = (3, 4)
ARRAYS = {
    **{dtype: numbers(dtype, SHAPE) for dtype in DTYPES},
    "scalar": np.float32(2.5),
    "empty": np.zeros((3, 0, 4), np.int16),
    "odd f4": numbers("float4_e2m1fn", (3, 3)),
}
BIG_ENDIAN = DATA / "fixtures" / "0.1.4" / "rust_big_endian.zt"

sources = pytest.mark.parametrize("model", ["local", "bytes", "fetched"], indirect=True)
local = pytest.mark.parametrize("model", ["local"], indirect=True)
fetched = pytest.mark.parametrize("model", ["fetched"], indirect=True)


@pytest.fixture(scope="module")
def stored() -> bytes:
    return model_bytes(ARRAYS)


@pytest.fixture
def path(tmp_path: Path, stored: bytes) -> Path:
    path = tmp_path / "model.zt"
    path.write_bytes(stored)
    return path


@pytest.fixture
def model(request: pytest.FixtureRequest, path: Path, stored: bytes) -> Iterator[zt.Reader]:
    place: dict[str, Callable[[], Any]] = {
        "local": lambda: path,
        "bytes": lambda: stored,
        "fetched": lambda: in_memory(stored),
    }
    with zt.open(place[request.param]()) as reader:
        yield reader


class TestWhatItSays:
    @sources
    def test_attributes_of_an_array(self, model: zt.Reader) -> None:
        before = model.stats
        for name, array in ARRAYS.items():
            tensor = model[name]
            assert (tensor.name, tensor.shape, tensor.dtype) == (name, array.shape, array.dtype)
            assert (tensor.ndim, tensor.size, tensor.nbytes) == (
                array.ndim,
                array.size,
                array.nbytes,
            )
            assert (tensor.format, tensor.layout) == ("dense", "dense")
        assert model.stats == before

    @local
    def test_repr(self, model: zt.Reader) -> None:
        assert repr(model["bfloat16"]) == "<LazyTensor 'bfloat16' bfloat16 (3, 4) dense, 24 B>"
        assert repr(model["scalar"]) == "<LazyTensor 'scalar' float32 () dense, 4 B>"

    @local
    def test_length_is_that_of_the_first_axis(self, model: zt.Reader) -> None:
        assert len(model["int8"]) == 3
        with pytest.raises(TypeError, match="scalar"):
            len(model["scalar"])

    @fetched
    @pytest.mark.parametrize("loop", [iter, list, lambda tensor: 3 in tensor, lambda t: [*t]])
    def test_iteration_is_refused(self, model: zt.Reader, loop: Callable[[Any], Any]) -> None:
        before = model.stats
        with pytest.raises(TypeError, match="not iterable"):
            loop(model["int8"])
        assert model.stats == before

    @local
    def test_attributes_can_not_be_changed(self, model: zt.Reader) -> None:
        assert model["int8"].attributes == {}
        with pytest.raises(TypeError):
            model["int8"].attributes["key"] = 1  # type: ignore[index]


class TestComponents:
    @sources
    def test_of_a_dense_tensor(self, model: zt.Reader) -> None:
        part = model["complex64"].components["data"]
        assert (part.role, part.dtype, part.logical_type) == ("data", np.float32, "complex64")
        assert (part.length, part.decoded_length, part.encoding) == (96, 96, "raw")
        assert part.digest is not None and part.digest.startswith("crc32c:")
        assert part.shard is None and part.offset % 64 == 0
        assert part.read() == ARRAYS["complex64"].tobytes()
        assert same(part.numpy(), ARRAYS["complex64"].ravel())
        assert repr(part) == (
            "<LazyComponent 'data' of 'complex64': f32 as complex64, "
            f"96 bytes at {part.offset}, raw>"
        )

    @local
    def test_the_mapping_of_roles(self, model: zt.Reader) -> None:
        components = model["int8"].components
        assert [*components] == ["data"]
        with pytest.raises(KeyError):
            components["values"]

    @sources
    def test_packed_elements_come_one_a_byte(self, model: zt.Reader) -> None:
        assert model["odd f4"].components["data"].length == 5
        assert model["odd f4"].nbytes == 9
        assert same(model["odd f4"].numpy(), ARRAYS["odd f4"])


class TestNumpy:
    @sources
    @pytest.mark.parametrize("name", ARRAYS)
    def test_is_what_went_in(self, model: zt.Reader, name: str) -> None:
        assert same(model[name].numpy(), np.asarray(ARRAYS[name]))

    @pytest.mark.parametrize("version", ["1.0", "1.2", "2"])
    @pytest.mark.parametrize("compress", [False, True])
    def test_in_every_version(self, version: str, compress: bool) -> None:
        dtypes = IN_1_0 if version == "1.0" else DTYPES
        arrays = {dtype: numbers(dtype, SHAPE) for dtype in dtypes}
        with zt.open(in_memory(model_bytes(arrays, version=version, compress=compress))) as model:
            assert all(same(model[name].numpy(), arrays[name]) for name in arrays)

    @sources
    def test_a_scalar_stays_one(self, model: zt.Reader) -> None:
        tensor = model["scalar"]
        assert same(tensor.numpy(), np.array(2.5, np.float32))
        assert same(tensor[()], np.float32(2.5))
        assert same(tensor[...], np.array(2.5, np.float32))
        assert tensor.torch().shape == ()

    @sources
    def test_zero_elements(self, model: zt.Reader) -> None:
        tensor = model["empty"]
        assert same(tensor.numpy(), ARRAYS["empty"])
        assert tensor[1].shape == (0, 4)
        assert tensor.torch().shape == (3, 0, 4)
        out = np.zeros((3, 0, 4), np.int16)
        tensor.read_into(out)

    def test_big_endian_data_comes_in_native_order(self) -> None:
        wanted = np.array([[0.0, 1.5, -2.25], [np.inf, -0.0, 3.0]], np.float32)
        for place in (BIG_ENDIAN, BIG_ENDIAN.read_bytes(), in_memory(BIG_ENDIAN.read_bytes())):
            with zt.open(place) as model:
                tensor = model["f32_be"]
                assert same(tensor.numpy(), wanted)
                assert same(tensor[1:, ::2], wanted[1:, ::2])
                assert same(tensor.torch().numpy(), wanted)
                out = np.empty_like(wanted)
                tensor.read_into(out)
                assert same(out, wanted)
                with pytest.raises(ValueError, match="new memory"):
                    np.asarray(tensor, copy=False)


class TestArrayProtocol:
    @sources
    def test_as_an_array(self, model: zt.Reader) -> None:
        tensor, array = model["int32"], ARRAYS["int32"]
        assert same(np.asarray(tensor), array)
        assert same(np.asarray(tensor, np.float64), array.astype(np.float64))
        assert same(np.add(tensor, 1), array + 1)
        assert same(np.stack([tensor, tensor]), np.stack([array, array]))

    @sources
    def test_a_copy_is_ones_own(self, model: zt.Reader) -> None:
        first, second = np.array(model["int32"]), np.array(model["int32"], copy=True)
        assert not np.shares_memory(first, second)
        first[...] = 7
        second[...] = 8
        assert same(model["int32"].numpy(), ARRAYS["int32"])

    @pytest.mark.parametrize("model", ["local", "bytes"], indirect=True)
    def test_no_copy_where_none_is_needed(self, model: zt.Reader) -> None:
        tensor = model["int32"]
        for array in (np.asarray(tensor, copy=False), np.asarray(tensor, np.int32, copy=False)):
            assert np.shares_memory(array, tensor.numpy())

    @sources
    @pytest.mark.parametrize("name", ["odd f4", "float4_e2m1fn"])
    def test_packed_elements_can_not_go_uncopied(self, model: zt.Reader, name: str) -> None:
        with pytest.raises(ValueError, match="new memory"):
            np.asarray(model[name], copy=False)

    @sources
    def test_another_dtype_can_not_go_uncopied(self, model: zt.Reader) -> None:
        with pytest.raises(ValueError, match="needs a copy"):
            np.asarray(model["int32"], np.int64, copy=False)

    @fetched
    def test_what_can_not_go_uncopied_is_not_fetched(self, model: zt.Reader) -> None:
        before = model.stats
        with pytest.raises(ValueError, match="new memory"):
            np.asarray(model["int32"], copy=False)
        assert model.stats == before


class TestViewsOfLocalFiles:
    @local
    def test_are_the_mapping_itself(self, model: zt.Reader, path: Path) -> None:
        for name, array in ARRAYS.items():
            if array.size and "f4" not in name and "float4" not in name:
                address = model[name].numpy().__array_interface__["data"][0]
                assert mapping_of(address) == ("r--s", str(path))

    @local
    def test_slices_are_views_too(self, model: zt.Reader) -> None:
        tensor = model["float64"]
        assert np.shares_memory(tensor[1:, ::2], tensor.numpy())
        assert np.shares_memory(tensor[1], tensor.numpy())

    @pytest.mark.parametrize("model", ["local", "bytes"], indirect=True)
    def test_can_not_be_written_to(self, model: zt.Reader) -> None:
        for array in (model["int8"].numpy(), model["int8"][1:]):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.flags.writeable = True

    @local
    def test_outlive_the_reader_and_the_file(self, model: zt.Reader, path: Path) -> None:
        array, row, tensor = model["int8"].numpy(), model["int8"][1], model["int8"].torch()
        model.close()
        path.unlink()
        gc.collect()
        assert same(array, ARRAYS["int8"])
        assert same(row, ARRAYS["int8"][1])
        assert tensor.tolist() == ARRAYS["int8"].tolist()

    @local
    def test_a_file_that_is_replaced_keeps_its_old_bytes_here(
        self, model: zt.Reader, path: Path
    ) -> None:
        with zt.Writer(path) as writer:
            writer.add_tensor("int8", ARRAYS["int8"] + 1)
        assert same(model["int8"].numpy(), ARRAYS["int8"])
        assert same(model["int16"][1:], ARRAYS["int16"][1:])

    @local
    def test_a_file_that_was_cut_off_is_an_error(self, model: zt.Reader, path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(64)
        with pytest.raises(zt.ObjectChangedError):
            model["int8"].numpy()
        with pytest.raises(zt.ObjectChangedError):
            model["int8"][1:]

    @fetched
    def test_what_was_fetched_is_the_callers(self, model: zt.Reader) -> None:
        for array in (model["int8"].numpy(), model["int8"][1:]):
            array[...] = 1
        assert same(model["int8"].numpy(), ARRAYS["int8"])

    def test_bytes_are_not_copied(self) -> None:
        held = np.frombuffer(model_bytes({"w": np.arange(9)}), np.uint8)
        with zt.open(held.data) as model:
            assert np.shares_memory(model["w"].numpy(), held)


class TestCompressed:
    def test_sizes_are_those_of_the_elements(self) -> None:
        arrays = {"w": np.zeros((64, 64)), "empty": np.zeros((0, 3))}
        with zt.open(in_memory(model_bytes(arrays, compress=True))) as model:
            tensor = model["w"]
            part = tensor.components["data"]
            assert part.encoding == "zstd" and part.length < 200
            assert tensor.nbytes == part.decoded_length == 64 * 64 * 8
            assert model["empty"].nbytes == 0
            assert same(tensor[3:5, 1], np.zeros(2))
            with pytest.raises(ValueError, match="new memory"):
                np.asarray(tensor, copy=False)

    def test_more_than_the_limit_is_refused(self) -> None:
        data = model_bytes({"w": np.zeros((64, 64))}, compress=True)
        with zt.open(data, limits=zt.Limits(max_decoded=32_000)) as model:
            with pytest.raises(zt.LimitError, match="max_decoded"):
                model["w"].numpy()
            assert math.prod(model["w"].shape) == 4096
