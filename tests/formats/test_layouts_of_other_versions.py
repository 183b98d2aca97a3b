"""A layout id means something in the versions that have it, and nothing in the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.formats import build
from tests.reader.models import written

CSR = {
    "values": np.ones(3, "<f4"),
    "indices": np.array([0, 1, 2], "<u8"),
    "indptr": np.array([0, 1, 2, 3], "<u8"),
}
ONE_BLOB = np.concatenate([CSR["indptr"], CSR["indices"]]).tobytes() + CSR["values"].tobytes()


def of_2(layout: str) -> bytes:
    """Return a file of version 2 whose one object has the parts of a CSR matrix."""
    parts = {
        role: build.part_2(dtype=f"{array.dtype.kind}{array.itemsize * 8}", blob=[at, array.nbytes])
        for at, (role, array) in placed(4096)
    }
    root = build.root_2({"t": build.object_2(shape=[3, 4], layout=layout, parts=parts)})
    return build.file_2(root, {at: array.tobytes() for at, (_, array) in placed(4096)})


def of_1_2(layout: str) -> bytes:
    parts = {
        role: build.part_1(
            dtype=f"{array.dtype.kind}{array.itemsize * 8}", offset=at, length=array.nbytes
        )
        for at, (role, array) in placed(64)
    }
    root = build.root_1_2({"t": build.object_1_2(shape=[3, 4], format=layout, components=parts)})
    return build.file_1_2(root, {at: array.tobytes() for at, (_, array) in placed(64)})


def of_1_0(layout: str) -> bytes:
    parts = {role: build.part_1(offset=at, length=array.nbytes) for at, (role, array) in placed(64)}
    tensor = build.tensor_1_0(dtype="float32", shape=[3, 4], format=layout, components=parts)
    root = build.root_1_0({"t": tensor})
    return build.file_1_0(root, {at: array.tobytes() for at, (_, array) in placed(64)})


def placed(step: int) -> list[tuple[int, tuple[str, Any]]]:
    return [(number * step, item) for number, item in enumerate(CSR.items(), 1)]


def of_0_1(layout: str) -> bytes:
    entry = build.entry_0_1(dtype="float32", layout=layout, shape=[3, 4], size=len(ONE_BLOB))
    return build.file_0_1([entry], {64: ONE_BLOB})


OWN: dict[Callable[[str], bytes], str] = {
    of_0_1: "sparsecsr",
    of_1_0: "sparse_csr",
    of_1_2: "sparse_csr",
    of_2: "zt.sparse_csr/1",
}
PAIRS = [(made, layout) for made in OWN for layout in dict.fromkeys(OWN.values())]


@pytest.mark.parametrize(("made", "layout"), PAIRS)
def test_an_id_is_that_of_its_own_version(made: Callable[[str], bytes], layout: str) -> None:
    with zt.open(made(layout)) as model:
        tensor = model["t"]
        assert tensor.format == layout
        if layout == OWN[made]:
            assert tensor.layout == "sparse_csr"
            assert tensor.numpy().tolist() == np.eye(3, 4).tolist()
            return
        assert tensor.layout == f"other:{layout}"
        for read in (tensor.numpy, tensor.sparse, tensor.scipy, model.load):
            with pytest.raises(zt.UnsupportedError, match=f"layout '{layout}'"):
                read()
        stored = b"".join(part.read() for part in tensor.components.values())
        assert len(stored) == len(ONE_BLOB)
        model.verify()


@pytest.mark.parametrize("layout", ["sparsecsr", "sparse_csr"])
def test_the_rules_of_another_version_bind_no_writer(layout: str) -> None:
    def add(writer: zt.Writer) -> None:
        writer.add_object("t", {"x": np.arange(3)}, shape=(5, 5, 5), format=layout)

    with zt.open(written(add, version="2")) as model:
        assert model["t"].layout == f"other:{layout}"
        assert model["t"].components["x"].numpy().tolist() == [0, 1, 2]
        assert zt.content_id(model).startswith("sha256:")
