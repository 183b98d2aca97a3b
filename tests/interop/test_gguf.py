"""GGUF files, as the package of that name writes them and reads them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES

import ztensor_remote as zt
from tests.stores.backends import MakeBackend, Through
from ztensor_remote.interop.ggml import _DECODERS, DENSE, QUANTIZED

ARRAYS = {
    "f32": np.arange(60, dtype=np.float32).reshape(3, 4, 5),
    "f16": np.arange(7, dtype=np.float16),
    "f64": np.arange(6, dtype=np.float64).reshape(2, 3),
    "i8": np.arange(-3, 3, dtype=np.int8),
    "i16": np.arange(6, dtype=np.int16),
    "i32": np.arange(6, dtype=np.int32).reshape(3, 2),
    "i64": np.arange(6, dtype=np.int64),
}
BLOCKS = [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0]
K_BLOCKS = [Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K]
SWAPPED = gguf.GGUFEndian.BIG


def write(path: Path, *, endianess: gguf.GGUFEndian = gguf.GGUFEndian.LITTLE) -> Path:
    writer = GGUFWriter(path, "llama", endianess=endianess)
    writer.add_uint8("a.u8", 200)
    writer.add_int8("a.i8", -100)
    writer.add_uint16("a.u16", 60_000)
    writer.add_int16("a.i16", -30_000)
    writer.add_uint32("a.u32", 1 << 31)
    writer.add_int32("a.i32", -1 << 31)
    writer.add_uint64("a.u64", 1 << 63)
    writer.add_int64("a.i64", -1 << 63)
    writer.add_float32("a.f32", 1.5)
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.bool", True)
    writer.add_string("a.text", "grüß")
    writer.add_array("a.tokens", ["a", "bb", "ccc"])
    writer.add_array("a.scores", [0.5, 1.5])
    writer.add_array("a.ids", [1, 2, 3])
    for name, array in ARRAYS.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_blocks(path: Path, kinds: list[Kind], rows: int = 6) -> Path:
    """Write blocks of random bytes: every value of every field."""
    rng = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    for kind in kinds:
        elements, nbytes = GGML_QUANT_SIZES[kind]
        data = rng.integers(0, 256, (rows, 512 // elements * nbytes), np.uint8)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class TestWhatThePackageWrites:
    @pytest.mark.parametrize("endianess", [gguf.GGUFEndian.LITTLE, SWAPPED])
    def test_metadata_and_plain_tensors(self, tmp_path: Path, endianess: gguf.GGUFEndian) -> None:
        file = write(tmp_path / "m.gguf", endianess=endianess)
        theirs = GGUFReader(file)
        with zt.open(file) as model:
            assert model.version == "gguf" and model.manifest.version_text == "3"
            for key, field in theirs.fields.items():
                if not key.startswith("GGUF."):
                    assert model.attributes[key] == field.contents(), key
            assert [tensor.name for tensor in theirs.tensors] == list(model)
            for name, array in ARRAYS.items():
                assert model[name].dtype == array.dtype
                np.testing.assert_array_equal(model[name].numpy(), array)
            np.testing.assert_array_equal(model["f32"][1, :, ::2], ARRAYS["f32"][1, :, ::2])
            np.testing.assert_array_equal(model.load(to="torch")["i32"], ARRAYS["i32"])

    def test_bfloat16(self, tmp_path: Path) -> None:
        wide = np.linspace(-3, 3, 64, dtype=np.float32).reshape(2, 32)
        writer = GGUFWriter(tmp_path / "m.gguf", "llama")
        writer.add_tensor("b", gguf.quantize(wide, Kind.BF16), raw_dtype=Kind.BF16)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with zt.open(tmp_path / "m.gguf") as model:
            assert model["b"].dtype.name == "bfloat16" and model["b"].shape == (2, 32)
            [tensor] = GGUFReader(tmp_path / "m.gguf").tensors
            theirs = gguf.dequantize(tensor.data, Kind.BF16)
            np.testing.assert_array_equal(model["b"].numpy().astype(np.float32), theirs)

    def test_blocks_are_dequantized_to_the_bit(self, tmp_path: Path) -> None:
        file = write_blocks(tmp_path / "m.gguf", BLOCKS + K_BLOCKS)
        with zt.open(file) as model, np.errstate(all="ignore"):
            for tensor in GGUFReader(file).tensors:
                ours = model[tensor.name]
                assert ours.format == f"gguf.{tensor.name.lower()}/1"
                assert ours.shape == tuple(reversed(tensor.shape.tolist())) == (6, 512)
                assert ours.components["blocks"].read() == tensor.data.tobytes()
                theirs = gguf.dequantize(tensor.data, tensor.tensor_type)
                np.testing.assert_array_equal(ours.dequantize(), theirs)
                with pytest.raises(zt.UnsupportedError, match=r"call \.dequantize\(\)"):
                    ours.numpy()

    @pytest.mark.parametrize("kind", BLOCKS)
    def test_what_was_quantized_is_close(self, tmp_path: Path, kind: Kind) -> None:
        wide = np.random.default_rng(0).standard_normal((4, 64), np.float32)
        writer = GGUFWriter(tmp_path / "m.gguf", "llama")
        writer.add_tensor("q", gguf.quantize(wide, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with zt.open(tmp_path / "m.gguf") as model:
            assert np.abs(model["q"].dequantize() - wide).max() < 0.5

    def test_q8_k(self) -> None:
        block = struct.pack("<f256b16h", 0.5, *range(-128, 128), *[0] * 16)
        with zt.open(built([("q", [256], 15, 0)], block)) as model:
            np.testing.assert_array_equal(
                model["q"].dequantize(), np.arange(-128, 128, dtype=np.float32) / 2
            )

    def test_big_endian_blocks(self, tmp_path: Path) -> None:
        little = struct.pack("<e16B", 0.25, *range(16))
        big = struct.pack(">e16B", 0.25, *range(16))
        with (
            zt.open(built([("q", [32], 2, 0)], little)) as one,
            zt.open(built([("q", [32], 2, 0)], big, order=">")) as other,
        ):
            np.testing.assert_array_equal(one["q"].dequantize(), other["q"].dequantize())

    def test_types_that_are_only_stored(self, tmp_path: Path) -> None:
        file = write_blocks(tmp_path / "m.gguf", [Kind.IQ4_NL, Kind.TQ1_0])
        with zt.open(file) as model:
            for name, tensor in model.items():
                assert len(tensor.components["blocks"].read()) == tensor.nbytes
                with pytest.raises(zt.UnsupportedError, match=f"{name.lower()} can't be deq"):
                    tensor.dequantize()
            with pytest.raises(zt.LimitError, match="max_decoded"):
                zt.open(file, limits=zt.Limits(max_decoded=100))["TQ1_0"].dequantize()

    def test_the_sizes_are_those_of_the_package(self) -> None:
        for number, block in QUANTIZED.items():
            assert GGML_QUANT_SIZES[Kind(number)] == (block.elements, block.nbytes)
            assert Kind(number).name.lower() == block.name
        for number, storage in DENSE.items():
            assert Kind(number).name.lower() == storage
        for name, (fields, _) in _DECODERS.items():
            [block] = [block for block in QUANTIZED.values() if block.name == name]
            assert np.dtype(fields).itemsize == block.nbytes


def text(value: str | bytes, order: str = "<", width: str = "Q") -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(order + width, len(data)) + data


def built(
    tensors: list[tuple[Any, list[int], int, int]],
    data: bytes = b"",
    *,
    pairs: list[bytes] | None = None,
    version: int = 3,
    order: str = "<",
    alignment: int = 32,
) -> bytes:
    """Return a file in whose header anything may stand."""
    width = "I" if version == 1 else "Q"
    pairs = pairs or []
    made = b"GGUF" + struct.pack(f"{order}I2{width}", version, len(tensors), len(pairs))
    made += b"".join(pairs)
    for name, dims, kind, offset in tensors:
        made += text(name, order, width)
        made += struct.pack(f"{order}I{len(dims)}{width}IQ", len(dims), *dims, kind, offset)
    return made.ljust(-(-len(made) // alignment) * alignment, b"\0") + data


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


class TestTheFormat:
    @pytest.mark.parametrize("version", [1, 2, 3])
    def test_every_version(self, version: int) -> None:
        data = built([("a", [2, 3], 0, 0)], np.arange(6, dtype="<f4").tobytes(), version=version)
        with zt.open(data) as model:
            assert model.manifest.version_text == str(version)
            np.testing.assert_array_equal(
                model["a"].numpy(), np.arange(6, dtype=np.float32).reshape(3, 2)
            )

    def test_alignment(self) -> None:
        pairs = [pair("general.alignment", 4, struct.pack("<I", 256))]
        tensors = [("a", [1], 0, 0), ("b", [1], 0, 256)]
        data = struct.pack("<f252xf", 1, 2)
        with zt.open(built(tensors, data, pairs=pairs, alignment=256)) as model:
            assert [model[name].numpy()[0] for name in "ab"] == [1, 2]

    def test_nested_arrays_and_tokens_that_are_no_text(self) -> None:
        inner = struct.pack("<IQ", 1, 2) + struct.pack("2b", 1, -1)
        pairs = [
            pair("nested", 9, struct.pack("<IQ", 9, 2) + inner * 2),
            pair("bools", 9, struct.pack("<IQ", 7, 2) + b"\0\1"),
            pair("tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text(b"\xff")),
        ]
        with zt.open(built([], pairs=pairs)) as model:
            assert model.attributes == {
                "nested": [[1, -1], [1, -1]],
                "bools": [False, True],
                "tokens": ["a", b"\xff"],
            }

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"GGUF", "cut off"),
            (b"GGUF\x03\0\0\0", "goes on to"),
            (built([])[:20], "goes on to"),
            # Opening this with the gguf package takes forever.
            (
                b"GGUF"
                + struct.pack("<IQQ", 3, 0, 1)
                + pair("a", 9, struct.pack("<IQ", 0, 1 << 62)),
                "more than the file has room for",
            ),
            (b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 0), "more than the file has room for"),
            (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40), "more than the file has room for"),
            (built([], pairs=[pair("a", 8, struct.pack("<Q", 1 << 60))]), "more than the file has"),
            (built([], pairs=[pair("a", 13, b"")]), "type 13 of a value"),
            (built([], pairs=[pair("a", 7, b"\2")]), "neither 0 nor 1"),
            (built([], pairs=[pair(b"\xff", 7, b"\1")]), "no UTF-8"),
            (built([], pairs=[pair("a", 7, b"\1")] * 2), "'a' is there twice"),
            (built([], pairs=[pair("a", 9, struct.pack("<IQ", 9, 1) * 20)]), "nested deeper"),
            (built([], pairs=[pair("general.alignment", 4, struct.pack("<I", 3))]), "power of two"),
            (built([], pairs=[pair("general.alignment", 8, text("x"))]), "power of two"),
            (built([("a", [1], 0, 0)] * 2, b"1234"), "two tensors named 'a'"),
            (built([("a", [1], 0, 4)], bytes(8)), "misaligned"),
            (built([("a", [2], 0, 0)], bytes(7)), "the file ends at"),
            (built([("a", [1], 0, 1 << 63)], bytes(7)), "the file ends at"),
            (built([("a", [1 << 40] * 2, 0, 0)]), "overflows"),
            (built([("a", [33], 2, 0)], bytes(64)), "no whole blocks"),
            (built([("a", [], 2, 0)], bytes(64)), "no whole blocks"),
            (built([("a", [1] * 65, 0, 0)], bytes(64)), "65 dimensions"),
        ],
    )
    def test_what_is_wrong_is_refused_with_a_reason(self, data: bytes, message: str) -> None:
        with pytest.raises(zt.FormatError, match=message):
            zt.open(data, format="gguf")

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (built([], version=4), "version 4"),
            (built([], version=2, order=">"), "version 2"),
            (built([("a", [1], 99, 0)], bytes(64)), r"type 99 of GGML is unknown \(tensor 'a'"),
        ],
    )
    def test_what_is_unknown_is_told(self, data: bytes, message: str) -> None:
        with pytest.raises(zt.UnsupportedError, match=message):
            zt.open(data)


class TestRequests:
    @pytest.mark.parametrize("name", ["m.gguf", "m"])
    def test_a_tensor_is_the_header_and_its_bytes(
        self, name: str, backend_of: MakeBackend, through: Through
    ) -> None:
        backend: Any = backend_of("moto")
        tensors = [("a", [100_000], 0, 0), ("b", [100_000], 0, 400_000)]
        backend.put(name, built(tensors, np.arange(200_000, dtype="<f4").tobytes()))
        location, proxy = through(backend, name)
        with zt.open(location) as model:
            if name == "m.gguf":
                assert [r.response_bytes for r in proxy.requests] == [64 * 1024 + 40]
            proxy.clear()
            assert model["b"].numpy()[0] == 100_000
            assert [r.response_bytes for r in proxy.requests] == [400_000]

    def test_a_large_vocabulary_takes_few_requests(
        self, backend_of: MakeBackend, through: Through
    ) -> None:
        backend: Any = backend_of("moto")
        tokens = [f"token {number}" for number in range(150_000)]
        listed = struct.pack("<IQ", 8, len(tokens)) + b"".join(map(text, tokens))
        data = built([("a", [1 << 20], 0, 0)], bytes(4 << 20), pairs=[pair("tokens", 9, listed)])
        backend.put("m.gguf", data)
        location, proxy = through(backend, "m.gguf")
        with zt.open(location) as model:
            assert model.attributes["tokens"] == tokens
            assert len(proxy.requests) <= 3 and proxy.response_bytes <= len(data)
