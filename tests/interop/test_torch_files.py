"""PyTorch's files, as torch writes them and reads them, and as it wrote them long ago."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ztensor_remote as zt
from tests.reader.models import in_memory
from tests.stores.backends import MakeBackend, Through

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:ComplexHalf")

BASE = torch.arange(24.0).reshape(4, 6)
DTYPES = [
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"),
]
OF_DTYPES = {name: torch.arange(6.0).reshape(2, 3).to(getattr(torch, name)) for name in DTYPES}
VIEWS = {
    "tied": BASE,
    "again": BASE,
    "turned": BASE.t(),
    "part": BASE[1:3, ::2],
    "inner": BASE[2],
    "element": BASE[3, 5],
    "wide": torch.arange(3.0)[None, :].expand(5, 3),
    "diagonal": BASE.as_strided((4,), (7,)),
    "last": torch.randn(1, 3, 4, 4).to(memory_format=torch.channels_last),
    "nothing": torch.empty(0, 3),
    "scalar": torch.tensor(5),
    "parameter": torch.nn.Parameter(torch.ones(2, 2).t()),
    "buffer": torch.nn.Buffer(torch.ones(3)),
}
BOTH = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])


def saved(value: Any, is_zip: bool = True, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=is_zip, **options)
    return file.getvalue()


def check(ours: zt.LazyTensor, theirs: torch.Tensor) -> None:
    got = ours.torch()
    assert got.dtype == theirs.dtype and got.shape == theirs.shape
    assert bits(got) == bits(theirs)
    if theirs.ndim:
        key = slice(-1, None)
        assert ours[key].tobytes() == bits(theirs[key])


def bits(tensor: torch.Tensor) -> bytes:
    flat: Any = tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes())


class TestWhatTorchWrites:
    @BOTH
    def test_every_dtype(self, is_zip: bool) -> None:
        with zt.open(saved(OF_DTYPES, is_zip)) as file:
            assert file.version == "torch" and list(file) == DTYPES
            for name, tensor in OF_DTYPES.items():
                check(file[name], tensor)

    @BOTH
    def test_views_of_storages(self, is_zip: bool) -> None:
        with zt.open(saved(VIEWS, is_zip)) as file:
            for name, tensor in VIEWS.items():
                check(file[name], tensor)
            assert file["tied"].components["data"].offset == file["again"].components["data"].offset
            for name, tensor in file.load(to="torch").items():
                assert bits(tensor) == bits(VIEWS[name])
            np.testing.assert_array_equal(file["turned"][1:3, ::2], BASE.t()[1:3, ::2].numpy())

    @BOTH
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_a_checkpoint(self, is_zip: bool, protocol: int, tmp_path: Path) -> None:
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        moments = {0: {"step": torch.tensor(1.0), "exp_avg": torch.randn(4, 3)}}
        groups = [{"lr": 0.1, "betas": (0.9, 0.999), "foreach": None, "params": [0, 1, 2, 3]}]
        value = {
            "model": model.state_dict(),
            "optimizer": {"state": moments, "param_groups": groups},
            "epoch": 3,
            "args": {"lr": 0.1, "dtype": torch.bfloat16, "device": torch.device("cuda", 1)},
            "sizes": torch.Size([1, 2]),
            "rng": np.arange(200, dtype=np.uint8),
            "score": np.float64(0.5),
            "raw": b"\xff",
            "blob": torch.arange(3, dtype=torch.int16).untyped_storage(),
        }
        path = tmp_path / "checkpoint.ckpt"
        path.write_bytes(saved(value, is_zip, pickle_protocol=protocol))
        with zt.open(path) as file:
            for name, tensor in model.state_dict().items():
                check(file[f"model.{name}"], tensor)
            for name, tensor in moments[0].items():
                check(file[f"optimizer.state.0.{name}"], tensor)
            [group] = file.attributes["optimizer.param_groups"]
            assert group["betas"] == [0.9, 0.999] and group["params"] == [0, 1, 2, 3]
            assert file.attributes["epoch"] == 3 and file.attributes["raw"] == b"\xff"
            assert file.attributes["args"] == {
                "lr": 0.1,
                "dtype": "torch.bfloat16",
                "device": "cuda:1",
            }
            assert file.attributes["sizes"] == [1, 2] and file.attributes["score"] == 0.5
            np.testing.assert_array_equal(file["rng"].numpy(), value["rng"])
            assert file["blob"].numpy().tobytes() == np.arange(3, dtype=np.int16).tobytes()

    @BOTH
    def test_sparse(self, is_zip: bool) -> None:
        coo, csr = torch.eye(4)[:, :3].to_sparse(), torch.eye(4)[1:].to_sparse_csr()
        with zt.open(saved({"coo": coo, "csr": csr}, is_zip)) as file:
            assert torch.equal(file["coo"].torch().to_dense(), coo.to_dense())
            assert torch.equal(file["csr"].torch().to_dense(), csr.to_dense())
            np.testing.assert_array_equal(file["csr"].numpy(), csr.to_dense().numpy())

    def test_pairs_of_four_bits(self) -> None:
        packed = torch.tensor([[0x21, 0x43]], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
        with zt.open(saved({"a": packed})) as file:
            assert file["a"].shape == (1, 4)
            assert file["a"].numpy().astype(np.float32).tolist() == [[0.5, 1.0, 1.5, 2.0]]

    def test_views_with_gaps_cost_their_own_bytes(self) -> None:
        base = torch.arange(8 << 20, dtype=torch.int32).to(torch.uint8).reshape(8, 1 << 20)
        views = {"columns": base[:, 5:15], "turned": base[2:, 100:400:30].t()}
        with zt.open(in_memory(saved(views))) as file:
            for name, view in views.items():
                for read in (file[name].numpy, lambda name=name: file.load([name])[name]):
                    before = file.stats.bytes
                    np.testing.assert_array_equal(read(), view.numpy())
                    assert file.stats.bytes - before <= 8 * 271
                np.testing.assert_array_equal(file[name][1:3, ::-1], view[1:3].flip(1).numpy())
                into = np.empty(view.shape, np.uint8)
                file[name].read_into(into)
                np.testing.assert_array_equal(into, view.numpy())
            assert torch.equal(file["turned"].torch(), views["turned"])
            file.verify()

    @BOTH
    def test_complex_halves_are_of_twice_the_width_in_numpy(
        self, is_zip: bool, tmp_path: Path
    ) -> None:
        halves = torch.complex(torch.arange(12.0), torch.tensor(0.1)).to(torch.complex32)
        wanted = halves.to(torch.complex64).numpy().reshape(3, 4)
        tensors = {
            "a": halves.reshape(3, 4),
            "turned": halves.reshape(4, 3).t(),
            "none": halves[:0],
            "w": torch.ones(2),
        }
        with zt.open(saved(tensors, is_zip)) as file:
            assert file["a"].dtype == np.complex64 and file["a"].nbytes == 96
            into = np.empty((3, 4), np.complex64)
            file["a"].read_into(into)
            for array in (file["a"].numpy(), file.load()["a"], into):
                np.testing.assert_array_equal(array, wanted)
            np.testing.assert_array_equal(file["a"][1:, ::-2], wanted[1:, ::-2])
            np.testing.assert_array_equal(file["turned"][1], wanted.reshape(4, 3).T[1])
            loaded = file.load(to="torch")
            loaded["rows"] = file.load(slices={"a": np.s_[1:]}, to="torch")["a"]
            loaded["turned again"] = file["turned"].torch()
            again = {"rows": tensors["a"][1:], "turned again": tensors["turned"]}
            for name, tensor in (tensors | again).items():
                assert loaded[name].dtype == tensor.dtype
                assert torch.equal(loaded[name].cfloat(), tensor.cfloat())
            assert len(file["a"].components["data"].read()) == 48
            file.verify()
            for ending in ("zt", "npz", "safetensors"):
                zt.convert(file, tmp_path / f"m.{ending}")
                with zt.open(tmp_path / f"m.{ending}") as converted:
                    np.testing.assert_array_equal(converted["a"].numpy(), wanted)
                    np.testing.assert_array_equal(converted["turned"][1], wanted.reshape(4, 3).T[1])
            with zt.open(tmp_path / "m.zt") as converted:
                assert zt.content_id(converted) == zt.content_id(file)

    def test_damage_is_told_by_the_checksum(self) -> None:
        data = bytearray(saved(VIEWS))
        with zt.open(bytes(data)) as file:
            assert file.verify().checked and file["tied"].components["data"].digest
            data[file["tied"].components["data"].offset] ^= 1
        with zt.open(bytes(data)) as file:
            for name in ("tied", "turned"):
                with pytest.raises(zt.DigestError, match=f"crc32:0x.*'{name}'"):
                    file[name].numpy()
            file["wide"].numpy()

    def test_checksums_can_be_switched_off(self) -> None:
        torch.serialization.set_crc32_options(False)
        try:
            data = saved(VIEWS)
        finally:
            torch.serialization.set_crc32_options(True)
        with zt.open(data) as file:
            check(file["tied"], BASE)
            assert file["tied"].components["data"].digest is None

    def test_a_tensor_alone(self) -> None:
        with zt.open(saved(BASE)) as file:
            check(file["data"], BASE)

    def test_a_zip_file_made_anew(self, tmp_path: Path) -> None:
        """Not aligned, deflated, and without descriptors, as other programs pack it."""
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            value = {**VIEWS, "array": np.arange(100, dtype=np.uint8)}
            made = io.BytesIO()
            with (
                zipfile.ZipFile(io.BytesIO(saved(value))) as old,
                zipfile.ZipFile(made, "w", method) as new,
            ):
                for name in old.namelist():
                    new.writestr(name, old.read(name))
            with zt.open(made.getvalue()) as file:
                for name, tensor in VIEWS.items():
                    check(file[name], tensor)
                assert file["array"].numpy().tolist() == list(range(100))

    @pytest.mark.parametrize("protocol", [3, 4, 5])
    def test_what_pickle_dump_writes(self, protocol: int) -> None:
        """Each storage is a file of before zip files, in the midst of the pickle."""
        with zt.open(pickle.dumps({"views": VIEWS, **OF_DTYPES}, protocol)) as file:
            assert file.version == "pickle"
            for name, tensor in VIEWS.items():
                check(file[f"views.{name}"], tensor)
            for name, tensor in OF_DTYPES.items():
                check(file[name], tensor)
        with pytest.raises(zt.UnsupportedError, match="protocol 3 or later"):
            zt.open(pickle.dumps(VIEWS, 2))
        evil = Made(dumped(os.system), made=torch.storage._load_from_bytes)
        with pytest.raises(zt.UnsupportedError, match=r"'posix\.system' is no tensor"):
            zt.open(pickle.dumps(evil, protocol))

    def test_it_is_known_by_its_bytes(self, tmp_path: Path) -> None:
        for is_zip in (True, False):
            (tmp_path / "m").write_bytes(saved({"a": BASE}, is_zip))
            for format in ("auto", "torch", "pickle"):
                with zt.open(tmp_path / "m", format=format) as file:  # type: ignore[arg-type]
                    check(file["a"], BASE)
        with pytest.raises(zt.FormatError, match="no file of PyTorch"):
            zt.open(b"nothing of that kind", format="torch")


DATA = Path(__file__).parents[1] / "data" / "pickles"


class TestWhatOtherVersionsWrote:
    @pytest.mark.parametrize("path", sorted(DATA.glob("*.pt")), ids=lambda path: path.stem)
    def test_what_torch_wrote(self, path: Path) -> None:
        with zt.open(path) as file:
            assert {"epoch": 3, "lr": 0.5, "name": "grüß", "list": [1, [2, None]]}.items() <= (
                file.attributes.items()
            )
            for name, tensor in {
                "model.w": BASE,
                "model.b": BASE[1],
                "model.tied": BASE,
                "turned": BASE.t(),
                "part": BASE[1:3, ::2],
                "half": torch.arange(5).half(),
                "long": torch.arange(-2, 3),
                "mask": torch.tensor([1, 0, 1], dtype=torch.uint8),
                "scalar": torch.tensor(7),
                "nothing": torch.zeros(0, 3),
                "wide": torch.ones(3, 2),
                "parameter": torch.full((2, 2), 3.0),
                "bf16": torch.arange(5).bfloat16(),
            }.items():
                if name != "bf16" or name in file:
                    check(file[name], tensor)

    @pytest.mark.parametrize("path", sorted(DATA.glob("*.pkl")), ids=lambda path: path.stem)
    def test_what_python_wrote(self, path: Path) -> None:
        with zt.open(path) as file:
            assert {"n": 3, "s": "text", "scalar": 0.25}.items() <= file.attributes.items()
            names = ["w", "b"] if "python-2" in path.stem else ["w", "deep.0"]
            for name, dtype in zip(names, ("f4", "i2"), strict=True):
                if path.stem == "python-2-0":  # all bytes are escaped
                    with pytest.raises(zt.UnsupportedError, match=r"pickle\.escaped"):
                        file[name].numpy()
                else:
                    array = np.arange(6, dtype=dtype).reshape(2, 3)
                    np.testing.assert_array_equal(file[name].numpy(), array)


# --- what torch does not write any more -----------------------------------------------------------


class Id:
    """Stands for something outside of the pickle."""

    def __init__(self, *identity: Any) -> None:
        self.identity = identity


class Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.identity if isinstance(value, Id) else None


class Made:
    """Pickles as a call of a function of torch, with a storage that is none of torch's."""

    def __init__(self, *arguments: Any, made: Any = torch._utils._rebuild_tensor_v2) -> None:
        self.call = made, arguments

    def __reduce__(self) -> Any:
        return self.call


def dumped(value: Any) -> bytes:
    file = io.BytesIO()
    Pickler(file, 2).dump(value)
    return file.getvalue()


def floats(key: str, count: int, view: Any = None, *, kind: Any = torch.FloatStorage) -> Id:
    return Id("storage", kind, key, "cpu", count, view)


def legacy(
    value: Any,
    storages: dict[str, bytes],
    *,
    width: int = 4,
    little: bool = True,
    version: int = 1001,
) -> bytes:
    system = {"protocol_version": 1001, "little_endian": little, "type_sizes": {"int": 4}}
    pickles = (0x1950A86A20F9469CFC6C, version, system, value, sorted(storages))
    order = "<" if little else ">"
    return b"".join(map(dumped, pickles)) + b"".join(
        struct.pack(f"{order}q", len(storages[key]) // width) + storages[key]
        for key in sorted(storages)
    )


def archive(value: Any, storages: dict[str, bytes], **others: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("m/data.pkl", value if isinstance(value, bytes) else dumped(value))
        for name, data in others.items():
            made.writestr(f"m/{name}", data)
        for key, data in storages.items():
            made.writestr(f"m/data/{key}", data)
    return file.getvalue()


NUMBERS = np.arange(12, dtype="<f4")


class TestOldFiles:
    def test_views_of_storages(self) -> None:
        """PyTorch before 0.4 stored parts of a storage by themselves."""
        part = floats("7", 12, ("8", 4, 3))
        value = {
            "a": Made(floats("7", 12), 0, (12,), (1,), made=torch._utils._rebuild_tensor),
            "b": Made(part, 1, (2,), (1,), made=torch._utils._rebuild_tensor),
        }
        with zt.open(legacy(value, {"7": NUMBERS.tobytes()})) as file:
            np.testing.assert_array_equal(file["a"].numpy(), NUMBERS)
            np.testing.assert_array_equal(file["b"].numpy(), NUMBERS[5:7])

    @pytest.mark.parametrize("is_zip", [True, False])
    def test_big_endian(self, is_zip: bool) -> None:
        stored = {"0": NUMBERS.astype(">f4").tobytes(), "1": NUMBERS[:4].astype(">f4").tobytes()}
        value = {
            "a": Made(floats("0", 12), 0, (3, 4), (1, 3), False, {}),
            "c": Made(floats("1", 2, kind=torch.ComplexFloatStorage), 0, (2,), (1,), False, {}),
        }
        if is_zip:
            data = archive(value, stored, byteorder=b"big")
        else:
            data = legacy({"a": value["a"]}, {"0": stored["0"]}, little=False)
        with zt.open(data) as file:
            np.testing.assert_array_equal(file["a"].numpy(), NUMBERS.reshape(4, 3).T)
            if is_zip:
                np.testing.assert_array_equal(file["c"].numpy(), NUMBERS[:4].view("c8"))

    def test_several_storages(self) -> None:
        stored = {key: (NUMBERS + int(key)).tobytes() for key in ("10", "9", "11")}
        value = {key: Made(floats(key, 12), 0, (12,), (1,), False, {}) for key in stored}
        data = legacy(value, stored)
        assert torch.load(io.BytesIO(data))["9"][0] == 9  # so it is what torch takes for one
        with zt.open(data) as file:
            for key in stored:
                np.testing.assert_array_equal(file[key].numpy(), NUMBERS + int(key))


def tensor(*arguments: Any) -> Any:
    return {"w": Made(*arguments)}


BYTES = {"0": NUMBERS.tobytes()}


class TestWhatIsWrong:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (
                tensor(floats("0", 12), 0, (13,), (1,), False, {}),
                "52 bytes at 0 of the storage '0'",
            ),
            (tensor(floats("0", 12), 9, (4,), (1,), False, {}), "16 bytes at 36"),
            (tensor(floats("0", 12), 0, (2, 2), (11, 1), False, {}), "52 bytes at 0"),
            (tensor(floats("0", 12), -1, (2,), (1,), False, {}), "don't fit together"),
            (tensor(floats("0", 12), 0, (2,), (1, 1), False, {}), "don't fit together"),
            (tensor(floats("0", 12), 0, (-1,), (1,), False, {}), "something else than sizes"),
            (tensor(floats("0", 12), 0, (2,), (-1,), False, {}), "something else than sizes"),
            (tensor(floats("0", 12), 0, (1 << 40,) * 2, (0, 0), False, {}), "overflows"),
            (tensor(floats("0", 12), 0, (1,) * 65, (1,) * 65, False, {}), "at most 64 sizes"),
            (tensor(floats("0", 12), 0), "something else than a storage"),
            (tensor(floats("0", -1), 0, (0,), (1,), False, {}), "impossible size"),
            (tensor(floats("0", 11), 0, (1,), (1,), False, {}), "'0' has 48 bytes, not 44"),
            (tensor(floats("1", 11), 0, (1,), (1,), False, {}), "the storage '1' is missing"),
            (tensor(floats("../byteorder", 11), 0, (1,), (1,), False, {}), "is missing"),
        ],
    )
    def test_tensors_outside_of_their_storages(self, value: Any, message: str) -> None:
        with pytest.raises(zt.FormatError, match=message):
            zt.open(archive(value, BYTES))

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (tensor(Id("module", torch.nn.Linear, "m.py", "…"), 0, (1,), (1,)), "torch.nn.modules"),
            (Id("module", "Net", "m.py", "…"), "a persistent id of the kind module"),
            (Id("storage", "x", "0", "cpu", 1), "a persistent id of the kind storage"),
            (Id("storage", torch.float32, "0", "cpu", 1), "a persistent id of the kind storage"),
            (Id("url", "http://localhost/"), "a persistent id of the kind url"),
            (Id(), "a persistent id that is a tuple"),
            (os.system, "posix.system"),
        ],
    )
    def test_others_are_refused_by_name(self, value: Any, message: str) -> None:
        with pytest.raises(zt.UnsupportedError, match=message):
            zt.open(archive({"w": value}, BYTES))

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
            (lambda: torch.quantize_per_tensor(BASE, 0.1, 0, torch.qint8), "_rebuild_qtensor"),
            (lambda: torch.empty(2, device="meta"), "_rebuild_meta_tensor"),
            (lambda: torch.ones(2, dtype=torch.complex64).conj(), "'conj' bit"),
            (lambda: torch.ones(2, dtype=torch.complex64).conj().imag, "'neg' bit"),
            (lambda: torch.ones(2, 2, 2).to_sparse(2), "dense or batched dimensions"),
        ],
    )
    @pytest.mark.filterwarnings("ignore")
    def test_tensors_of_other_kinds_are_too(self, make: Any, message: str) -> None:
        with pytest.raises(zt.UnsupportedError, match=message):
            zt.open(saved({"w": make()}))

    def test_a_program_is_no_checkpoint(self) -> None:
        data = archive(b"\x80\x02c__torch__\nNet\n)\x81}b.", {}, **{"constants.pkl": b"\x80\x02)."})
        with pytest.raises(zt.UnsupportedError, match=r"'__torch__\.Net' is no tensor"):
            zt.open(data)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (archive({}, {}, byteorder=b"middle"), "byte order 'middle' is unknown"),
            (saved({"a": BASE})[:-100], "directory"),
            (legacy({}, {}, version=7), "protocol 7"),
            (legacy({}, BYTES), "not those that it uses"),
            (legacy(tensor(floats("0", 12), 0, (1,), (1,)), {}), "the storage '0' is missing"),
            (legacy(tensor(floats("0", 12), 0, (1,), (1,)), BYTES)[:-1], "end at .*, the file at"),
            (
                legacy(
                    [Made(floats("0", n), 0, (1,), (1,)) for n in (12, 11)],
                    BYTES,
                ),
                "has two sizes",
            ),
            (
                legacy(tensor(floats("0", 12, ("1", 10, 3)), 0, (1,), (1,)), BYTES),
                "outside of it",
            ),
        ],
    )
    def test_damaged_files(self, data: bytes, message: str) -> None:
        with pytest.raises((zt.FormatError, zt.UnsupportedError), match=message):
            zt.open(data)

    def test_many_elements_that_are_one(self) -> None:
        value = tensor(floats("0", 12), 0, (1 << 20, 1 << 20), (0, 0), False, {})
        limits = zt.Limits(max_decoded=1 << 20)
        file = zt.open(archive(value, BYTES), limits=limits)
        with file, pytest.raises(zt.LimitError):
            file["w"].numpy()


class TestRequests:
    def test_a_tensor_is_its_bytes(self, backend_of: MakeBackend, through: Through) -> None:
        backend: Any = backend_of("moto")
        value = {f"w{n}": torch.full((300, 500), float(n)) for n in range(9)}
        data = saved(value)
        backend.put("m.pt", data)
        location, proxy = through(backend, "m.pt")
        with zt.open(location) as file:
            # The directory at the end; the pickle, and the byte order beside it.
            assert len(proxy.requests) == 2 and proxy.response_bytes < 80_000
            proxy.clear()
            check(file["w4"], value["w4"])
            np.testing.assert_array_equal(file["w3"][7:9], value["w3"][7:9])
            sizes = [request.response_bytes for request in proxy.requests]
            assert sizes == [600_000, 1 * 500 * 4, 2 * 500 * 4]
            proxy.clear()
            file.load(["w1", "w2"])
            assert proxy.response_bytes <= 1_200_000 + 256

    def test_a_legacy_file_too(self, backend_of: MakeBackend, through: Through) -> None:
        backend: Any = backend_of("moto")
        value = {f"w{n}": torch.full((300, 500), float(n)) for n in range(9)}
        backend.put("m.pth", saved(value, is_zip=False))
        location, proxy = through(backend, "m.pth")
        with zt.open(location) as file:
            assert proxy.response_bytes < 200_000
            proxy.clear()
            check(file["w8"], value["w8"])
            sizes = [request.response_bytes for request in proxy.requests]
            assert sizes == [600_000, 500 * 4]
