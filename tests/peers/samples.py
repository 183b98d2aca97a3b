"""Tensors for both directions: as arrays, as we write them, as a published package is sent them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import ztensor_remote as zt

Array = np.ndarray[Any, np.dtype[Any]]

MIB = 1 << 20

PLAIN = {
    "float64": "f64",
    "float32": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "int64": "i64",
    "int32": "i32",
    "int16": "i16",
    "int8": "i8",
    "uint64": "u64",
    "uint32": "u32",
    "uint16": "u16",
    "uint8": "u8",
    "bool": "bool",
}
"""NumPy's names of the 13 dtypes that every container has, and their short names."""

LOGICAL = {
    "float8_e4m3fn": ("u8", "f8_e4m3fn"),
    "float8_e5m2": ("u8", "f8_e5m2"),
    "float8_e4m3fnuz": ("u8", "f8_e4m3fnuz"),
    "float8_e5m2fnuz": ("u8", "f8_e5m2fnuz"),
    "float8_e8m0fnu": ("u8", "f8_e8m0"),
    "float4_e2m1fn": ("u8", "f4_e2m1"),
    "complex64": ("f32", "complex64"),
    "complex128": ("f64", "complex128"),
}
"""NumPy's names of the logical types, with the storage dtype that each lies over."""

LAYOUT_2 = {
    "dense": "dense",
    "sparse_csr": "zt.sparse_csr/1",
    "sparse_coo": "zt.sparse_coo/1",
    "quantized_group": "zt.quant_group/1",
}


@dataclass(frozen=True)
class Sample:
    """One tensor.

    Attributes
    ----------
    name : str
    shape : tuple of int
    parts : dict
        Role to array; ``{"data": array}`` when the layout is dense.
    layout : str
        As 1.x spells it.
    compress : bool or int
    attributes : dict, optional
    """

    name: str
    shape: tuple[int, ...]
    parts: Mapping[str, Array]
    layout: str = "dense"
    compress: bool | int = False
    attributes: Mapping[str, Any] | None = None

    @property
    def array(self) -> Array:
        """The tensor with its zeros."""
        if self.layout == "dense":
            return self.parts["data"]
        full = np.zeros(self.shape, self.parts["values"].dtype)
        if self.layout == "sparse_csr":
            rows = np.repeat(np.arange(self.shape[0]), np.diff(self.parts["indptr"].astype(int)))
            full[rows, self.parts["indices"].astype(int)] = self.parts["values"]
        else:
            coords = self.parts["coords"].astype(int).reshape(len(self.shape), -1)
            full[tuple(coords)] = self.parts["values"]
        return full

    def add_to(self, writer: zt.Writer, **options: Any) -> None:
        """Write it with our writer."""
        options |= {"compress": self.compress, "attributes": self.attributes}
        if self.layout == "dense":
            writer.add_tensor(self.name, self.parts["data"], **options)
        elif self.layout == "sparse_csr":
            roles = [self.parts[role] for role in ("values", "indices", "indptr")]
            writer.add_sparse_csr(self.name, *roles, self.shape, **options)
        elif self.layout == "sparse_coo":
            coords = self.parts["coords"].reshape(len(self.shape), -1)
            writer.add_sparse_coo(self.name, self.parts["values"], coords, self.shape, **options)
        else:
            layout = LAYOUT_2[self.layout] if writer.version == "2" else self.layout
            writer.add_object(self.name, self.parts, shape=self.shape, format=layout, **options)

    def sent(self) -> dict[str, Any]:
        """Return what `programs` take; they have other packages, and know nothing of samples."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "layout": self.layout,
            "compress": self.compress,
            "attributes": self.attributes,
            "parts": {role: _sent_part(array) for role, array in self.parts.items()},
        }

    def sent_2(self) -> dict[str, Any]:
        """Return the same for container 2, which has other names of layouts."""
        return self.sent() | {"layout": LAYOUT_2[self.layout]}


def dense(name: str, array: Any, **options: Any) -> Sample:
    """Make a sample of an array."""
    array = np.asarray(array)
    return Sample(name, array.shape, {"data": array}, **options)


def csr(name: str, array: Any, **options: Any) -> Sample:
    """Make a CSR sample of a matrix, with the u64 indices that every version takes."""
    array = np.asarray(array)
    rows, columns = np.nonzero(array)
    parts = {
        "values": array[rows, columns],
        "indices": columns.astype(np.uint64),
        "indptr": np.searchsorted(rows, np.arange(len(array) + 1)).astype(np.uint64),
    }
    return Sample(name, array.shape, parts, "sparse_csr", **options)


def coo(name: str, array: Any, **options: Any) -> Sample:
    """Make a COO sample of an array."""
    array = np.asarray(array)
    where = np.nonzero(array)
    parts = {"values": array[where], "coords": np.concatenate(where).astype(np.uint64)}
    return Sample(name, array.shape, parts, "sparse_coo", **options)


# --- what is tried --------------------------------------------------------------------------


def noise(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    """Return elements of every bit pattern, NaNs among them; True and False for bool."""
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    generator = np.random.default_rng([seed, *dtype.encode()])
    if kind == bool:
        return generator.integers(0, 2, shape).astype(bool)
    top = 16 if dtype == "float4_e2m1fn" else 256
    data = generator.integers(0, top, (math.prod(shape), kind.itemsize), np.uint8)
    return data.view(kind).reshape(shape)


def text_like(dtype: str, nbytes: int, seed: int = 0) -> Array:
    """Return elements that zstd makes smaller, in different ways from frame to frame."""
    generator = np.random.default_rng(seed)
    words = generator.integers(0, 256, (64, 16), np.uint8)
    data = words[generator.integers(0, 64, -(-nbytes // 16))].reshape(-1)[:nbytes]
    return np.ascontiguousarray(data).view(dtype)


def plain_dense() -> list[Sample]:
    """Return every dtype that every container has, and every shape and name that is special."""
    strided = noise("float32", (6, 8))[::2, ::-3]
    return [
        *(dense(name, noise(name, (3, 5))) for name in PLAIN),
        *(dense(f"scalar {name}", noise(name, ())) for name in PLAIN),
        dense("one", noise("int16", (1,))),
        dense("nothing", noise("float32", (0,))),
        dense("nothing/of/rank three", noise("uint8", (3, 0, 2))),
        dense("after nothing", noise("int64", (2, 2))),
        dense("five", noise("bfloat16", (2, 1, 3, 1, 2))),
        dense("strided", strided),
        dense("transposed", noise("int32", (4, 3)).T),
        dense("big-endian", np.arange(5, dtype=">f8")),
        dense("größe/层.0/Ω — ☃ 🎉", noise("float16", (2, 3))),
        dense('tab\tnewline\n"quotes" \\ \' ', noise("int8", (7,))),
        dense("é" * 512, noise("uint16", (2,))),
    ]


def sparse() -> list[Sample]:
    """Return sparse tensors, raw and compressed, with and without values."""
    full = np.zeros((5, 7), np.float32)
    full[[0, 0, 2, 4], [1, 6, 0, 3]] = [1.5, -2, np.inf, 1e-40]
    cube = np.zeros((3, 2, 4), np.int64)
    cube[[0, 2, 2], [1, 0, 1], [3, 0, 2]] = [7, -8, 1 << 60]
    large = np.where(np.arange(600 * 700).reshape(600, 700) % 3, 0, 1 + np.arange(700.0))
    return [
        csr("csr", full),
        coo("coo", full),
        csr("csr/zstd", full, compress=True),
        coo("coo/zstd", full, compress=9),
        csr("csr/int", full.astype(np.float64).clip(-9, 9).astype(np.int16)),
        csr("csr/bfloat16", full.astype(ml_dtypes.bfloat16)),
        csr("csr/empty", np.zeros((4, 3), np.float64)),
        coo("coo/empty", np.zeros((4, 3), np.uint8)),
        csr("csr/no rows", np.zeros((0, 3), np.float32)),
        coo("coo/vector", np.arange(6, dtype=np.int32)),
        coo("coo/cube", cube),
        coo("coo/cube zstd", cube, compress=True),
        csr("csr/large", large, compress=True),
    ]


def compressed() -> list[Sample]:
    """Return zstd of several levels and numbers of frames."""
    several = MIB + 4 * 12345
    return [
        dense("small", noise("float64", (9,)), compress=True),
        dense("scalar", noise("uint32", ()), compress=True),
        dense("nothing", noise("float32", (0, 4)), compress=True),
        dense("bools", noise("bool", (3, 1001)), compress=3),
        dense("noise", noise("uint8", (MIB + 17,)), compress=True),
        dense("one frame", text_like("int16", MIB), compress=True),
        dense("one frame and a byte", text_like("uint8", MIB + 1), compress=True),
        dense("all zeros", np.zeros((3, MIB), np.uint8), compress=True),
        *(
            dense(f"level {level}", text_like("float32", several, level), compress=level)
            for level in (1, 3, 9, 19, 22)
        ),
        dense(
            "five", text_like("int64", 3 * several // 240 * 240).reshape(5, 1, -1, 2, 3), compress=2
        ),
        dense("strided", text_like("int32", several)[::-1], compress=True),
    ]


def logical() -> list[Sample]:
    """Return every logical type, in shapes that are special for packed ones."""
    return [
        *(dense(f"{name}/matrix", noise(name, (3, 6))) for name in LOGICAL),
        *(dense(f"{name}/odd", noise(name, (5, 3))) for name in LOGICAL),
        *(dense(f"{name}/zstd", noise(name, (64, 33)), compress=True) for name in LOGICAL),
        *(dense(f"{name}/nothing", noise(name, (2, 0))) for name in LOGICAL),
    ]


ATTRIBUTES = {
    "none": None,
    "yes": True,
    "no": False,
    "int": -3,
    "least": -(1 << 63),
    "float": 0.1,
    "half": 1.5,
    "text": "Größe ☃",
    "list": [1, "two", 3.5, None, [False, {}]],
    "map": {"a": {"b": [1]}, "": ""},
    "ключ": "значение",
}
"""Attributes of every kind that all packages with attributes can hold."""


def attributed() -> list[Sample]:
    """Return tensors of all layouts with attributes."""
    return [
        dense("dense", noise("float32", (2, 2)), attributes=ATTRIBUTES),
        dense("dense/zstd", noise("int8", (30,)), attributes={"k": "v"}, compress=True),
        csr("csr", np.eye(3, dtype=np.float32), attributes=ATTRIBUTES),
        coo("coo", np.eye(3), attributes={"unit": "m"}),
        dense("without", noise("float32", (2,))),
    ]


def renamed(samples: Iterable[Sample], prefix: str) -> list[Sample]:
    """Return the same tensors under other names."""
    return [replace(sample, name=prefix + sample.name[: 500 - len(prefix)]) for sample in samples]


# --- to files, and back ---------------------------------------------------------------------


def write_ours(path: Path, samples: Iterable[Sample], version: str, **options: Any) -> Path:
    """Write a file with our writer."""
    attributes = options.pop("file_attributes", {})
    with zt.Writer(path, version=version, **options) as writer:  # type: ignore[arg-type]
        writer.attributes.update(attributes)
        for sample in samples:
            sample.add_to(writer)
    return path


def append_ours(path: Path, samples: Iterable[Sample], **options: Any) -> Path:
    """Add to a file with our writer."""
    with zt.append(path, **options) as writer:
        for sample in samples:
            sample.add_to(writer)
    return path


def little_endian(array: Array) -> Array:
    """Return the array in the byte order of files."""
    return array.astype(array.dtype.newbyteorder("<")) if array.dtype.kind in "iufc" else array


def packed(array: Array) -> bytes:
    """Return the bytes that a file holds: little-endian, two 4-bit elements a byte."""
    if array.dtype != ml_dtypes.float4_e2m1fn:
        return little_endian(array).tobytes()
    codes = array.reshape(-1).view(np.uint8)
    codes = np.append(codes, np.zeros(codes.size % 2, np.uint8))
    return (codes[::2] | codes[1::2] << 4).tobytes()


def _sent_part(array: Array) -> dict[str, Any]:
    name = array.dtype.name
    storage, meaning = LOGICAL.get(name) or (PLAIN[name], None)
    return {
        "shape": list(array.shape),
        "dtype": name,
        "hex": packed(array).hex(),
        "storage": "u8" if name == "bool" else storage,
        "logical": "bool" if name == "bool" else meaning,
    }
