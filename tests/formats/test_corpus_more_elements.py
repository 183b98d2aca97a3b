"""Components whose bytes are no whole elements: refused, never rounded down."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pytest

import ztensor_remote as zt
from tests.formats.build import (
    align,
    file_1_0,
    file_1_2,
    frame,
    object_1_2,
    part_1,
    root_1_0,
    root_1_2,
    tensor_1_0,
)
from tests.formats.test_corpus_more_sparse import sparse

Stored = Mapping[str, tuple[str, bytes]]


def words(*numbers: int) -> tuple[str, bytes]:
    return "u64", struct.pack(f"<{len(numbers)}Q", *numbers)


def floats(*numbers: float) -> tuple[str, bytes]:
    return "f32", struct.pack(f"<{len(numbers)}f", *numbers)


def cut(part: tuple[str, bytes], count: int) -> tuple[str, bytes]:
    """Return a component that lacks its last bytes."""
    return part[0], part[1][:-count]


def file_of(version: str, layout: str, shape: list[int], stored: Stored, zstd: bool) -> bytes:
    """Return a file of one tensor ``t``; zstd components state no decoded length."""
    blobs, parts, at = {}, {}, 64
    for role, (dtype, data) in stored.items():
        blobs[at] = frame(data) if zstd else data
        fields: dict[str, Any] = {"offset": at, "length": len(blobs[at])}
        fields |= {"encoding": "zstd"} if zstd else {}
        parts[role] = part_1(**fields, **({"dtype": dtype} if version != "1.0" else {}))
        at = align(at + len(blobs[at]), 64)
    if version == "1.0":
        tensor = tensor_1_0(dtype="float32", shape=shape, format=layout, components=parts)
        return file_1_0(root_1_0({"t": tensor}), blobs)
    tensor = object_1_2(shape=shape, format=layout, components=parts)
    return file_1_2(root_1_2({"t": tensor}, version=f"{version}.0"), blobs)


CSR: Stored = {"values": floats(1, 2), "indices": words(0, 2), "indptr": words(0, 1, 2)}
COO: Stored = {"values": floats(1, 2), "coords": words(0, 1, 0, 2)}
SPARSE = {"sparse_csr": CSR, "sparse_coo": COO}
BROKEN: dict[str, tuple[str, Stored]] = {
    "csr: half a value": ("sparse_csr", CSR | {"values": cut(CSR["values"], 2)}),
    "csr: half an index": ("sparse_csr", CSR | {"indices": cut(CSR["indices"], 3)}),
    "csr: half a pointer": ("sparse_csr", CSR | {"indptr": cut(CSR["indptr"], 1)}),
    "csr: a byte too many": ("sparse_csr", CSR | {"values": ("f32", CSR["values"][1] + b"\0")}),
    "coo: half a value": ("sparse_coo", COO | {"values": cut(COO["values"], 1)}),
    "coo: half a coordinate": ("sparse_coo", COO | {"coords": cut(COO["coords"], 4)}),
    "coo: three coordinates in two dimensions": (
        "sparse_coo",
        COO | {"coords": cut(COO["coords"], 8)},
    ),
    "coo: five coordinates in two dimensions": (
        "sparse_coo",
        COO | {"coords": words(0, 1, 0, 2, 0)},
    ),
}


@pytest.mark.parametrize("zstd", [False, True], ids=["raw", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
class TestSparse:
    @pytest.mark.parametrize("layout", SPARSE)
    def test_whole_ones_are_read(self, layout: str, version: str, zstd: bool) -> None:
        with zt.open(file_of(version, layout, [2, 3], SPARSE[layout], zstd)) as model:
            model.verify()
            assert model["t"].numpy().tolist() == [[1, 0, 0], [0, 0, 2]]

    @pytest.mark.parametrize("name", BROKEN)
    def test_others_are_refused_at_decode(self, name: str, version: str, zstd: bool) -> None:
        layout, stored = BROKEN[name]
        data = file_of(version, layout, [2, 3], stored, zstd)
        for read in ("numpy", "scipy", "verify", "load", "slice"):
            with zt.open(data) as model, pytest.raises(zt.FormatError) as caught:
                reads = {
                    "verify": model.verify,
                    "load": model.load,
                    "slice": lambda model=model: model["t"][:1],
                }
                reads.get(read, getattr(model["t"], read, None))()
            assert caught.value.tensor == "t", read


QUANTIZED: Stored = {
    "packed_weight": ("i32", bytes(24)),
    "scales": ("f16", bytes(6)),
    "zeros": ("i32", bytes(4)),
}


@pytest.mark.parametrize("zstd", [False, True], ids=["raw", "zstd"])
@pytest.mark.parametrize("role", QUANTIZED)
def test_quantized_groups(role: str, zstd: bool) -> None:
    whole = file_of("1.2", "quantized_group", [6, 8], QUANTIZED, zstd)
    with zt.open(whole) as model:
        assert model.verify() == zt.Verification(0, 3)
        assert model["t"].components[role].numpy().size
    stored = {**QUANTIZED, role: cut(QUANTIZED[role], 1)}
    with zt.open(file_of("1.2", "quantized_group", [6, 8], stored, zstd)) as model:
        part = model["t"].components[role]
        assert part.read() == stored[role][1]  # the bytes themselves are there
        for read in (part.numpy, model.verify):
            with pytest.raises(zt.FormatError, match="whole elements") as caught:
                read()
            assert (caught.value.tensor, caught.value.component) == ("t", role)


def test_components_of_layouts_that_nobody_knows() -> None:
    with zt.open(file_of("1.2", "acme/1", [1], {"x": ("f64", bytes(12))}, False)) as model:
        assert model.verify() == zt.Verification(0, 1)
        assert model["t"].components["x"].read() == bytes(12)
        with pytest.raises(zt.FormatError, match="12 bytes are no whole elements of float64"):
            model["t"].components["x"].numpy()


@pytest.mark.parametrize("nibble", [0, 3])
def test_what_fills_up_the_last_byte_of_packed_values(nibble: int) -> None:
    """One value takes half a byte; in version 2 the other half must be zero."""
    data = sparse(
        "zt.sparse_coo/1",
        [4],
        {"values": ("u8", [2 | nibble << 4]), "coords": ("u64", [3])},
        {"values": {"type": "f4_e2m1"}},
    )
    with zt.open(data) as model:
        if nibble:
            with pytest.raises(zt.FormatError, match="nibble"):
                model["m"].sparse()
        else:
            assert model["m"].sparse().values.astype("f4").tolist() == [1]
