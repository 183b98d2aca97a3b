"""HDF5 files, as h5py writes them and reads them."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import h5py
import numpy as np
import pytest

import ztensor_remote as zt
from tests.cli.command import run
from tests.reader.models import MEMORY
from tests.stores.backends import MakeBackend, Through
from ztensor_remote.interop import hdf5, hdf5_view
from ztensor_remote.interop.hdf5_ahead import read_ahead
from ztensor_remote.interop.hdf5_view import View

if TYPE_CHECKING:
    from ztensor_remote.interop import Peek

PLAIN = np.arange(24).reshape(2, 3, 4)
DTYPES = ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
ARRAYS = (
    {dtype: PLAIN.astype(dtype) for dtype in DTYPES}
    | {f"group/big {dtype}": PLAIN.astype(f">{dtype}") for dtype in DTYPES}
    | {"scalar": np.array(1.5), "nothing": np.zeros((3, 0), np.int16)}
)


def made(**options: Any) -> tuple[io.BytesIO, Any]:
    memory = io.BytesIO()
    return memory, h5py.File(memory, "w", **options)


def check(model: zt.Reader, arrays: dict[str, Any]) -> None:
    for name, array in arrays.items():
        tensor = model[name]
        assert (tensor.shape, tensor.dtype) == (array.shape, array.dtype.newbyteorder("=")), name
        np.testing.assert_array_equal(tensor.numpy(), array)
        if array.ndim:
            np.testing.assert_array_equal(tensor[1:], array[1:])


class TestWhatH5pyWrites:
    @pytest.mark.parametrize("libver", ["earliest", "latest"])
    @pytest.mark.parametrize("userblock", [0, 512])
    def test_every_dtype(self, libver: str, userblock: int, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "m.h5", "w", libver=libver, userblock_size=userblock) as file:
            for name, array in ARRAYS.items():
                file[name] = array
        with zt.open(tmp_path / "m.h5") as model:
            assert model.version == "hdf5" and set(model) == set(ARRAYS)
            check(model, ARRAYS)
            model.verify()
        zt.convert(tmp_path / "m.h5", tmp_path / "m.zt")
        with zt.open(tmp_path / "m.zt") as model:
            check(model, ARRAYS)

    def test_one_chunk_that_is_all_of_it_is_raw(self) -> None:
        memory, file = made()
        array = np.arange(6000, dtype=np.int32).reshape(60, 100) // 7
        with file:
            file.create_dataset("plain", data=array, chunks=array.shape)
        with zt.open(memory.getvalue()) as model:
            check(model, {"plain": array})
            assert model["plain"].components["data"].encoding == "raw"

    def test_what_lies_elsewhere_is_refused_with_a_reason(self, tmp_path: Path) -> None:
        other = tmp_path / "other.h5"
        with h5py.File(other, "w") as file:
            file["x"] = np.arange(5)
        (tmp_path / "raw").write_bytes(bytes(40))
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file.create_dataset("scaled", data=np.arange(10), chunks=(5,), scaleoffset=0)
            file.create_dataset("external", (5,), "i8", external=[(str(tmp_path / "raw"), 0, 40)])
            layout = h5py.VirtualLayout((5,), "i8")
            layout[:] = h5py.VirtualSource(str(other), "x", (5,))
            file.create_virtual_dataset("virtual", layout)
            file["text"] = ["a", "bb"]
            file["records"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
            file["empty"] = h5py.Empty("f4")
            file["link"] = h5py.ExternalLink(str(other), "x")
            file["soft"] = h5py.SoftLink("/text")
        with zt.open(tmp_path / "m.h5") as model:
            assert "link" not in model and "soft" not in model
            for name, why in {
                "scaled": "the filter scaleoffset.*h5repack",
                "external": "in other files",
                "virtual": "in other datasets",
                "text": "no plain numbers",
                "records": "no plain numbers",
                "empty": "no elements",
            }.items():
                with pytest.raises(zt.UnsupportedError, match=f"{why}.*tensor '{name}'"):
                    model[name].numpy()

    def test_the_command_line_names_what_it_can_not_convert(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file.create_dataset("scaled", data=np.arange(10), chunks=(5,), scaleoffset=0)
        outcome = run("info", tmp_path / "m.h5", "--json")
        assert outcome.status == 0 and '"hdf5.filter.scaleoffset"' in outcome.stdout
        outcome = run("convert", "-f", "hdf5", tmp_path / "m.h5", "-o", tmp_path / "m.zt")
        assert outcome.status == 1 and "h5repack" in outcome.stderr
        assert "'scaled'" in outcome.stderr and not (tmp_path / "m.zt").exists()

    def test_attributes(self) -> None:
        memory, file = made()
        with file:
            file.attrs.update({"text": "grüß", "n": 7, "list": [1, 2], "flag": True, "b": b"x"})
            file["w"] = PLAIN
            file["w"].attrs["unit"] = "m"
            file.attrs["ref"] = file["w"].ref
        with zt.open(memory.getvalue()) as model:
            assert model.attributes == {
                "text": "grüß",
                "n": 7,
                "list": [1, 2],
                "flag": True,
                "b": "x",
            }
            assert model["w"].attributes == {"unit": "m"}

    def test_a_group_that_holds_itself(self) -> None:
        memory, file = made()
        with file:
            group = file.create_group("a")
            group["self"] = file
            group["w"] = PLAIN
            file["same"] = group["w"]
        with zt.open(memory.getvalue()) as model:
            assert list(model) == ["a/w"] or list(model) == ["same"]

    def test_without_h5py(self, monkeypatch: pytest.MonkeyPatch) -> None:
        memory, file = made()
        file.close()
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(zt.ZTensorError, match=r"pip install 'ztensor-remote\[hdf5\]'"):
            zt.open(memory.getvalue())


def test_a_dataset_is_the_metadata_and_its_bytes(backend_of: MakeBackend, through: Through) -> None:
    backend: Any = backend_of("moto")
    memory, file = made()
    arrays = {f"w{n}": np.full((300, 1000), n, np.float32) for n in range(3)}
    with file:
        for name, array in arrays.items():
            file[name] = array
    backend.put("m.h5", memory.getvalue())
    location, proxy = through(backend, "m.h5")
    with zt.open(location) as model:
        assert len(proxy.requests) <= 6 and proxy.response_bytes <= 6 * (64 * 1024 + 40)
        proxy.clear()
        np.testing.assert_array_equal(model["w1"].numpy(), arrays["w1"])
        np.testing.assert_array_equal(model["w2"][7:9], arrays["w2"][7:9])
        assert [r.response_bytes for r in proxy.requests] == [1_200_000, 8_000]


class TestWhatIsFetchedAhead:
    """h5py asks for one thing after another; of what was foreseen nothing is asked for alone."""

    @pytest.fixture
    def alone(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Return the pages that are not there when h5py asks for them, as they are asked for."""
        pages: list[int] = []
        page = View._page

        def noted(view: View, number: int) -> memoryview:
            if number not in view._pages:
                pages.append(number)
            return page(view, number)

        monkeypatch.setattr(View, "_page", noted)
        return pages

    def test_headers_of_objects_and_what_finds_their_members(self, alone: list[int]) -> None:
        memory, file = made()
        with file:
            for number in range(30):
                file[f"layers/{number:02}/w"] = np.full(50_000, number)
            file["first"] = PLAIN
        MEMORY.pipe_file("/hdf5/m.h5", memory.getvalue())
        with zt.open("memory://hdf5/m.h5") as model:
            assert list(model) == ["first", *(f"layers/{number:02}/w" for number in range(30))]
            assert len(alone) <= 3
            assert model["layers/17/w"][-1] == 17

    @pytest.mark.parametrize(("libver", "most"), [("earliest", 1), ("latest", 10)])
    def test_what_finds_chunks(self, libver: str, most: int, alone: list[int]) -> None:
        memory, file = made(libver=libver)
        array = np.arange(60_000, dtype=np.int32)
        with file:
            for name, maximum in {"a": None, "b": (None,), "c": None}.items():
                file.create_dataset(name, data=array, chunks=(20,), maxshape=maximum)
        MEMORY.pipe_file("/hdf5/m.h5", memory.getvalue())
        with zt.open("memory://hdf5/m.h5") as model:
            assert len(alone) <= most
            np.testing.assert_array_equal(model["b"][30_000:], array[30_000:])

    def test_what_is_not_understood_is_passed_over(self) -> None:
        rng = np.random.default_rng(0)
        peek = cast("Peek", SimpleNamespace(size=9000, read=lambda at, count: bytes(count)))
        for begin in (b"\1", b"OHDR", b"TREE\0\1", b"TREE\1\1", b"BTHD", b"HEAP", b""):
            for length in (0, 3, 20, 300):
                data = begin + rng.bytes(length)
                view = View(peek)
                view._pages = {0: memoryview(data), 1: memoryview(bytes(4096))}
                read_ahead(view, [0, 5000, 1 << 70], base=0)


class TestHostileFiles:
    @pytest.mark.parametrize("size", [0, 8, 100, 2000])
    def test_that_are_cut_off(self, size: int) -> None:
        memory, file = made()
        with file:
            file["w"] = np.arange(10_000)
        with pytest.raises(zt.FormatError, match=r"not a valid HDF5 file|cut off"):
            zt.open(memory.getvalue()[:size], format="hdf5")

    def test_that_are_too_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        memory, file = made()
        with file:
            file["w"] = np.arange(10)
        monkeypatch.setattr(hdf5_view, "_MOST_PAGES", 0)
        with pytest.raises(zt.LimitError, match="more than 0 MiB"):
            zt.open(memory.getvalue())
        monkeypatch.undo()
        monkeypatch.setattr(hdf5, "_MOST_OBJECTS", 1)
        with pytest.raises(zt.LimitError, match="more than 1 objects"):
            zt.open(memory.getvalue())

    def test_a_heap_that_has_no_end(self) -> None:
        memory, file = made()
        with file:
            file.attrs["k"] = "text of a length of its own"
        data = bytearray(memory.getvalue())
        start = data.index(b"GCOL")
        first = start + 16
        free = first + 16 + (int.from_bytes(data[first + 8 : first + 16], "little") + 7 & ~7)
        assert data[free : free + 2] == bytes(2) != data[free + 8 : free + 10]
        data[free + 8 : free + 16] = bytes(8)
        with pytest.raises(zt.FormatError, match="free space in a heap has no size"):
            zt.open(bytes(data))

    def test_there_is_nothing_but_zeros_behind_the_end(self) -> None:
        peek = cast("Peek", SimpleNamespace(size=10, read=lambda at, count: b"x" * count))
        buffer = bytearray(b"y" * 16)
        assert View(peek).readinto(buffer) == 10
        assert buffer == b"x" * 10 + bytes(6)

    def test_a_failed_read_does_not_crash_the_interpreter_at_its_end(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file["w"] = np.arange(10)
        program = (
            "import sys, ztensor_remote as zt\n"
            "from ztensor_remote.interop import hdf5_view\n"
            "hdf5_view._MOST_PAGES = 0\n"
            "try:\n    zt.open(sys.argv[1])\n"
            "except zt.LimitError as error:\n    kept = error\n"
        )
        ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "m.h5")])
        assert ended.returncode == 0
