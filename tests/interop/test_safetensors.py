"""safetensors files, as the package of that name writes them and reads them."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import ztensor_remote as zt
from tests.servers.http import HttpServer
from tests.servers.proxy import Proxy
from tests.stores.backends import MakeBackend, Through
from ztensor_remote.reader.arrays import to_torch

GIB = 1 << 30
ARRAYS = {
    "embed": np.arange(6_000, dtype=np.float32).reshape(60, 100),
    "bias": np.arange(100, dtype=np.float16),
    "nothing": np.zeros((0, 3), np.int64),
    "scalar": np.array(7, np.int32),
    "mask": np.array([True, False, True]),
    "complex": np.arange(4).astype(np.complex64) * (1 + 2j),
}


def framed(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


class TestWhatThePackageWrites:
    def test_every_dtype(self, tmp_path: Path) -> None:
        known = safetensors.torch._TYPES.values()
        packed = [torch.float4_e2m1fn_x2, torch.float8_e8m0fnu]
        assert len(known) >= 18
        file = tmp_path / "all.safetensors"
        random = torch.Generator().manual_seed(0)
        bits = torch.randint(0, 2, (2, 64), dtype=torch.uint8, generator=random)
        written = {
            str(dtype): (bits if dtype is torch.bool else bits * 77).view(dtype)
            for dtype in {*known, *packed}
        }
        safetensors.torch.save_file(written, file)
        with zt.open(file) as model:
            assert model.version == "safetensors"
            for name, tensor in written.items():
                raw = tensor.view(torch.uint8).numpy().tobytes()
                if name == "torch.float4_e2m1fn_x2":
                    assert model[name].dtype.name == "float4_e2m1fn"
                    assert model[name].shape == (2, 128)
                    halves = np.frombuffer(raw, np.uint8)
                    assert (model[name].numpy().view(np.uint8).ravel()[::2] == halves & 15).all()
                    continue
                assert model[name].shape == tuple(tensor.shape)
                assert model[name].components["data"].read() == raw
                assert f"torch.{model[name].dtype.name}" == name
                back = to_torch(model[name].numpy())
                assert back.dtype == tensor.dtype
                assert back.view(torch.uint8).equal(tensor.view(torch.uint8))

    def test_what_the_package_reads_is_what_we_read(self, tmp_path: Path) -> None:
        file = tmp_path / "m.safetensors"
        safetensors.numpy.save_file(ARRAYS, file, metadata={"format": "np", "who": "me"})
        theirs = safetensors.numpy.load_file(file)
        with zt.open(file) as model:
            assert model.attributes == {"format": "np", "who": "me"}
            assert set(model) == set(theirs)
            for name, array in theirs.items():
                assert model[name].numpy().dtype == array.dtype
                np.testing.assert_array_equal(model[name].numpy(), array)
            np.testing.assert_array_equal(model["embed"][5:9, ::3], theirs["embed"][5:9, ::3])
            np.testing.assert_array_equal(model.load(to="torch")["embed"], theirs["embed"])
            out = np.empty((60, 100), np.float32)
            model.read_into({"embed": out})
            np.testing.assert_array_equal(out, theirs["embed"])
            assert model.verify() == zt.Verification(0, len(ARRAYS))

    def test_six_bits_can_be_had_as_bytes(self) -> None:
        data = framed({"a": entry("F6_E2M3", [4], 0, 3)}, b"abc")
        with zt.open(data) as model:
            assert model["a"].components["data"].read() == b"abc"
            with pytest.raises(zt.UnsupportedError, match="f6_e2m3"):
                model["a"].numpy()


class TestRecognition:
    DATA = safetensors.numpy.save(ARRAYS)

    @pytest.mark.parametrize("name", ["m.safetensors", "m.SafeTensors", "m.bin", "m", "m.zt"])
    def test_by_content_whatever_its_name(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(self.DATA)
        with zt.open(tmp_path / name) as model:
            assert model.version == "safetensors"
        with zt.open(self.DATA) as model:
            assert model.version == "safetensors"

    def test_a_ztensor_file_of_the_wrong_name(
        self, http_server: HttpServer, tmp_path: Path
    ) -> None:
        file = tmp_path / "m.safetensors"
        with zt.Writer(file) as writer:
            writer.add_tensor("big", np.zeros(100_000))
        for place in (file, f"{http_server.url}/m.safetensors"):
            with zt.open(place) as model:
                assert model.version == "1.2"

    def test_by_name_where_the_content_does_not_tell(self, tmp_path: Path) -> None:
        file = tmp_path / "m.safetensors"
        file.write_bytes(framed(b"oh no"))
        with pytest.raises(zt.FormatError, match="not a valid safetensors file"):
            zt.open(file)

    def test_as_the_caller_says(self, tmp_path: Path) -> None:
        file = tmp_path / "m.safetensors"
        file.write_bytes(self.DATA)
        with zt.open(file, format="safetensors") as model:
            copy = pickle.loads(pickle.dumps(model))
            assert copy.version == "safetensors" and copy["bias"][3] == 3
        with pytest.raises(zt.FormatError, match="not a zTensor file"):
            zt.open(file, format="ztensor")
        with pytest.raises(zt.InvalidInputError, match="'zarr' is unknown; use one of auto"):
            zt.open(file, format="zarr")  # type: ignore[arg-type]

    def test_it_is_not_appended_to(self, tmp_path: Path) -> None:
        file = tmp_path / "m.safetensors"
        file.write_bytes(self.DATA)
        with pytest.raises(zt.UnsupportedError, match="safetensors file can't be appended to"):
            zt.append(file)
        assert file.read_bytes() == self.DATA


class TestRequests:
    @pytest.mark.parametrize("store", ["http", "moto", "azure", "gcs", "memory", "cached"])
    def test_from_every_kind_of_store(self, store: str, backend_of: MakeBackend) -> None:
        backend = backend_of(store)
        backend.put("m.safetensors", safetensors.numpy.save(ARRAYS))
        with zt.open(backend.location("m.safetensors")) as model:
            for name, array in ARRAYS.items():
                np.testing.assert_array_equal(model[name].numpy(), array)

    @pytest.mark.parametrize("store", ["moto", "azure", "gcs"])
    def test_a_tensor_is_the_header_and_its_bytes(
        self, store: str, backend_of: MakeBackend, through: Through
    ) -> None:
        backend: Any = backend_of(store)
        arrays = {f"t{i}": np.full((300, 100), i, np.float32) for i in range(3)}
        backend.put("m.safetensors", safetensors.numpy.save(arrays))
        location, proxy = through(backend, "m.safetensors")
        with zt.open(location) as model:
            assert [r.response_bytes for r in proxy.requests] == [64 * 1024 + 40]
            proxy.clear()
            np.testing.assert_array_equal(model["t1"].numpy(), arrays["t1"])
            assert [r.response_bytes for r in proxy.requests] == [120_000]
            proxy.clear()
            np.testing.assert_array_equal(model["t2"][10:12], arrays["t2"][10:12])
            assert [r.response_bytes for r in proxy.requests] == [800]

    def test_a_long_header_costs_one_request_more(
        self, backend_of: MakeBackend, through: Through
    ) -> None:
        backend: Any = backend_of("moto")
        arrays = {f"layers.{i}.weight": np.full(2, i, np.int16) for i in range(5000)}
        data = safetensors.numpy.save(arrays)
        length = 8 + int.from_bytes(data[:8], "little")
        assert length > 200_000
        backend.put("m.safetensors", data)
        location, proxy = through(backend, "m.safetensors")
        with zt.open(location) as model:
            sizes = [request.response_bytes for request in proxy.requests]
            assert sizes == [64 * 1024 + 40, length - 64 * 1024 - 40]
            assert model["layers.4999.weight"][0] == 4999

    def test_one_tensor_of_five_gib(self, http_server: HttpServer, tmp_path: Path) -> None:
        header = {
            "big": entry("F32", [5 << 28], 0, 5 * GIB),
            "small": entry("I64", [1000], 5 * GIB, 5 * GIB + 8000),
        }
        start = framed(header)
        small = np.arange(1000)
        with (tmp_path / "m.safetensors").open("wb") as file:
            file.write(start)
            file.seek(len(start) + 5 * GIB)
            file.write(small.tobytes())
        http_server.no_etag = True  # which would be of all bytes
        with Proxy(http_server.url) as proxy, zt.open(f"{proxy.url}/m.safetensors") as model:
            np.testing.assert_array_equal(model["small"].numpy(), small)
            assert model["big"][-1] == 0
            sizes = [request.response_bytes for request in proxy.requests]
        assert sizes == [64 * 1024 + 40, 8000, 4]


DEEP = b'{"a":' * 100_000


class TestHostileFiles:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (framed({"a": entry("F32", [2], 0, 8)}, b"1234567"), "end behind the end"),
            (framed({"a": entry("F32", [2], 0, 8)}, b"123456789"), "no tensor has the 1 bytes"),
            (framed({"a": entry("U8", [2], 1, 3)}, b"123"), "no tensor has the 1 bytes"),
            (
                framed({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"123"),
                "overlap",
            ),
            (framed({"a": entry("U8", [2], 0, 3)}, b"123"), "does not take the 3 bytes"),
            (framed({"a": entry("F4", [3], 0, 1)}, b"1"), "does not take"),
            (framed({"a": entry("U8", [2], 3, 0)}, b"123"), "no beginning and end"),
            (framed({"a": entry("U8", [-1], 0, 0)}), "no list of at most 64 sizes"),
            (framed({"a": entry("U8", [True], 0, 1)}, b"1"), "no list of at most 64 sizes"),
            (framed({"a": entry("U8", [1] * 65, 0, 1)}, b"1"), "no list of at most 64 sizes"),
            (framed({"a": entry("U8", [1 << 40, 1 << 40, 0], 0, 0)}), "overflows"),
            (framed({"a": entry("F5", [1], 0, 1)}, b"1"), "dtype 'F5' is unknown"),
            (framed({"a": [1]}), "has the keys"),
            (framed({"a": entry("U8", [1], 0, 1) | {"b": 1}}, b"1"), "has the keys"),
            (framed({"__metadata__": {"a": 1}}), "no map of texts"),
            (framed({"__metadata__": [1]}), "no map of texts"),
            (framed(b'{"a":1,"a":2}'), "repeats the key 'a'"),
            (framed(b'{"__metadata__":{"k":"1","k":"2"}}'), "repeats the key 'k'"),
            (framed(b"{NaN}"), "no JSON"),
            (framed(b'{"\xff":1}'), "no JSON"),
            (framed(b'{"\\ud800":1}'), "is no name"),
            (framed(DEEP), "no JSON"),
            (framed(b'{"a":' + b"9" * 5000 + b"}"), "no JSON"),
            (struct.pack("<Q", 1 << 63) + b"{}", "over 100000000"),
            (struct.pack("<Q", 100) + b"{}", "cut off"),
            (b"\x01", "cut off"),
            (b"", "cut off"),
        ],
    )
    def test_is_refused_with_a_reason(self, data: bytes, message: str) -> None:
        with pytest.raises(zt.FormatError, match=message):
            zt.open(data, format="safetensors")
