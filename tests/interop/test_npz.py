""".npy and .npz files, as NumPy writes them and reads them."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.stores.backends import MakeBackend, Through

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
            assert model.verify() == zt.Verification(0, len(ARRAYS))
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
    if array.dtype.kind in "if":
        theirs = tensor.torch()
        assert theirs.shape == array.shape
        np.testing.assert_array_equal(theirs.numpy(), array)


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
