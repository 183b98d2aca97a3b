"""Sparse layouts of version 2: sizes at open (CSR), every rule of the data at decode."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.formats.build import file_2, part_2, root_2
from tests.formats.test_corpus_more import rule_of

Arrays = Mapping[str, tuple[str, Sequence[float]]]
_FORMS = {"u8": "B", "u32": "I", "u64": "Q", "i32": "i", "i64": "q", "f32": "f"}


def sparse(layout: str, shape: list[int], arrays: Arrays, bent: Any = None) -> bytes:
    """Return a file of one sparse object ``m``; `bent` replaces fields of parts."""
    blobs, parts = {}, {}
    for number, (role, (dtype, values)) in enumerate(arrays.items(), 1):
        blobs[number * 4096] = b"".join(struct.pack("<" + _FORMS[dtype], v) for v in values)
        blob = [number * 4096, len(blobs[number * 4096])]
        parts[role] = part_2(**{"dtype": dtype, "blob": blob, **(bent or {}).get(role, {})})
    return file_2(root_2({"m": {"shape": shape, "layout": layout, "parts": parts}}), blobs)


def csr(
    shape: Sequence[int] = (2, 3),
    *,
    values: Sequence[float] = (1, 2, 3),
    indices: Sequence[int] = (0, 2, 1),
    indptr: Sequence[int] = (0, 2, 3),
    dtypes: tuple[str, str] = ("u64", "u64"),
    bent: Any = None,
    more: Arrays | None = None,
    without: str = "",
) -> bytes:
    arrays: dict[str, tuple[str, Sequence[float]]] = {
        "values": ("f32", values),
        "indices": (dtypes[0], indices),
        "indptr": (dtypes[1], indptr),
        **(more or {}),
    }
    arrays.pop(without, None)
    return sparse("zt.sparse_csr/1", list(shape), arrays, bent)


def coo(
    shape: Sequence[int] = (2, 3),
    *,
    values: Sequence[float] = (1, 2, 3),
    coords: Sequence[int] = (0, 1, 1, 2, 0, 1),
    dtype: str = "u64",
    bent: Any = None,
    more: Arrays | None = None,
    without: str = "",
) -> bytes:
    arrays: dict[str, tuple[str, Sequence[float]]] = {
        "values": ("f32", values),
        "coords": (dtype, coords),
        **(more or {}),
    }
    arrays.pop(without, None)
    return sparse("zt.sparse_coo/1", list(shape), arrays, bent)


def read(data: bytes) -> list[Any]:
    """Return the dense tensor as lists."""
    with zt.open(data) as reader:
        reader.verify()
        dense: list[Any] = reader["m"].numpy().tolist()
        assert reader["m"].scipy().toarray().tolist() == dense
        return dense


def refuse(data: bytes) -> str | None:
    """Return the rule that a decode breaks; the file itself must open."""
    rules = set()
    for check in ("numpy", "scipy", "verify"):
        with zt.open(data) as reader, pytest.raises(zt.FormatError) as caught:
            reader.verify() if check == "verify" else getattr(reader["m"], check)()
        assert caught.value.tensor == "m"
        rules.add(caught.value.rule)
    (rule,) = rules
    return rule


EXTRA: Arrays = {"more": ("u32", [1])}

# --- CSR ------------------------------------------------------------------------------------------

CSR_ROWS = {
    "u64": (csr(), [[1, 0, 2], [0, 3, 0]]),
    "u32": (csr(dtypes=("u32", "u32")), [[1, 0, 2], [0, 3, 0]]),
    "a column again in the next row": (csr(indices=[0, 2, 0]), [[1, 0, 2], [3, 0, 0]]),
    "an empty row": (csr(indices=[0, 1, 2], indptr=[0, 0, 3]), [[0, 0, 0], [1, 2, 3]]),
    "no values": (csr(values=[], indices=[], indptr=[0, 0, 0]), [[0, 0, 0], [0, 0, 0]]),
    "no rows": (csr([0, 3], values=[], indices=[], indptr=[0]), []),
    "no columns": (csr([2, 0], values=[], indices=[], indptr=[0, 0, 0]), [[], []]),
}
CSR_METADATA = {
    "rank 1": csr([2]),
    "rank 3": csr([2, 3, 1]),
    "i64 indices": csr(dtypes=("i64", "i64")),
    "i32 pointers": csr(dtypes=("u32", "i32")),
    "indices of two dtypes": csr(dtypes=("u32", "u64")),
    "pointers of two dtypes": csr(dtypes=("u64", "u32")),
    "a type on the indices": csr(dtypes=("u32", "u32"), bent={"indices": {"type": "x/1"}}),
    "a type on the pointers": csr(dtypes=("u32", "u32"), bent={"indptr": {"type": "x/1"}}),
    "pointers for one row less": csr(indptr=[0, 3]),
    "pointers for one row more": csr(indptr=[0, 1, 2, 3]),
    "no pointers": csr([0, 3], values=[], indices=[], indptr=[]),
    "values short": csr(values=[1, 2]),
    "values long": csr(values=[1, 2, 3, 4]),
    "indices short": csr(indices=[0, 2]),
    "half an index": csr(bent={"indices": {"blob": [8192, 20]}}),
    "values of another type": csr(bent={"values": {"type": "complex64"}}),
    "rows beyond 64 bits": csr([(1 << 64) - 1, 1]),
    "no values part": csr(without="values"),
    "no indices part": csr(without="indices"),
    "no pointers part": csr(without="indptr"),
    "a fourth part": csr(more=EXTRA),
}
CSR_DATA = {
    "first pointer": csr(indptr=[1, 2, 3]),
    "last pointer low": csr(indptr=[0, 2, 2]),
    "last pointer high": csr(indptr=[0, 2, 4]),
    "pointers that fall": csr([3, 3], indptr=[0, 2, 1, 3]),
    "pointer of 2**64 - 1": csr([3, 3], indptr=[0, 1, (1 << 64) - 1, 3]),
    "pointer of 2**63": csr([3, 3], indptr=[0, 1, 1 << 63, 3]),
    "column 3 of 3": csr(indices=[0, 3, 1]),
    "column 2**63": csr(indices=[0, 1 << 63, 1]),
    "column 2**64 - 1": csr(indices=[0, (1 << 64) - 1, 1]),
    "columns that fall": csr(indices=[2, 0, 1]),
    "a column twice": csr(indices=[1, 1, 1]),
    "a column of none": csr([2, 0]),
}


@pytest.mark.parametrize("name", CSR_ROWS)
def test_csr(name: str) -> None:
    data, rows = CSR_ROWS[name]
    assert read(data) == rows


@pytest.mark.parametrize("name", CSR_METADATA)
def test_csr_metadata(name: str) -> None:
    assert rule_of(CSR_METADATA[name]) == "LayoutRule"


@pytest.mark.parametrize("name", CSR_DATA)
def test_csr_data(name: str) -> None:
    assert refuse(CSR_DATA[name]) == "LayoutData"


def test_csr_values_of_an_unknown_type_open() -> None:
    with zt.open(csr(values=[1], bent={"values": {"type": "x/1"}})) as reader:
        assert reader["m"].components["indices"].numpy().tolist() == [0, 2, 1]
        with pytest.raises(zt.UnsupportedError):
            reader["m"].numpy()


# --- COO ------------------------------------------------------------------------------------------

COO_CELLS = {
    "u64": (coo(), [[0, 0, 1], [2, 3, 0]]),
    "u32": (coo(dtype="u32"), [[0, 0, 1], [2, 3, 0]]),
    "no values": (coo(values=[], coords=[]), [[0, 0, 0], [0, 0, 0]]),
    "any order": (coo(coords=[1, 0, 0, 2, 1, 0]), [[3, 2, 0], [0, 0, 1]]),
    "one dimension": (coo([4], coords=[3, 0, 1]), [2, 3, 0, 1]),
    "three dimensions": (
        coo([1, 2, 2], coords=[0, 0, 0, 0, 1, 1, 1, 0, 1]),
        [[[0, 1], [2, 3]]],
    ),
    "no cells": (coo([0, 3], values=[], coords=[]), []),
}
# All of them open: the published reader examines nothing of this layout before it is read.
COO_REJECTED = {
    "rank 0": coo([]),
    "i64 coordinates": coo(dtype="i64"),
    "f32 coordinates": coo(dtype="f32"),
    "a type on the coordinates": coo(dtype="u32", bent={"coords": {"type": "x/1"}}),
    "coordinates of no whole cells": coo(coords=[0, 1, 1, 2, 0]),
    "half a coordinate": coo(bent={"coords": {"blob": [8192, 44]}}),
    "values short": coo(values=[1, 2]),
    "values long": coo(values=[1, 2, 3, 4]),
    "no values part": coo(without="values"),
    "no coordinates part": coo(without="coords"),
    "a third part": coo(more=EXTRA),
}
COO_DATA = {
    "row 2 of 2": coo(coords=[0, 1, 2, 2, 0, 1]),
    "column 3 of 3": coo(coords=[0, 1, 1, 3, 0, 1]),
    "coordinate 2**63": coo(coords=[0, 1, 1, 2, 0, 1 << 63]),
    "coordinate 2**64 - 1": coo(coords=[0, 1, 1, 2, 0, (1 << 64) - 1]),
    "a cell twice": coo(coords=[0, 1, 1, 2, 0, 0]),
    "a cell of none": coo([0, 3]),
}


@pytest.mark.parametrize("name", COO_CELLS)
def test_coo(name: str) -> None:
    data, cells = COO_CELLS[name]
    with zt.open(data) as reader:
        assert reader["m"].numpy().tolist() == cells
        reader.verify()
        if reader["m"].ndim == 2:
            assert reader["m"].scipy().toarray().tolist() == cells


@pytest.mark.parametrize("name", COO_REJECTED)
def test_coo_metadata_is_checked_at_decode(name: str) -> None:
    assert refuse(COO_REJECTED[name]) in ("LayoutRule", "LayoutData")


@pytest.mark.parametrize("name", COO_DATA)
def test_coo_data(name: str) -> None:
    assert refuse(COO_DATA[name]) == "LayoutData"


@pytest.mark.parametrize("layout", ["zt.quant_group/1", "zt.mx/1", "gguf.Q8_0/1"])
def test_other_known_layouts_open_whatever_is_wrong_with_them(layout: str) -> None:
    """As the published reader, which examines nothing of them."""
    arrays: Arrays = {"data": ("u32", [1, 2, 3]), "junk": ("f32", [])}
    with zt.open(sparse(layout, [7, 5], arrays)) as reader:
        assert reader["m"].components["data"].numpy().tolist() == [1, 2, 3]
        assert reader.verify() == zt.Verification(0, 2)


# --- sizes that no memory has ---------------------------------------------------------------------

LARGE = 1 << 62


@pytest.mark.parametrize(
    "data",
    [
        coo([LARGE, 3], values=[], coords=[]),
        coo([(1 << 64) - 1], values=[1], coords=[(1 << 64) - 2]),
        csr([1, LARGE], values=[], indices=[], indptr=[0, 0]),
        csr([1, (1 << 64) - 1], values=[1], indices=[(1 << 64) - 2], indptr=[0, 1]),
    ],
)
def test_dense_forms_that_fit_no_memory(data: bytes) -> None:
    with zt.open(data) as reader:
        tensor = reader["m"]
        assert repr(tensor)
        assert tensor.components["values"].numpy().dtype == np.float32
        with pytest.raises(zt.LimitError):
            tensor.numpy()
        for read in (lambda: tensor[0], lambda: tensor[:1]):
            with pytest.raises((zt.LimitError, zt.UnsupportedError)):
                read()
        try:
            tensor.scipy()
        except zt.UnsupportedError:
            pass  # SciPy's own indices are signed


def test_memory_that_is_not_there_is_a_limit_too() -> None:
    """Whatever limit is set: no machine has 2^58 bytes."""
    with zt.open(
        coo([1 << 56], values=[1], coords=[7]), limits=zt.Limits(max_decoded=LARGE)
    ) as file:
        for read in (file["m"].numpy, lambda: file["m"][:2]):
            with pytest.raises(zt.LimitError, match="memory") as caught:
                read()
            assert isinstance(caught.value, MemoryError)
            assert caught.value.tensor == "m"
