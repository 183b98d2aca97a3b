"""Published 1.0.1, 1.0.2 and 1.1.1: one Python API, two containers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from answering import answer, array_of, described, outcome
from ztensor import Reader, Writer

# Came with 1.0.2, as did levels of compression and batches.
HAS_OPTIONS = "verify_checksum" in inspect.signature(Reader.read_tensor).parameters


def read(path: str, verify: bool = False) -> dict[str, Any]:
    """Read every tensor, in every way the package has."""
    with Reader(path) as reader:
        return {name: outcome(lambda: tensor(reader, name, verify)) for name in reader.tensor_names}


def tensor(reader: Any, name: str, verify: bool) -> dict[str, Any]:
    meta = reader.metadata(name)
    seen = {"layout": meta.layout, "shape": list(meta.shape), "dtype": meta.dtype_str}
    if meta.layout == "dense":
        seen |= {"encoding": meta.encoding, "digest": meta.checksum, "size": meta.size}
        return seen | {"reads": dense(reader, name, verify)}
    return seen | {"reads": sparse(reader, name, meta)}


def dense(reader: Any, name: str, verify: bool) -> dict[str, Any]:
    if not HAS_OPTIONS:
        return {"read_tensor": outcome(lambda: described(reader.read_tensor(name)))}
    options = {"verify_checksum": verify}
    return {
        "read_tensor": outcome(lambda: described(reader.read_tensor(name, **options))),
        "read_tensors": outcome(lambda: described(reader.read_tensors([name], **options)[0])),
    }


def sparse(reader: Any, name: str, meta: Any) -> dict[str, Any]:
    """Describe components and, where SciPy has a form for it, the matrix."""
    roles = ("values", "indices", "indptr") if meta.layout == "sparse_csr" else ("values", "coords")
    seen = {role: outcome(lambda: component(reader, name, role, meta)) for role in roles}
    if HAS_OPTIONS and len(meta.shape) == 2:  # 1.0.1 returns values in memory that it has freed
        seen["scipy"] = outcome(lambda: described(reader.read_tensor(name).toarray()))
    return seen


def component(reader: Any, name: str, role: str, meta: Any) -> dict[str, Any]:
    dtype = meta.dtype if role == "values" else np.dtype(np.uint64)
    array, _memory = reader._read_component(name, role, lambda: dtype)
    return described(array)


def write(path: str, tensors: list[Mapping[str, Any]]) -> None:
    """Write tensors: dense by default, or of the layout they state."""
    with Writer(path) as writer:
        for sent in tensors:
            arrays = {role: array_of(part) for role, part in sent["parts"].items()}
            if sent["layout"] == "dense":
                writer.add_tensor(sent["name"], arrays["data"], compress=sent["compress"])
            elif sent["layout"] == "sparse_csr":
                roles = [arrays[role] for role in ("values", "indices", "indptr")]
                writer.add_sparse_csr(sent["name"], *roles, tuple(sent["shape"]))
            else:
                coords = arrays["coords"].reshape(len(sent["shape"]), -1)
                writer.add_sparse_coo(sent["name"], arrays["values"], coords, tuple(sent["shape"]))


if __name__ == "__main__":
    answer(read=read, write=write)
