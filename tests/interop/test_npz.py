""".npy and .npz files, as NumPy writes them and reads them."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import in_memory
from tests.stores.backends import MakeBackend, Through
from ztensor_remote.interop import archive
from ztensor_remote.interop.npy import MAGIC

Save = Callable[..., None]

DTYPES = ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
PLAIN = np.arange(2 * 3 * 4).reshape(2, 3, 4)
ARRAYS = (
    {dtype: PLAIN.astype(dtype) for dtype in DTYPES}
    | {f">{dtype}": PLAIN.astype(f">{dtype}") for dtype in DTYPES}
    | {f"fortran {dtype}": np.asfortranarray(PLAIN.astype(dtype)) for dtype in ("f4", ">c16")}
    | {"scalar": np.array(1.5), "nothing": np.zeros((3, 0, 2), np.int16), "a/b": np.arange(5)}
)
REFUSED = {
    "objects": (np.array([None, {}], dtype=object), "Python objects, .* never are"),
    "records": (np.zeros(3, [("a", "f4"), ("b", "i4", (2,))]), "structured or opaque records"),
    "text": (np.array(["a", "bb"]), "holds text"),
    "strings": (np.array([b"a", b"bb"]), "byte strings"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), "dates"),
    "durations": (np.array([1], "m8[s]"), "durations"),
    "long doubles": (np.zeros(2, np.longdouble), "elements of the type f16"),
}
KEYS = [..., slice(1, None), (slice(None), 1), (..., slice(None, None, -2)), [1, 0, 1], (0, 1, 2)]


def npy(array: Any, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), version)
    return file.getvalue()


def npz(save: Save, arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


saved = pytest.mark.parametrize("save", [np.savez, np.savez_compressed])


class TestWhatNumpyWrites:
    @pytest.mark.parametrize("name", ARRAYS)
    def test_one_array(self, name: str) -> None:
        with zt.open(npy(ARRAYS[name])) as file:
            assert file.version == "npy" and list(file) == ["data"]
            check(file["data"], ARRAYS[name])

    @pytest.mark.filterwarnings("ignore:Stored array in format 2.0")
    @pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
    def test_every_version(self, version: tuple[int, int]) -> None:
        with zt.open(npy(PLAIN, version)) as file:
            check(file["data"], PLAIN)

    @saved
    def test_many_arrays(self, save: Save, tmp_path: Path) -> None:
        (tmp_path / "m.npz").write_bytes(npz(save, ARRAYS))
        theirs = np.load(tmp_path / "m.npz")
        with zt.open(tmp_path / "m.npz") as model:
            assert model.version == "npz" and list(model) == theirs.files
            for name in theirs.files:
                check(model[name], theirs[name])
            for name, array in model.load().items():
                np.testing.assert_array_equal(array, theirs[name])
            slices: dict[str, Any] = {"f8": np.s_[:, 1], "c8": 0}
            for name, array in model.load(slices=slices).items():
                np.testing.assert_array_equal(array, theirs[name][slices[name]])
            assert model.verify() == zt.Verification(len(ARRAYS), 0)
            for name in ("f4", ">i8", "fortran f4", "nothing"):
                np.testing.assert_array_equal(model[name].torch().numpy(), theirs[name])
            out = np.empty(PLAIN.shape, np.float32)
            model.read_into({"fortran f4": out})
            np.testing.assert_array_equal(out, PLAIN)

    @saved
    def test_arrays_that_are_no_tensors(self, save: Save) -> None:
        arrays = {name: array for name, (array, _) in REFUSED.items()}
        with zt.open(npz(save, arrays | {"w": PLAIN})) as model:
            for name, (array, why) in REFUSED.items():
                assert model[name].shape == array.shape
                with pytest.raises(zt.UnsupportedError, match=f"{why}.*tensor '{name}'"):
                    model[name].numpy()
                with pytest.raises(zt.UnsupportedError, match=why):
                    model[name][:1]
            assert model["text"].components["data"].read() == arrays["text"].tobytes()
            check(model["w"], PLAIN)

    def test_a_file_of_zip64(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
        data = npz(np.savez, {f"a{n}": PLAIN + n for n in range(5)})
        assert b"PK\x06\x06" in data
        with zt.open(data) as model:
            for n in range(5):
                check(model[f"a{n}"], PLAIN + n)

    def test_with_other_members_and_a_comment(self) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archived:
            archived.writestr("README", "not an array")
            archived.writestr("größe.npy", npy(PLAIN))
            archived.comment = b"PK\x05\x06 is no end"
        with zt.open(file.getvalue()) as model:
            assert list(model) == ["größe"]
            check(model["größe"], PLAIN)

    def test_nothing(self) -> None:
        with zt.open(npz(np.savez, {}), format="npz") as model:
            assert list(model) == []

    def test_sizes_that_python_2_wrote(self) -> None:
        data = npy(np.arange(3)).replace(b"(3,), }", b"(3L,),}")
        with zt.open(data) as file:
            check(file["data"], np.arange(3))


def check(tensor: zt.LazyTensor, array: Any) -> None:
    assert tensor.shape == array.shape
    assert tensor.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(tensor.numpy(), array)
    if array.ndim == 3 and array.size:
        for key in KEYS:
            np.testing.assert_array_equal(tensor[key], array[key])


class TestRecognition:
    def test_by_content_whatever_its_name(self, tmp_path: Path) -> None:
        for data, version in ((npy(PLAIN), "npy"), (npz(np.savez, {"a": PLAIN}), "npz")):
            for name in ("m.npy", "m.npz", "m.pt", "m", "m.safetensors"):
                (tmp_path / name).write_bytes(data)
                with zt.open(tmp_path / name) as model:
                    assert model.version == version
                    copy = pickle.loads(pickle.dumps(model))
                    assert copy.version == version

    def test_another_zip_file(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "m.zip", "w") as archived:
            archived.writestr("README", "not an array")
        with pytest.raises(zt.FormatError, match="not a zTensor file"):
            zt.open(tmp_path / "m.zip")
        with zt.open(tmp_path / "m.zip", format="npz") as model:
            assert not model


class TestRequests:
    def test_an_array_is_the_header_and_its_bytes(
        self, backend_of: MakeBackend, through: Through
    ) -> None:
        backend: Any = backend_of("moto")
        array = np.arange(200_000, dtype=np.float32).reshape(400, 500)
        backend.put("m.npy", npy(np.asfortranarray(array)))
        location, proxy = through(backend, "m.npy")
        with zt.open(location) as file:
            assert [r.response_bytes for r in proxy.requests] == [64 * 1024 + 40]
            proxy.clear()
            np.testing.assert_array_equal(file["data"][:, 7:9], array[:, 7:9])
            assert [r.response_bytes for r in proxy.requests] == [2 * 400 * 4]

    @saved
    def test_one_of_many_is_the_directory_and_its_bytes(
        self, save: Save, backend_of: MakeBackend, through: Through
    ) -> None:
        backend: Any = backend_of("moto")
        rng = np.random.default_rng(0)
        arrays = {f"a{n}": rng.standard_normal((100, 1000)) for n in range(4)}
        data = npz(save, arrays)
        sizes = {
            info.filename: info.compress_size
            for info in zipfile.ZipFile(io.BytesIO(data)).infolist()
        }
        backend.put("m.npz", data)
        location, proxy = through(backend, "m.npz")
        with zt.open(location) as model:
            first, *headers = [request.response_bytes for request in proxy.requests]
            assert first == 64 * 1024 + 40
            assert len(headers) <= 4 and sum(headers) < 4 * 1024
            proxy.clear()
            np.testing.assert_array_equal(model["a1"].numpy(), arrays["a1"])
            stored = 800_000 if save is np.savez else sizes["a1.npy"]
            assert [r.response_bytes for r in proxy.requests] == [stored]
            proxy.clear()
            np.testing.assert_array_equal(model["a2"][10:12], arrays["a2"][10:12])
            stored = 16_000 if save is np.savez else sizes["a2.npy"]
            assert [r.response_bytes for r in proxy.requests] == [stored]

    @pytest.mark.parametrize("store", ["http", "memory", "cached"])
    def test_from_other_places(self, store: str, backend_of: MakeBackend) -> None:
        backend = backend_of(store)
        backend.put("m.npz", npz(np.savez_compressed, ARRAYS))
        with zt.open(backend.location("m.npz")) as model:
            for name, array in ARRAYS.items():
                check(model[name], array)


class TestConversion:
    @saved
    @pytest.mark.parametrize("compress", [None, True])
    def test_to_ztensor(
        self, save: Save, compress: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ztensor_remote.reader.blocks._BLOCK", 40)  # so that there are several
        (tmp_path / "m.npz").write_bytes(npz(save, ARRAYS | {"text": np.array(["a"])}))
        zt.convert(tmp_path / "m.npz", tmp_path / "m.zt", compress=compress)
        with zt.open(tmp_path / "m.zt") as model:
            for name, array in ARRAYS.items():
                check(model[name], array)
            assert model["text"].format == "npy.U"
            assert model["text"].attributes == {"descr": "<U1"}
            assert model.verify().undigested == 0
        assert zt.diff(tmp_path / "m.npz", tmp_path / "m.zt") == []
        assert zt.content_id(tmp_path / "m.npz") == zt.content_id(tmp_path / "m.zt")


def literal(text: str | bytes, data: bytes = b"", version: int = 1) -> bytes:
    """Return a .npy file in whose header anything may stand."""
    header = text.encode("latin-1") if isinstance(text, str) else text
    width = "<H" if version == 1 else "<I"
    return MAGIC + bytes((version, 0)) + struct.pack(width, len(header)) + header + data


def header(descr: str, shape: str, order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


class TestHostileArrays:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "does not begin with"),
            (MAGIC, "cut off"),
            (MAGIC + b"\1\0\x10", "cut off"),
            (MAGIC + b"\2\0\x10\0\0", "cut off"),
            (literal(header("'<f4'", "(2,)"))[:40], "cut off"),
            (literal(header("'<f4'", "(2,)"), bytes(7)), "it is cut off"),
            (literal(header("'<f4'", "(1 << 40,)")), "no Python literal"),
            (literal(header("'<f4'", "(99999999999999,)")), "it is cut off"),
            (literal(header("'<f4'", "(9999999999, 9999999999)")), "overflows"),
            (literal(header("'<f4'", "(2.0,)")), "no tuple of sizes"),
            (literal(header("'<f4'", "(True,)")), "no tuple of sizes"),
            (literal(header("'<f4'", "(-1,)")), "no tuple of sizes"),
            (literal(header("'<f4'", "[1]")), "no tuple of sizes"),
            (literal(header("'<f4'", f"({'1,' * 65})")), "65 dimensions"),
            (literal(header("'<f4'", "()", "0")), "neither True nor False"),
            (literal(header("'f4'", "()")), "dtype 'f4' is unknown"),
            (literal(header("'<'", "()")), "dtype '<' is unknown"),
            (literal(header("4", "()")), "dtype '4' is unknown"),
            (literal("{'descr': '<f4'}"), "has not the keys"),
            (literal("[]"), "has not the keys"),
            (literal("__import__('os').system('true')"), "no Python literal"),
            (literal("(" * 5000), "no Python literal"),
            (literal("-" * 60_000 + "1"), "no Python literal"),
            (literal("9" * 60_000), "no Python literal"),
            (literal("\0"), "no Python literal"),
            (literal(b"'\xff'", version=3), "no Python literal"),
            (literal("{[]: 1}"), "no Python literal"),
            (literal("1" * 70_000, version=2), "is over 65536"),
            (MAGIC + b"\2\0" + struct.pack("<I", 0xFFFFFFFF), "is over 65536"),
        ],
    )
    def test_is_refused_with_a_reason(self, data: bytes, message: str) -> None:
        with pytest.raises(zt.FormatError, match=message):
            zt.open(data, format="npy")

    def test_a_later_version(self) -> None:
        with pytest.raises(zt.UnsupportedError, match=r"version 4\.0"):
            zt.open(literal("", version=4))

    def test_an_array_of_objects_is_named_and_not_unpickled(self) -> None:
        with zt.open(npy(np.array([Trap()], dtype=object))) as file:
            with pytest.raises(zt.UnsupportedError, match=r"unpickled, and never are.*'data'"):
                file["data"].numpy()
            assert file.verify() == zt.Verification(0, 1)


class Trap:
    """What may not come back from where it was pickled to."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("it was unpickled",)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytearray:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archived:
        for name, data in members.items():
            archived.writestr(name, data)
    return bytearray(file.getvalue())


def entry(data: bytearray, number: int = 0) -> int:
    """Return where an entry of the directory is."""
    at = -1
    for _ in range(number + 1):
        at = data.index(b"PK\x01\x02", at + 1)
    return at


def patched(data: bytearray, at: int, code: str, *values: int) -> bytes:
    struct.pack_into(code, data, at, *values)
    return bytes(data)


ONE = npy(np.arange(100))


def two() -> bytearray:
    return zipped({"a.npy": ONE, "b.npy": ONE})


class TestHostileArchives:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "no directory at its end"),
            (bytes(two()[:-1]), "no directory at its end"),
            (bytes(two()[:500]), "no directory at its end"),
            (bytes(two()[100:]), "the directory has .* and ends at"),
            (b"more" + bytes(two()), "the directory has .* and ends at"),
            (patched(two(), -6, "<I", 1 << 31), "the directory has .* and ends at"),
            (patched(two(), -14, "<2H", 3, 3), "more than the directory has room"),
            (patched(two(), -14, "<2H", 60_000, 60_000), "more than the directory has room"),
            (patched(two(), -14, "<2H", 1, 1), "more entries than it says"),
            (patched(d := two(), entry(d), "<I", 0), "the directory is damaged"),
            (patched(d := two(), entry(d) + 28, "<H", 60_000), "the directory is damaged"),
            (patched(d := two(), entry(d) + 20, "<2I", 1 << 30, 1 << 30), "overlaps what is at"),
            (patched(d := two(), entry(d) + 20, "<I", 10), "has 10 bytes, not"),
            (patched(d := two(), entry(d, 1) + 42, "<I", 0), "overlaps what is at 0"),
            (patched(d := two(), entry(d, 1) + 42, "<I", 500), "overlaps|is not at 500"),
            (patched(d := two(), entry(d, 1) + 42, "<I", 1 << 30), "overlaps what is at"),
            (patched(two(), 0, "<I", 0x04034B51), "'a.npy' is not at 0"),
            (patched(two(), 28, "<H", 60_000), "overlaps what is at"),
            (patched(two(), 8, "<H", 8), "'a.npy' is not at 0"),
            (bytes(two().replace(b"b.npy", b"a.npy")), "two members named 'a.npy'"),
            (bytes(zipped({"a.npy": b"12"})), "does not begin with"),
            (bytes(zipped({"a.npy": b""})), "does not begin with"),
            (bytes(zipped({"a.npy": ONE[:50]})), "cut off"),
            (bytes(zipped({"a.npy": ONE[:-1]})), "cut off"),
            (bytes(zipped({"a.npy": ONE[:-1]}, zipfile.ZIP_DEFLATED)), "cut off"),
        ],
    )
    def test_is_refused_with_a_reason(self, data: bytes, message: str) -> None:
        with pytest.raises(zt.FormatError, match=message):
            zt.open(data, format="npz")

    def test_an_encrypted_member(self) -> None:
        data = patched(d := two(), entry(d) + 8, "<H", 1)
        with pytest.raises(zt.UnsupportedError, match=r"'a\.npy' is stored encrypted"):
            zt.open(data, format="npz")

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_another_method(self, method: int) -> None:
        with pytest.raises(zt.UnsupportedError, match=f"by method {method}"):
            zt.open(bytes(zipped({"a.npy": ONE}, method)), format="npz")

    def test_a_disk_of_several(self) -> None:
        with pytest.raises(zt.UnsupportedError, match="split into several"):
            zt.open(patched(two(), -18, "<H", 1), format="npz")

    def test_a_long_directory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive, "MOST", 50)
        with pytest.raises(zt.LimitError, match="the most is 50"):
            zt.open(bytes(two()))

    def test_sizes_that_deflate_can_not_have(self) -> None:
        huge = literal(header("'|u1'", f"({1 << 31},)"))
        data = zipped({"a.npy": huge}, zipfile.ZIP_DEFLATED)
        size = len(huge) + (1 << 31)
        with pytest.raises(zt.FormatError, match="can't hold them"):
            zt.open(patched(data, entry(data) + 24, "<I", size), format="npz")

    def test_a_slice_is_decoded_no_further_than_to_its_end(self) -> None:
        array = np.random.default_rng(0).integers(0, 99, (1000, 100)).astype(">i4")
        data = npz(np.savez_compressed, {"a": array})
        with zt.open(data) as model:
            part = model["a"].components["data"]
            torn = bytearray(data)
            half = part.length // 2
            noise = np.random.default_rng(1).bytes(part.length - half)
            torn[part.offset + half : part.offset + part.length] = noise
        for place in (bytes(torn), in_memory(bytes(torn))):
            with zt.open(place) as model:
                np.testing.assert_array_equal(model["a"][3:100, ::-7], array[3:100, ::-7])
                with pytest.raises(zt.FormatError):
                    model["a"].numpy()

    @pytest.mark.parametrize("descr", ["'>U2'", "'|S1'"])
    def test_a_size_that_the_header_alone_exceeds(self, descr: str) -> None:
        data = zipped({"a.npy": literal(header(descr, "(2,)"), bytes(16))}, zipfile.ZIP_DEFLATED)
        with pytest.raises(zt.FormatError, match=r"its header \d+: it is cut off.*'a'"):
            zt.open(patched(data, entry(data) + 24, "<I", 0), format="npz")

    def test_a_bomb_is_bounded(self) -> None:
        count = 20 << 20
        whole = literal(header("'|u1'", f"({count},)")) + bytes(count)
        data = bytes(zipped({"a.npy": whole}, zipfile.ZIP_DEFLATED))
        assert len(data) < count // 1000
        with zt.open(data, limits=zt.Limits(max_decoded=10 << 20)) as model:
            for read in (model["a"].numpy, lambda: model["a"][:10]):
                with pytest.raises(zt.LimitError, match="the limit is 10485760"):
                    read()

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_damage_is_told_by_the_checksum(self, method: int, tmp_path: Path) -> None:
        data = zipped({"a.npy": npy(np.arange(50_000)), "b.npy": ONE}, method)
        at = len(data) // 2
        data[at : at + 1000] = bytes(1000)
        (tmp_path / "m.npz").write_bytes(data)
        for place in (bytes(data), tmp_path / "m.npz"):
            with zt.open(place) as model:
                np.testing.assert_array_equal(model["b"].numpy(), np.arange(100))
                for read in (model["a"].numpy, model.load, model.verify):
                    with pytest.raises(zt.DigestError, match=r"crc32:0x.*'a'"):
                        read()
            with zt.open(place, verify=False) as model:
                assert model["a"].numpy().shape == (50_000,)
