"""Files of other formats that we write, as the real packages read them."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import gguf
import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch

import ztensor_remote as zt
from tests.cli.files import write_model
from ztensor_remote.manifest.dtypes import BY_NAME

SHAPES = [(), (3,), (2, 0), (4, 6), (2, 3, 2, 2)]
NATIVE = [name for name in BY_NAME if not name.startswith(("bfloat", "float8", "float4"))]
GGUF = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8"]


def array_of(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    dtype = BY_NAME[name].numpy()
    count = int(np.prod(shape, dtype=int))
    if name == "float4_e2m1fn":
        return (np.arange(count) % 4).astype(dtype).reshape(shape)
    numbers = np.arange(count) % 2 if name == "bool" else np.arange(count) - count // 3
    with np.errstate(invalid="ignore"):
        return abs(numbers).astype(dtype).reshape(shape)


def tensors_of(names: list[str]) -> dict[str, np.ndarray[Any, Any]]:
    return {
        f"{name}.{'x'.join(map(str, shape))}": array_of(name, shape)
        for name in names
        for shape in SHAPES
        if BY_NAME[name].bits * int(np.prod(shape, dtype=int)) % 8 == 0
    }


def torch_name(dtype: np.dtype[Any]) -> str:
    return f"torch.{dtype.name}" + ("_x2" if dtype == ml_dtypes.float4_e2m1fn else "")


def stored(tensor: np.ndarray[Any, Any]) -> bytes:
    if tensor.dtype != ml_dtypes.float4_e2m1fn:
        return tensor.tobytes()
    codes = tensor.reshape(-1).view(np.uint8)
    return bytes(codes[::2] | codes[1::2] << 4)


def write(path: Path, tensors: dict[str, Any], **options: Any) -> Path:
    attributes = options.pop("attributes", {})
    with zt.Writer(path, **options) as writer:
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor, compress=name.endswith("4x6"))
        writer.attributes.update(attributes)
    return path


@pytest.mark.parametrize("version", ["1.2", "2"])
def test_safetensors_holds_every_dtype_but_one(tmp_path: Path, version: Any) -> None:
    tensors = tensors_of([name for name in BY_NAME if name != "complex128"])
    model = write(
        tmp_path / "m.zt", tensors, version=version, attributes={"format": "pt", "ü": "ß"}
    )
    path = tmp_path / "m.safetensors"
    assert zt.convert(model, path) == zt.Rewritten(str(path), len(tensors), path.stat().st_size)
    with safetensors.safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
        assert file.metadata() == {"format": "pt", "ü": "ß"}
        assert set(file.keys()) == set(tensors)
        for name, wanted in tensors.items():
            found = file.get_tensor(name)
            assert str(found.dtype) == torch_name(wanted.dtype)
            if found.dtype != torch.float4_e2m1fn_x2:  # two in a byte
                assert tuple(found.shape) == wanted.shape
            assert found.reshape(-1).view(torch.uint8).numpy().tobytes() == stored(wanted)
    with zt.open(path) as back:
        assert all(back[name].numpy().tobytes() == tensors[name].tobytes() for name in tensors)


def test_safetensors_aligns_its_tensors(tmp_path: Path) -> None:
    tensors = {"a": np.zeros(3, np.uint8), "b": np.ones(2), "c": np.ones(3, np.float32)}
    zt.convert(write(tmp_path / "m.zt", tensors), tmp_path / "m.safetensors")
    data = (tmp_path / "m.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    for name, tensor in tensors.items():
        assert header[name]["data_offsets"][0] % tensor.itemsize == 0


def test_npz_holds_what_numpy_has(tmp_path: Path) -> None:
    tensors = tensors_of(NATIVE) | {"folder/ü": np.arange(5)}
    zt.convert(write(tmp_path / "m.zt", tensors), tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as found:
        assert set(found.files) == set(tensors)
        for name, wanted in tensors.items():
            assert found[name].dtype == wanted.dtype
            assert found[name].shape == wanted.shape
            assert found[name].tobytes() == wanted.tobytes()
    with zipfile.ZipFile(tmp_path / "m.npz") as archive, (tmp_path / "m.npz").open("rb") as file:
        assert archive.testzip() is None
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            file.seek(info.header_offset)
            names, extra = struct.unpack("<HH", file.read(30)[26:])
            assert (info.header_offset + 30 + names + extra) % 64 == 0


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    reader = gguf.GGUFReader(path)
    fields = {
        name: field.contents()
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.")
    }
    return fields, {str(tensor.name): tensor for tensor in reader.tensors}


def test_gguf_holds_what_ggml_has(tmp_path: Path) -> None:
    tensors = tensors_of(GGUF)
    del tensors["bfloat16."]  # which the package fails on
    attributes = {
        "general.architecture": "llama",
        "llama.block_count": 32,
        "rope.freq_base": 10000.0,
        "exact": 0.1,
        "negative": -1,
        "large": 1 << 40,
        "add_bos": True,
        "tokens": ["a", "ü", ""],
        "scores": [0.5, -1.0, float("inf")],
        "types": [1, -2, 3],
        "flags": [True, False],
    }
    zt.convert(write(tmp_path / "m.zt", tensors, attributes=attributes), tmp_path / "m.gguf")
    fields, found = read_gguf(tmp_path / "m.gguf")
    assert fields == attributes
    types = {
        name: field.types for name, field in gguf.GGUFReader(tmp_path / "m.gguf").fields.items()
    }
    kinds = gguf.GGUFValueType
    assert types["llama.block_count"] == [kinds.UINT32]
    assert types["rope.freq_base"] == [kinds.FLOAT32]
    assert types["exact"] == [kinds.FLOAT64]
    assert types["types"] == [kinds.ARRAY, kinds.INT32]
    assert set(found) == set(tensors)
    for name, wanted in tensors.items():
        assert found[name].shape.tolist() == list(reversed(wanted.shape))
        assert found[name].data.tobytes() == wanted.tobytes()


def test_gguf_comes_back_as_it_was(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_custom_alignment(64)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.add_uint32("llama.context_length", 4096)
    writer.add_float32("llama.rope.freq_base", 0.1)
    writer.add_tensor("f", np.arange(12, dtype=np.float32).reshape(3, 4))
    blocks = gguf.quants.quantize(np.ones((2, 64), np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("q", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    zt.convert(tmp_path / "m.gguf", tmp_path / "m.zt", compress=True)
    zt.convert(tmp_path / "m.zt", tmp_path / "back.gguf", delete_original=True)
    assert not (tmp_path / "m.zt").exists()
    assert (tmp_path / "back.gguf").read_bytes() == (tmp_path / "m.gguf").read_bytes()


SPARSE = "embedding"


@pytest.mark.parametrize(
    ("form", "tensors", "attributes", "message", "tensor"),
    [
        ("safetensors", {"z": np.zeros(2, "complex128")}, {}, "no complex128", "z"),
        ("safetensors", {"__metadata__": np.zeros(2)}, {}, "for itself", "__metadata__"),
        ("safetensors", {"z": np.zeros(3, ml_dtypes.float4_e2m1fn)}, {}, "whole bytes", "z"),
        ("safetensors", {"a": np.zeros(2)}, {"n": 1}, "'n' is int", None),
        ("npz", {"z": np.zeros(2, ml_dtypes.bfloat16)}, {}, "no bfloat16", "z"),
        ("npz", {"a": np.zeros(2)}, {"license": "MIT"}, "'license' is one", None),
        ("gguf", {"z": np.zeros(2, np.uint8)}, {}, "no uint8", "z"),
        ("gguf", {"z": np.zeros((1, 1, 1, 1, 1))}, {}, "4 dimensions", "z"),
        ("gguf", {"z" * 64: np.zeros(1)}, {}, "63 bytes", "z" * 64),
        ("gguf", {"a": np.zeros(2)}, {"n": {"deep": 1}}, "'n' is none", None),
        ("gguf", {"a": np.zeros(2)}, {"n": [1, "a"]}, "'n' is none", None),
        ("gguf", {"a": np.zeros(2)}, {"general.alignment": 3}, "power of two", None),
    ],
)
def test_what_a_format_can_not_hold(
    tmp_path: Path, form: str, tensors: Any, attributes: Any, message: str, tensor: str | None
) -> None:
    model = write(tmp_path / "m.zt", {"first": np.ones(4)} | tensors, attributes=attributes)
    with pytest.raises(zt.UnsupportedError, match=message) as failure:
        zt.convert(model, tmp_path / f"m.{form}")
    assert failure.value.tensor == tensor
    assert [path.name for path in tmp_path.iterdir()] == ["m.zt"]
    if attributes:
        zt.convert(model, tmp_path / f"m.{form}", drop_attributes=True)
        assert (tmp_path / f"m.{form}").stat().st_size


@pytest.mark.parametrize("form", ["safetensors", "npz", "gguf"])
def test_sparse_and_quantized_tensors_are_refused(tmp_path: Path, form: Any) -> None:
    write_model(tmp_path / "sparse.zt")
    with pytest.raises(zt.UnsupportedError, match="sparse_csr") as failure:
        zt.convert(tmp_path / "sparse.zt", tmp_path / "m", to=form, drop_attributes=True)
    assert failure.value.tensor == "adjacency"
    with zt.Writer(tmp_path / "quantized.zt") as writer:
        writer.add_quantized_group(
            "q",
            np.zeros((4, 4), np.uint8),
            np.ones((4, 1)),
            shape=(4, 8),
            bits=4,
            group_size=8,
            packing="none",
        )
    with pytest.raises(zt.UnsupportedError, match="quantized_group"):
        zt.convert(tmp_path / "quantized.zt", tmp_path / "m", to=form, drop_attributes=True)
    with pytest.raises(zt.InvalidInputError, match="neither compressed nor digested"):
        zt.compress(tmp_path / "sparse.zt", tmp_path / "m", to=form)
    with pytest.raises(zt.InvalidInputError, match="version="):
        zt.convert(tmp_path / "sparse.zt", tmp_path / "m", to=form, version="2")
    assert not (tmp_path / "m").exists()


def test_the_name_or_the_caller_decides(tmp_path: Path) -> None:
    model = write(tmp_path / "m.zt", {"a": np.arange(3), "b": np.arange(4)})
    zt.convert(model, tmp_path / "m.NPZ", to="safetensors")
    assert zt.open(tmp_path / "m.NPZ").version == "safetensors"
    zt.copy(model, tmp_path / "b.npz", ["b"])
    assert np.load(tmp_path / "b.npz").files == ["b"]
    zt.convert(tmp_path / "m.NPZ", tmp_path / "back.gguf", to="ztensor")
    assert zt.open(tmp_path / "back.gguf").version == "1.2"
    with pytest.raises(zt.InvalidInputError, match="'pickle' can't be written"):
        zt.convert(model, tmp_path / "x", to="pickle")  # type: ignore[arg-type]
    with pytest.raises(zt.InvalidInputError, match="drop_attributes"):
        zt.convert(model, tmp_path / "x", drop_attributes=True)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_in_another_order(tmp_path: Path, save: Any) -> None:
    arrays = {
        "f": np.asfortranarray(np.arange(1_200_000.0).reshape(2, -1)),
        "b": np.arange(5, dtype=">f4"),
        "c": np.arange(6.0).reshape(3, 2),
    }
    save(tmp_path / "original.npz", **arrays)
    for form in ("safetensors", "npz", "gguf"):
        shutil.copy(tmp_path / "original.npz", tmp_path / "m.npz")
        told = fsspec.Callback()
        zt.convert(
            tmp_path / "m.npz", tmp_path / f"new.{form}", callback=told, delete_original=True
        )
        assert told.value == told.size
        with zt.open(tmp_path / f"new.{form}") as new:
            assert all((new[name].numpy() == array).all() for name, array in arrays.items())
    assert (np.load(tmp_path / "new.npz")["f"] == arrays["f"]).all()


def test_damage_is_found_and_nothing_is_left(tmp_path: Path) -> None:
    model = write(tmp_path / "m.zt", {"a": np.arange(1000), "b": np.arange(4)})
    data = bytearray(model.read_bytes())
    data[64] ^= 1
    model.write_bytes(data)
    for form in ("safetensors", "npz", "gguf"):
        with pytest.raises(zt.DigestError) as failure:
            zt.convert(model, tmp_path / f"new.{form}", delete_original=True)
        assert failure.value.tensor == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["m.zt"]


def test_from_store_to_store(bucket: Callable[..., str], moto: Any, tmp_path: Path) -> None:
    name = bucket(moto)
    tensors = {"a": np.arange(1_200_000.0), "b": np.ones((3, 4), np.float32)}
    fs = moto.filesystem()
    url, options = moto.uri(f"{name}/m.zt"), moto.storage_options
    with zt.Writer(url, storage_options=options, compress=1) as writer:
        for key, tensor in tensors.items():
            writer.add_tensor(key, tensor)
    for form in ("safetensors", "npz", "gguf"):
        zt.convert(url, moto.uri(f"{name}/m.{form}"), storage_options=options)
        (tmp_path / f"m.{form}").write_bytes(fs.cat_file(f"{name}/m.{form}"))
    assert (safetensors.numpy.load_file(tmp_path / "m.safetensors")["a"] == tensors["a"]).all()
    assert (np.load(tmp_path / "m.npz")["a"] == tensors["a"]).all()
    assert (read_gguf(tmp_path / "m.gguf")[1]["a"].data == tensors["a"]).all()
