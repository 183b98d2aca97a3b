"""Datasets of HDF5 files that are stored in chunks, against what h5py reads."""

from __future__ import annotations

import io
import pickle
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zstandard

import ztensor_remote as zt
from tests.stores.backends import MakeBackend, Through
from ztensor_remote.interop import hdf5_chunks
from ztensor_remote.stores import Limits

FILTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gzip": {"compression": "gzip"},
    "shuffled": {"shuffle": True},
    "summed": {"fletcher32": True},
    "lzf": {"compression": "lzf"},
    "lzf-shuffled": {"compression": "lzf", "shuffle": True},
    "gzip-shuffled": {"compression": "gzip", "shuffle": True},
    "all": {"compression": "gzip", "shuffle": True, "fletcher32": True},
}
DTYPES = ["?", "i1", ">i2", "<i4", "u8", ">f8", "f2", "c8", ">c16", "<f4", ">u4"]
SHAPES = [((17,), (5,)), ((9, 7), (4, 7)), ((9, 7), (4, 3)), ((5, 4, 9), (2, 3, 4))]
SHAPES += [((3, 4, 5, 6), (2, 2, 2, 4)), ((4, 6), (2, 3)), ((1, 300), (1, 7))]
KEYS: list[Any] = [
    *(..., 0, -1, slice(1, None), slice(None, None, -2), slice(2, 1), [2, 0, 0], (..., 0)),
    *((..., slice(None, None, 3)), (..., None, slice(5, 1, -1)), np.s_[1:3, ..., 1:2]),
]


def random_array(shape: tuple[int, ...], dtype: str, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 4, shape) * rng.integers(0, 60, shape)).astype(dtype)


def in_memory(fill: Callable[[Any], object], **options: Any) -> bytes:
    memory = io.BytesIO()
    with h5py.File(memory, "w", **options) as file:
        fill(file)
    return memory.getvalue()


def check(data: bytes, *, keys: list[Any] | None = None) -> None:
    """Compare all datasets of a file with what h5py reads."""
    with h5py.File(io.BytesIO(data)) as file, zt.open(data, format="hdf5") as model:
        assert set(model) == set(file)
        for name, dataset in file.items():
            expected, tensor = dataset[()], model[name]
            assert tensor.dtype == dataset.dtype.newbyteorder("="), name
            np.testing.assert_array_equal(tensor.numpy(), expected, name)
            for key in keys or []:
                try:
                    some = expected[key]
                except IndexError:
                    continue
                found = tensor[key]
                np.testing.assert_array_equal(found, some, f"{name}[{key}]")
                assert (found.shape, found.dtype) == (some.shape, tensor.dtype)
        loaded = model.load(slices={name: ... for name in model})
        for name, dataset in file.items():
            np.testing.assert_array_equal(loaded[name], dataset[()], name)
        model.verify()


class TestWhatH5pyWrites:
    @pytest.mark.parametrize("filters", FILTERS)
    @pytest.mark.parametrize("libver", ["earliest", "latest"])
    def test_every_filter_shape_and_dtype(self, filters: str, libver: str) -> None:
        def fill(file: Any) -> None:
            for shape, chunks in SHAPES:
                for maximum in (None, (None, *shape[1:]), (None,) * len(shape)):
                    number = len(file)
                    file.create_dataset(
                        f"{number}",
                        data=random_array(shape, DTYPES[number % len(DTYPES)], number),
                        chunks=chunks,
                        maxshape=maximum,
                        **FILTERS[filters],
                    )

        check(in_memory(fill, libver=libver), keys=KEYS)

    @pytest.mark.parametrize("userblock", [0, 512])
    @pytest.mark.parametrize("libver", ["earliest", "latest"])
    def test_every_index_of_many_chunks(self, libver: str, userblock: int) -> None:
        """B-trees, single chunks, and implicit, fixed, and extensible arrays of several blocks."""
        array = random_array((2050, 3), "i2", 1)

        def fill(file: Any) -> None:
            for name, maximum in {
                "fixed": None,
                "extensible": (None, 3),
                "tree": (None, None),
            }.items():
                file.create_dataset(name, data=array, chunks=(1, 2), maxshape=maximum)
                file.create_dataset(
                    f"{name} packed", data=array, chunks=(1, 2), maxshape=maximum, shuffle=True
                )
            early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            early.set_chunk((1, 2))
            early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            space = h5py.h5s.create_simple(array.shape)
            h5py.h5d.create(file.id, b"implicit", h5py.h5t.STD_I16LE, space, early)
            file["implicit"][...] = array
            file.create_dataset("single", data=array, chunks=array.shape, compression="gzip")

        data = in_memory(fill, libver=libver, userblock_size=userblock)
        check(data, keys=[np.s_[1000:1040:7, 1], np.s_[-1]])

    @pytest.mark.parametrize("when", ["EARLY", "INCR", "LATE"])
    @pytest.mark.parametrize("libver", ["earliest", "latest"])
    def test_chunks_that_were_never_written_are_what_the_dataset_is_filled_with(
        self, libver: str, when: str
    ) -> None:
        def fill(file: Any) -> None:
            early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            early.set_alloc_time(getattr(h5py.h5d, f"ALLOC_TIME_{when}"))
            for dtype in DTYPES:
                for name, value in {"zero": None, "one": np.ones((), dtype)[()]}.items():
                    for part, chunks in {"part": (4, 4), "none": (2, 2), "at all": None}.items():
                        dataset = file.create_dataset(
                            *(f"{dtype} {name} {part}", (10, 9), dtype),
                            chunks=chunks,
                            fillvalue=value,
                            dcpl=early.copy() if part == "part" else None,
                        )
                        if part == "part":
                            dataset[5:7, 3:6] = 1
            file.create_dataset("scalar", (), "f4", fillvalue=1.5)
            file.create_dataset("nothing", (0, 5), "f4", chunks=(2, 2), maxshape=(None, 5))

        check(in_memory(fill, libver=libver), keys=[*KEYS, np.s_[:3, :3], np.s_[8:]])

    @pytest.mark.parametrize("libver", ["earliest", "latest"])
    def test_datasets_that_grew_and_shrank(self, libver: str) -> None:
        def fill(file: Any) -> None:
            for name in ("rows", "both"):
                maximum = (None, 6 if name == "rows" else None)
                dataset = file.create_dataset(
                    name, (4, 6), "i4", chunks=(3, 4), maxshape=maximum, fillvalue=-1
                )
                dataset[...] = np.arange(24).reshape(4, 6)
                dataset.resize((2, 6))
                dataset.resize((11, 6))
                dataset[9] = 5

        check(in_memory(fill, libver=libver), keys=KEYS)

    def test_filters_that_were_left_out_of_a_chunk(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, 4000, np.uint8)
        with h5py.File(io.BytesIO(), "w") as file:
            dataset = file.create_dataset("x", data=noise, chunks=(4000,), compression="lzf")
            assert dataset.id.get_chunk_info(0).filter_mask  # it could not be compressed

        def fill(file: Any) -> None:
            file.create_dataset("noise", data=noise, chunks=(1000,), compression="lzf")
            dataset = file.create_dataset(
                "mixed", (6,), "<i4", chunks=(2,), compression="gzip", shuffle=True
            )
            dataset[...] = np.arange(6)
            plain = np.array([8, 9], "<i4").tobytes()
            dataset.id.write_direct_chunk((2,), zlib.compress(plain), filter_mask=0b01)
            dataset.id.write_direct_chunk((4,), plain, filter_mask=0b11)

        check(in_memory(fill))

    def test_a_filter_of_others_is_named(self) -> None:
        def fill(file: Any) -> None:
            for code in (32001, 12345):
                plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                plist.set_chunk((2,))
                plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (3,))
                space = h5py.h5s.create_simple((4,))
                h5py.h5d.create(file.id, f"{code}".encode(), h5py.h5t.STD_I16LE, space, plist)

        with zt.open(in_memory(fill)) as model:
            for name, filter in {"32001": "blosc", "12345": "12345"}.items():
                with pytest.raises(zt.UnsupportedError, match=f"the filter {filter}, .*h5repack"):
                    model[name].numpy()

    def test_zstd_as_the_registered_filter_has_it(self) -> None:
        array = np.arange(1000, dtype=">i4").reshape(20, 50)

        def fill(file: Any) -> None:
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((10, 50))
            plist.set_shuffle()
            plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
            space = h5py.h5s.create_simple((20, 50))
            dataset = h5py.h5d.create(file.id, b"w", h5py.h5t.STD_I32BE, space, plist)
            for start in (0, 10):
                planes = array[start : start + 10].reshape(-1).view(np.uint8).reshape(-1, 4).T
                dataset.write_direct_chunk((start, 0), zstandard.compress(planes.tobytes()))

        with zt.open(in_memory(fill)) as model:
            np.testing.assert_array_equal(model["w"].numpy(), array)
            np.testing.assert_array_equal(model["w"][8:12, ::7], array[8:12, ::7])

    def test_an_old_library_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = in_memory(lambda file: file.create_dataset("w", data=np.arange(9), chunks=(2,)))
        monkeypatch.setattr(h5py.version, "hdf5_version_tuple", (1, 14, 3))
        with zt.open(data) as model, pytest.raises(zt.UnsupportedError, match=r"HDF5 1\.14\.4"):
            model["w"].numpy()


ARRAYS = {
    "a": random_array((40, 30), ">f4", 1),
    "b": random_array((7, 5, 6), "<i8", 2),
    "mask": random_array((40, 30), "?", 3),
}


class TestHowTheyAreUsed:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        with h5py.File(tmp_path / "m.h5", "w") as file:
            for name, array in ARRAYS.items():
                chunks = (8, 7) if array.ndim == 2 else (3, 2, 4)
                file.create_dataset(name, data=array, chunks=chunks, **FILTERS["all"])
        return tmp_path / "m.h5"

    def check(self, model: zt.Reader) -> None:
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(model[name].numpy(), array)
            np.testing.assert_array_equal(model[name][3:5, 2], array[3:5, 2])

    def test_read_into_memory_of_the_caller(self, path: Path) -> None:
        with zt.open(path) as model:
            out = {name: np.empty(each.shape, model[name].dtype) for name, each in ARRAYS.items()}
            model.read_into(out)
            for name, array in ARRAYS.items():
                np.testing.assert_array_equal(out[name], array)
                model[name].read_into(out[name])
                part = model[name].components["data"]
                assert part.chunks == ((8, 7) if array.ndim == 2 else (3, 2, 4))
                assert part.read() == out[name].tobytes()
                np.testing.assert_array_equal(model[name].torch().numpy(), array)

    @pytest.mark.parametrize("send_manifest", [False, True])
    def test_other_processes(self, path: Path, send_manifest: bool) -> None:
        with zt.open(path, send_manifest=send_manifest) as model:
            data = pickle.dumps((model["a"], model))
        tensor, reader = pickle.loads(data)
        np.testing.assert_array_equal(tensor[5:30:3], ARRAYS["a"][5:30:3])
        self.check(reader)
        path.with_suffix(".pkl").write_bytes(data)
        program = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))[0][3, 4])"
        said = subprocess.check_output([sys.executable, "-c", program, path.with_suffix(".pkl")])
        assert float(said) == ARRAYS["a"][3, 4]

    @pytest.mark.parametrize("ending", ["zt", "npz", "safetensors"])
    def test_they_are_converted(self, path: Path, ending: str) -> None:
        zt.convert(path, path.with_suffix(f".{ending}"))
        with zt.open(path.with_suffix(f".{ending}")) as made:
            self.check(made)
            assert all(part.encoding in ("raw", "zstd") for part in made["a"].components.values())
        assert zt.content_id(path) == zt.content_id(path.with_suffix(f".{ending}"))
        assert not zt.diff(path, path.with_suffix(f".{ending}"))

    def test_one_of_several_files(self, path: Path) -> None:
        np.save(path.with_name("n.npy"), np.arange(3))
        with zt.open([path, path.with_name("n.npy")]) as both:
            self.check(both)

    def test_a_cache_keeps_them(self, path: Path, tmp_path: Path) -> None:
        import fsspec

        memory = fsspec.filesystem("memory")
        memory.pipe_file("/hdf5/m.h5", path.read_bytes())
        for _ in range(2):
            with zt.open("memory://hdf5/m.h5", cache=tmp_path / "cache") as model:
                self.check(model)

    def test_large_ones_pass_by_rows_of_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from ztensor_remote.reader import blocks

        array = random_array((50, 20, 3), "<i4", 4)

        def fill(file: Any) -> None:
            file.create_dataset("x", data=array, chunks=(4, 6, 2), compression="gzip")
            file.create_dataset("thin", data=array, chunks=(1, 6, 2), compression="gzip")

        monkeypatch.setattr(blocks, "_BLOCK", 100)
        with zt.open(in_memory(fill)) as model:
            for name, shape in {"x": (4, 20, 3), "thin": (6, 3)}.items():
                parts = list(blocks.blocks(model[name]))
                assert parts[0].shape == shape
                assert b"".join(part.tobytes() for part in parts) == array.tobytes()

    def test_dask_and_xarray_cut_them_between_chunks(self, path: Path) -> None:
        pytest.importorskip("dask.array")
        xarray = pytest.importorskip("xarray")
        import dask.config

        from ztensor_remote import dask as zt_dask

        with zt.open(path) as model, dask.config.set({"array.chunk-size": "950B"}):
            lazy = zt_dask.array(model["a"])
            assert lazy.chunks == ((8,) * 5, (28, 2))
            np.testing.assert_array_equal(lazy.compute(), ARRAYS["a"])
            dataset = xarray.open_dataset(model, engine="ztensor", chunks={})
            assert dataset["a"].chunks == ((8,) * 5, (7, 7, 7, 7, 2))
            np.testing.assert_array_equal(dataset["a"].values, ARRAYS["a"])


def test_a_slice_costs_its_chunks(backend_of: MakeBackend, through: Through) -> None:
    backend: Any = backend_of("moto")
    array = np.random.default_rng(0).integers(0, 1 << 30, (64, 256, 256), np.int32)
    sizes: dict[tuple[int, ...], int] = {}

    def fill(file: Any) -> None:
        dataset = file.create_dataset(
            "x", data=array, chunks=(8, 128, 128), compression="gzip", compression_opts=1
        )
        dataset.id.chunk_iter(lambda each: sizes.__setitem__(each.chunk_offset, each.size))

    backend.put("m.h5", in_memory(fill, libver="latest"))
    location, proxy = through(backend, "m.h5")
    with zt.open(location) as model:
        proxy.clear()
        some = model["x"][9:15, 130:140, 5]
        np.testing.assert_array_equal(some, array[9:15, 130:140, 5])
        assert [r.response_bytes for r in proxy.requests] == [sizes[8, 128, 0]]
        proxy.clear()
        far = [7, 45]
        some = model["x"][far, 200:201, :100]
        np.testing.assert_array_equal(some, array[far, 200:201, :100])
        expected = [sizes[0, 128, 0], sizes[40, 128, 0]]
        assert sorted(r.response_bytes for r in proxy.requests) == sorted(expected)
        planned = model.plan(slices={"x": np.s_[7:46:38, 200:201, :100]})
        assert [each.length for each in planned.ranges] == expected


# --- what is wrong ------------------------------------------------------------------------------


def two_chunks(change: Callable[[Any], object] = lambda dataset: None, **options: Any) -> bytes:
    def fill(file: Any) -> None:
        dataset = file.create_dataset("w", data=np.arange(200), chunks=(100,), **options)
        change(dataset)

    return in_memory(fill)


def address_of(data: bytes, chunk: int) -> tuple[int, Iterator[re.Match[bytes]]]:
    """Return where a chunk is, and the places in the file that say so."""
    with h5py.File(io.BytesIO(data)) as file:
        offset = file["w"].id.get_chunk_info(chunk).byte_offset
    return offset, re.finditer(re.escape(offset.to_bytes(8, "little")), data)


class TestHostileFiles:
    @pytest.mark.parametrize("value", [1 << 20, (1 << 63) - 1, (1 << 64) - 2])
    def test_chunks_behind_the_end(self, value: int) -> None:
        data = two_chunks(compression="gzip")
        _, places = address_of(data, 1)
        [place] = places
        changed = bytearray(data)
        changed[place.start() : place.end()] = value.to_bytes(8, "little")
        with pytest.raises(zt.FormatError, match=r"the file ends at.*'w'|not a valid HDF5 file"):
            zt.open(bytes(changed))

    @pytest.mark.parametrize("value", [0, 1, 5000, (1 << 31) - 1, (1 << 32) - 1])
    def test_sizes_that_can_not_be(self, value: int) -> None:
        data = two_chunks()
        _, places = address_of(data, 1)
        [place] = places
        # A key of the tree: size, mask, and the offset on two axes, then the address.
        start = place.start() - 24
        changed = bytearray(data)
        assert changed[start : start + 4] == (800).to_bytes(4, "little")
        changed[start : start + 4] = value.to_bytes(4, "little")
        with pytest.raises(zt.FormatError, match=r"'w'|not a valid HDF5 file"):
            zt.open(bytes(changed))

    @pytest.mark.parametrize(
        ("stored", "why"),
        [
            (zlib.compress(bytes(1 << 20)), "holds more than"),
            (zlib.compress(bytes(799)), "ends after 799 of 800"),
            (zlib.compress(bytes(801)), "more than 800"),
            (b"\x78\x9c\xff\xff\xff", "not valid deflate"),
        ],
    )
    def test_chunks_that_are_not_what_they_must_be(self, stored: bytes, why: str) -> None:
        def change(dataset: Any) -> None:
            dataset.id.write_direct_chunk((100,), stored)

        data = two_chunks(change, compression="gzip")
        with zt.open(data) as model:
            np.testing.assert_array_equal(model["w"][:100], np.arange(100))
            with pytest.raises(zt.FormatError, match=f"{why}.*tensor 'w'"):
                model["w"].numpy()
            with pytest.raises(zt.FormatError, match=why):
                model.verify()

    def test_wrong_sums(self) -> None:
        data = two_chunks(fletcher32=True)
        offset, _ = address_of(data, 1)
        changed = bytearray(data)
        changed[offset + 8] ^= 1
        with zt.open(bytes(changed)) as model:
            with pytest.raises(zt.DigestError, match=r"Fletcher-32.*'w'"):
                model["w"][150]
            assert model["w"][50] == 50

    def test_more_chunks_than_there_may_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hdf5_chunks, "_MOST_CHUNKS", 1)
        with pytest.raises(zt.LimitError, match="more than 1 chunks"):
            zt.open(two_chunks())

    def test_what_would_become_too_large(self) -> None:
        def fill(file: Any) -> None:
            dataset = file.create_dataset("w", (1 << 40, 1000), "f8", chunks=(1000, 1000))
            dataset[7] = 1.5

        with zt.open(in_memory(fill)) as model:
            assert model["w"][7, 9] == 1.5 and model["w"][1 << 39, 9] == 0
            with pytest.raises(zt.LimitError, match="the limit is"):
                model["w"].numpy()
        with zt.open(in_memory(fill), limits=Limits(max_decoded=7_999_999)) as model:
            with pytest.raises(zt.LimitError, match="a chunk of it needs 8000000"):
                model["w"][7, 9]
            assert model["w"][1 << 39, 9] == 0

    def test_little_memory_is_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from ztensor_remote.codecs import unfilter
        from ztensor_remote.reader import tiling

        at_once, most, lock = 0, 0, threading.Lock()

        def counted(*arguments: Any) -> Any:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            try:
                return unfilter(*arguments)
            finally:
                with lock:
                    at_once -= 1

        monkeypatch.setattr(tiling, "unfilter", counted)
        data = in_memory(
            lambda file: file.create_dataset(
                "w", data=np.arange(100_000), chunks=(1000,), compression="gzip"
            )
        )
        with zt.open(data, limits=Limits(in_flight=3 * 2 * 8000)) as model:
            np.testing.assert_array_equal(model["w"].numpy(), np.arange(100_000))
        assert most <= 3
